"""A listing in pages: all who stay are listed once, oldest first, whoever comes and goes meanwhile."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st
from mesh_driver import Bench

from schedulemesh.core.messages import ListAgents, ListPools, Place
from schedulemesh.supervisor.roll import PAGE, Roll

UIDS = st.sampled_from([f"u{number}" for number in range(12)])


def pages(roll: Roll, size: int) -> list[str]:
    listed: list[str] = []
    place: Place | None = None
    while page := list(islice(roll.after(place), size)):
        listed += page
        place = roll.place(page[-1])
    return listed


@given(st.lists(st.tuples(UIDS, st.integers(0, 5))), st.lists(UIDS), st.integers(1, 5))
def test_pages_hold_every_member_once_oldest_first(come: list[tuple[str, int]], go: list[str], size: int) -> None:
    roll, there = Roll(), dict[str, int]()
    for uid, created_at in come:
        roll.add(uid, created_at)
        there.setdefault(uid, created_at)
    for uid in go:
        roll.discard(uid)
        there.pop(uid, None)
    assert pages(roll, size) == sorted(there, key=lambda uid: (there[uid], uid))
    assert list(roll.newest()) == pages(roll, size)[::-1]
    assert (len(roll), set(roll)) == (len(there), set(there))


def test_a_listing_goes_on_behind_a_member_that_has_gone() -> None:
    roll = Roll()
    for number, uid in enumerate("abcd"):
        roll.add(uid, number)
    place = roll.place("b")
    roll.discard("b")
    roll.discard("c")
    assert list(roll.after(place)) == ["d"]


def test_who_came_and_went_leaves_nothing_behind() -> None:
    roll = Roll()
    for number in range(10_000):
        roll.add(str(number), number)
        roll.discard(str(number))
    assert len(roll._order) < 2000


def test_more_pools_and_agents_than_a_page_holds_are_all_listed() -> None:
    bench = Bench()
    for number in range(PAGE + 5):
        bench.create_pool(f"p{number}", cpu=0.001)
    assert bench.result(ListPools())["next"] is not None
    assert [pool["name"] for pool in bench.listed(ListPools(), "pools")] == [f"p{number}" for number in range(PAGE + 5)]


def test_a_listing_goes_on_after_a_restart_of_the_supervisor() -> None:
    bench = Bench()
    bench.create_pool()
    names = [f"w{number}" for number in range(PAGE + 5)]
    for name in names:
        bench.run(name, resources={"cpu": 0.001})
    first = bench.result(ListAgents(None, {}))
    bench.restart()
    second = bench.result(ListAgents(None, {}, Place(**first["next"])))
    assert [agent["name"] for agent in first["agents"] + second["agents"]] == names
    assert second["next"] is None
