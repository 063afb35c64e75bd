"""Random schedules: clients, accidents and crashes by dice. One that fails tells its seed and what happened."""

from __future__ import annotations

import pytest
from random_schedule import RandomSchedule
from stage import ViolationError

SEEDS, CHUNK = 2000, 100


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_promise_outlives_every_crash(first: int) -> None:
    crashes = 0
    for seed in range(first, first + CHUNK):
        try:
            crashes += RandomSchedule(seed).run().crashes
        except ViolationError as violation:
            told = "\n".join(RandomSchedule(seed, traced=True).tell())
            pytest.fail(f"{violation}\nAgain: python scripts/soak.py --replay {seed}\n{told}")
    assert crashes > CHUNK


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    for seed in range(20):
        assert RandomSchedule(seed, traced=True).tell() == RandomSchedule(seed, traced=True).tell()
