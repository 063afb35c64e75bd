"""Waiting: for a condition, under a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_S = 0.02


class OverdueError(Exception):
    """What was waited for did not come about."""


def wait_until(what: str, condition: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise OverdueError(f"{what}: not so after {timeout_s:g} s")
        time.sleep(LOOK_S)
