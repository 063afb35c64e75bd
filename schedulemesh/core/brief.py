"""Brief: what a value looks like in an error message, whatever it is."""

from __future__ import annotations


def brief(value: object, limit: int = 60) -> str:
    """The value's repr in one short line of plain text. A user's `__repr__` may be endless, or raise."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a number of 5,000 digits raises too
        text = f"<{type(value).__name__}>"
    line = " ".join(text[: 4 * limit].encode(errors="backslashreplace").decode().split())
    return line if len(line) <= limit else f"{line[:limit]}…"
