"""The state diagram in docs/architecture.md: run to renew it; with `--check` it fails when it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from schedulemesh.supervisor.transitions import diagram

DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
START, END = "<!-- diagram:start -->", "<!-- diagram:end -->"


def renewed(text: str) -> str:
    """The document with the diagram that the table of transitions gives now."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{DOCUMENT.name} has no {START} … {END}")
    return f"{before}{START}\n```mermaid\n{diagram()}\n```\n{END}{after}"


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    wanted = renewed(text)
    if "--check" not in sys.argv:
        DOCUMENT.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        raise SystemExit("the state diagram is stale; renew it with: python scripts/diagram.py")


if __name__ == "__main__":
    main()
