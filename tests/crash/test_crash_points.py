"""The supervisor is killed at every point of every kind of request, and comes back into a world that went on living."""

from __future__ import annotations

import pytest
from crash_cases import CASES, FATES, MUTATIONS, UNDISTURBED, UNREAD, CrashCase, pairs

PAIRS = dict(pairs())
DISTURBED = [fate for fate in FATES.values() if fate is not UNDISTURBED]
LOOKED = 40
"""Points of coming back until the books are read and the actors are looked at."""


@pytest.mark.parametrize("name", CASES)
def test_no_point_of_a_request_is_a_bad_one_to_crash_at(name: str) -> None:
    """Before and after each write and each order, and before every second callback of the event loop.

    Between two telling points nothing changes outside the supervisor; `soak.py --part points` tries every single one.
    """
    case = CrashCase(CASES[name])
    for point in sorted({*case.points()[::2], *case.telling_points()}):
        case.crash(point)


@pytest.mark.parametrize("name", CASES)
def test_a_crash_is_survived_whatever_becomes_of_the_world_meanwhile(name: str) -> None:
    """Launchers vanish, hang or are restarted; actors end or start again, also while the supervisor looks for them.

    Each of the telling points meets every second fate; in `soak.py --part points` all of them meet all.
    """
    for number, fate in enumerate(DISTURBED):
        case = CrashCase(CASES[name], fate)
        for point in case.telling_points()[number % 2 :: 2]:
            case.crash(point)


@pytest.mark.parametrize("one", MUTATIONS)
def test_a_crash_in_the_middle_of_two_requests_is_survived(one: str) -> None:
    """Every pair of mutations, at every telling point; every second of them meets one more fate, each pair another."""
    for number, (name, pair) in enumerate(PAIRS.items()):
        if name.startswith(f"{one} + "):
            undisturbed, disturbed = CrashCase(pair), CrashCase(pair, DISTURBED[number % len(DISTURBED)])
            for point in undisturbed.telling_points():
                undisturbed.crash(point)
            for point in disturbed.telling_points()[number % 2 :: 2]:
                disturbed.crash(point)


@pytest.mark.parametrize("name", CASES)
def test_a_crash_while_coming_back_from_a_crash_is_survived(name: str) -> None:
    case = CrashCase(CASES[name])
    for point in case.telling_points():
        for second in case.crash(point):
            case.crash(point, second)


@pytest.mark.parametrize("name", ["create an agent", "delete an agent", "stop by force"])
def test_no_point_of_coming_back_is_a_bad_one_to_crash_at(name: str) -> None:
    """Every single one until it has looked; beyond, and in the other cases, the telling ones are tried."""
    case = CrashCase(CASES[name])
    for point in case.telling_points():
        for second in range(1, LOOKED):
            case.crash(point, second)


def test_two_launchers_that_believe_in_one_order_create_one_actor() -> None:
    """The one that hung goes on, and the one that was started in its place finds the actor there."""
    hangs = FATES["its launchers hang until another is about to do their work"]
    case = CrashCase(CASES["create an agent that has time"], hangs)
    stories = ["\n".join(case.story(point)) for point in case.telling_points()]
    assert any("created once for two launches" in story for story in stories)


def test_a_launcher_that_vanished_before_anybody_read_of_it_holds_nothing_up() -> None:
    case = CrashCase(CASES["create an agent that has time"], UNREAD)
    for point in case.telling_points():
        case.crash(point)


def test_what_is_tried_is_not_empty() -> None:
    """A case whose crashes all came too late would prove nothing."""
    for name, case in CASES.items():
        tried = CrashCase(case)
        assert len(tried.points()) > len(tried.telling_points()) > 1, name
