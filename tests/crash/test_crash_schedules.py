"""Random schedules: clients, accidents and crashes by dice. One that fails tells its seed and what happened."""

from __future__ import annotations

from itertools import chain

import pytest
from random_schedule import RandomSchedule
from stage import ViolationError

SEEDS, CHUNK = 1500, 100
REACHED = (
    ":own) is created",
    "(bare:own) is created",
    "goes on with the launch",
    "an impostor reports",
    "hangs",
    "is restarted",
    "ends for good: its node died",
    "ends for good: it ended itself",
    "loses the answer to a poll",
    "loses an acknowledgement",
)


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


def test_the_schedules_reach_what_is_special_about_launchers() -> None:
    """Schedules in which nothing of this happened would prove nothing about it."""
    told = "\n".join(chain.from_iterable(RandomSchedule(seed, traced=True).tell() for seed in range(150)))
    for what in REACHED:
        assert what in told, what


def test_a_schedule_is_the_same_for_the_same_seed() -> None:
    for seed in range(20):
        assert RandomSchedule(seed, traced=True).tell() == RandomSchedule(seed, traced=True).tell()
