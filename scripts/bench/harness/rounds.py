"""Rounds: each side once in every round, in alternating order, so that a drift of the machine meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Result = TypeVar("Result")
_BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _BEGAN:6.1f} s] {text}", flush=True)


def interleave(
    what: str, sides: Mapping[str, Callable[[int], Result]], *, rounds: int, warmups: int = 1
) -> dict[str, list[Result]]:
    """What each side gave in each round, without the warm-up rounds. A side is told the number of the round."""
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for number in range(-warmups, rounds):
        say(f"{what}: " + (f"round {number + 1} of {rounds}" if number >= 0 else "warm-up"))
        order = list(sides.items())
        for name, side in order if number % 2 == 0 else reversed(order):
            result = side(number)
            if number >= 0:
                results[name].append(result)
    return results
