"""The proof that the crash tests can fail: each mutant of the product, with one rule broken, is found."""

from __future__ import annotations

import pytest
from crash_cases import CASES, FATES, CrashCase
from mutants import MUTANTS
from random_schedule import RandomSchedule
from stage import ViolationError

FEW_SEEDS, MORE_SEEDS = 60, 160


@pytest.mark.parametrize("name", MUTANTS)
def test_a_product_that_breaks_a_rule_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises(ViolationError):
        hunt()


def hunt() -> None:
    """Some schedules, then every case under every fate, then more schedules: what is found soonest first."""
    for seed in range(FEW_SEEDS):
        RandomSchedule(seed).run()
    for case in CASES.values():
        for fate in FATES.values():
            tried = CrashCase(case, fate)
            for point in tried.telling_points():
                tried.crash(point)
    for seed in range(FEW_SEEDS, MORE_SEEDS):
        RandomSchedule(seed).run()
