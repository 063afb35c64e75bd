"""What a part of the soak reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Say = Callable[[str], None]
"""Takes a line for whoever watches."""


class Result(NamedTuple):
    """`figures` go into the table as they are; each of `violations` says what was broken and how to see it again."""

    figures: dict[str, str]
    violations: list[str]
