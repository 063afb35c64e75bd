"""The killer's plan: the same seed kills the same, and every kind has its turn."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from chaoslib.plan import LONGEST_OUTAGE_S, LONGEST_PAUSE_S, MOMENTS, WEIGHTS, decisions


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    first, again, other = (list(islice(decisions(seed), 50)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_every_kind_and_every_moment_has_its_turn() -> None:
    plan = list(islice(decisions(1), 500))
    assert set(Counter(one.kind for one in plan)) == set(WEIGHTS)
    assert set(Counter(one.moment for one in plan)) == set(MOMENTS)
    assert all(0 <= one.pause_s <= LONGEST_PAUSE_S and 0 <= one.outage_s <= LONGEST_OUTAGE_S for one in plan)
    assert all(0 <= one.pick < 1 for one in plan)


def test_only_the_kinds_that_were_asked_for_are_killed() -> None:
    assert {one.kind for one in islice(decisions(1, ["gcs", "node"]), 50)} == {"gcs", "node"}
