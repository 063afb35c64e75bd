"""The table: rows as Markdown, for the terminal and for the document that keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.machine import Run
from harness.rows import Row, Target, shown

START, END = "<!-- table:start -->", "<!-- table:end -->"
_HEAD = ("#", "subject", "ours", "rival", "ratio or value [95 %]", "target", "met?")


class MarkerError(Exception):
    """The document has no place for the table."""


def markdown(rows: Sequence[Row]) -> str:
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    notes: list[str] = []
    for row in sorted(rows, key=lambda one: one.number):
        mark = ""
        if row.note:
            if row.note not in notes:
                notes.append(row.note)
            mark = f" ({notes.index(row.note) + 1})"
        if row.error:
            lines.append(
                _line([str(row.number), row.subject, "", "", f"error: {_one_line(row.error)}", "", "no result"])
            )
            continue
        met = {True: "yes", False: "**no**", None: "—"}[row.met]
        lines.append(
            _line([str(row.number), row.subject + mark, row.ours, row.rival, _estimate(row), _target(row), met])
        )
    if notes:
        lines += ["", *(f"{place}. {note}" for place, note in enumerate(notes, start=1))]
    return "\n".join(lines)


def heading(run: Run) -> str:
    machine, versions = run.machine, run.versions
    begin, end = (" ".join(f"{one:.2f}" for one in load) for load in (run.load_at_begin, run.load_at_end))
    return (
        f"Measured {run.date} on {machine.cores} cores ({machine.cpu}), {machine.memory_gb:g} GB, {machine.kernel}; "
        f"Python {versions['python']}, Ray {versions['ray']}, ScheduleMesh {versions['schedulemesh']}; "
        f"load average (1, 5, 15 min) {begin} at the begin and {end} at the end."
    )


def renewed(document: str, table: str) -> str:
    """The document with this table in the place of the one before. Raises MarkerError."""
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise MarkerError(f"the document has no {START} and {END}")
    return f"{before}{START}\n{table}\n{END}{after}"


def _estimate(row: Row) -> str:
    if row.judged is None:
        return "—"
    judged = row.judged
    if judged.low == judged.high:
        return _value(judged.value, row)
    return f"{_value(judged.value, row)} [{_value(judged.low, row)}, {_value(judged.high, row)}]"


def _target(row: Row) -> str:
    return "—" if row.target is None else f"{_sign(row.target)} {_value(row.target.bound, row)}"


def _sign(target: Target) -> str:
    return "≤" if target.at_most else "≥"


def _value(value: float, row: Row) -> str:
    return f"{value:.3g}" if row.is_ratio else shown(value, row.unit)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return (lines[-1] if lines else "no reason given")[:300]
