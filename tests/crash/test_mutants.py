"""The proof that the crash tests can fail: each mutant of the product, with one rule broken, is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product, zip_longest

import pytest
from crash_cases import CASES, FATES, UNREAD, CrashCase
from mutants import MUTANTS
from random_schedule import RandomSchedule
from stage import ViolationError

SEEDS = 160
FIRST = 2


@pytest.mark.parametrize("name", MUTANTS)
def test_a_product_that_breaks_a_rule_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(ViolationError):
        hunt()


def hunt() -> None:
    """Schedules and crashes in turn, the cases in no order of theirs: some mutants are found by the one, some by the other."""
    for seed, crash in zip_longest(range(SEEDS), crashes()):
        if seed is not None:
            RandomSchedule(seed).run()
        if crash is not None:
            crash()


def crashes() -> Iterator[Callable[[], object]]:
    """Every case under every fate, at its telling points: some of each first, then the others."""
    dice = random.Random(8)  # noqa: S311 - dice, not secrets
    everything = [*product(CASES.values(), FATES.values()), (CASES["create an agent that has time"], UNREAD)]
    dice.shuffle(everything)
    others: list[Callable[[], object]] = []
    for case, fate in everything:
        tried = CrashCase(case, fate)
        points = tried.telling_points()
        dice.shuffle(points)
        crash = [partial(tried.crash, point) for point in points]
        yield from crash[:FIRST]
        others += crash[FIRST:]
    yield from others
