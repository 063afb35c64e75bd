"""Runs a check on many examples, from a seed, without hypothesis' own search for a smaller one.

What is checked has a memory (a mesh), so that the same example need not fail twice: the first failure is the report.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

Example = TypeVar("Example")


def on_examples(
    check: Callable[[Example], object], drawn: SearchStrategy[Example], *, number: int, seeded: int
) -> None:
    @seed(seeded)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def checked(example: Example) -> None:
        check(example)

    checked()
