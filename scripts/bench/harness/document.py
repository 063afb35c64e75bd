"""What a run leaves behind: the rows as JSON, the table in the document that explains it, and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.machine import Run
from harness.picture import draw
from harness.rows import Row
from harness.table import END, START, heading, markdown, renewed

NAME = "performance"
_BLANK = f"# Performance\n\n{START}\n{END}\n"


class _Documented(msgspec.Struct):
    rows: list[Row]


def rows_in(folder: Path) -> list[Row]:
    """The rows that stand there from runs before."""
    file = folder / f"{NAME}.json"
    return msgspec.json.decode(file.read_bytes(), type=_Documented).rows if file.exists() else []


def write(folder: Path, run: Run, rows: Sequence[Row]) -> None:
    """Into `performance.json`, `.md`, `.svg` and `.png`. What people wrote in the document stays."""
    (folder / f"{NAME}.json").write_bytes(
        msgspec.json.format(msgspec.json.encode({"run": run, "rows": list(rows)}), indent=1) + b"\n"
    )
    page = folder / f"{NAME}.md"
    before = page.read_text() if page.exists() else _BLANK
    page.write_text(renewed(before, f"{heading(run)}\n\n{markdown(rows)}"))
    title = f"{run.date}, {run.machine.cores} cores, Ray {run.versions['ray']}"
    draw(rows, title, folder / f"{NAME}.svg", folder / f"{NAME}.png")
