"""The ledger: sums that are kept agree with sums that are counted, and a hold is released once, as it was booked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.errors import InsufficientClusterCapacityError, InsufficientPoolCapacityError
from schedulemesh.core.records import PoolRecord
from schedulemesh.core.states import PoolState
from schedulemesh.supervisor.ledger import Ledger, capacity_of

needs = st.dictionaries(st.sampled_from(["cpu", "gpu", "fpga"]), st.integers(1, 40_000), max_size=3).map(Amounts)


def amounts(**given_amounts: float) -> Amounts:
    return Amounts.parse(given_amounts, "test")


def pool(uid: str = "p", *, target: int = 0, overcommit: bool = False, **resources: float) -> PoolRecord:
    return PoolRecord(
        uid=uid,
        name=uid,
        labels={},
        resources=amounts(**resources),
        target_agents=target,
        overcommit=overcommit,
        state=PoolState.ACTIVE,
        created_at=0.0,
    )


def ledger(*pools: PoolRecord, headroom: float = 0.0, **cluster: float) -> Ledger:
    made = Ledger(headroom)
    made.cluster = amounts(**cluster)
    for record in pools:
        made.open(record)
    return made


@settings(deadline=None, derandomize=True, database=None)
@given(booked=st.lists(needs, max_size=12), released=st.sets(st.integers(0, 11)))
def test_what_is_used_is_always_the_sum_of_holds(booked: list[Amounts], released: set[int]) -> None:
    books = ledger(pool(cpu=4))
    for number, need in enumerate(booked):
        books.book("p", str(number), need)
        books.check()
    for number in released & set(range(len(booked))):
        books.release("p", str(number))
        books.check()
    left = Amounts()
    for number, need in enumerate(booked):
        left = left if number in released else left.plus(need)
    assert books.account("p").used == left
    assert books.account("p").available.plus(left) == amounts(cpu=4)


def test_a_hold_is_released_once_and_not_clamped() -> None:
    books = ledger(pool(cpu=4))
    books.book("p", "a", amounts(cpu=1))
    books.release("p", "a")
    with pytest.raises(KeyError):
        books.release("p", "a")
    assert books.account("p").used == Amounts()


def test_an_agent_is_booked_once() -> None:
    books = ledger(pool(cpu=4))
    books.book("p", "a", amounts(cpu=1))
    with pytest.raises(AssertionError, match="booked twice"):
        books.book("p", "a", amounts(cpu=1))
    assert books.account("p").used == amounts(cpu=1)


def test_an_account_with_holds_is_not_closed() -> None:
    books = ledger(pool(cpu=4))
    books.book("p", "a", amounts(cpu=1))
    with pytest.raises(AssertionError, match="1 holds"):
        books.close("p")


def test_closing_gives_the_promise_back() -> None:
    books = ledger(pool("p", cpu=4), pool("q", cpu=2), pool("o", cpu=100, overcommit=True))
    assert books.committed == amounts(cpu=6)
    books.close("p")
    books.close("o")
    assert books.committed == amounts(cpu=2)
    books.check()


def test_a_resize_moves_the_promise_and_keeps_the_holds() -> None:
    books = ledger(pool("p", cpu=4), pool("o", cpu=1, overcommit=True))
    books.book("p", "a", amounts(cpu=3))
    books.resize("p", amounts(cpu=1, gpu=2))
    books.resize("o", amounts(cpu=50))
    assert books.committed == amounts(cpu=1, gpu=2)
    assert books.account("p").available.units == {"cpu": -20_000, "gpu": 20_000}
    books.check()


def test_room_is_refused_by_the_kinds_that_are_short() -> None:
    record = pool(cpu=4, gpu=1)
    books = ledger(record)
    books.check_room(record, "a", amounts(cpu=4, gpu=1))
    books.book("p", "a", amounts(cpu=3))
    with pytest.raises(InsufficientPoolCapacityError) as caught:
        books.check_room(record, "b", amounts(cpu=2, gpu=1, fpga=1))
    error = caught.value
    assert (error.short, error.could_ever_fit) == (("cpu", "fpga"), False)
    assert error.available == {"cpu": 1, "memory": 0, "gpu": 1, "fpga": 0}


def test_the_cluster_is_shared_by_all_pools_less_the_headroom() -> None:
    books = ledger(pool("p", cpu=4), headroom=0.5, cpu=16)
    books.check_cluster("q", amounts(cpu=4), instead_of=Amounts())
    books.check_cluster("p", amounts(cpu=8), instead_of=amounts(cpu=4))
    with pytest.raises(InsufficientClusterCapacityError) as caught:
        books.check_cluster("q", amounts(cpu=4.0001), instead_of=Amounts())
    assert (caught.value.available["cpu"], caught.value.cluster["cpu"]) == (4, 16)


def test_a_kind_that_does_not_grow_is_not_checked() -> None:
    books = ledger(pool("p", cpu=8, gpu=1), cpu=4, gpu=8)
    books.check_cluster("p", amounts(cpu=7, gpu=2), instead_of=amounts(cpu=8, gpu=1))
    with pytest.raises(InsufficientClusterCapacityError):
        books.check_cluster("p", amounts(cpu=8.5), instead_of=amounts(cpu=8, gpu=1))


def test_a_check_sees_sums_that_have_drifted() -> None:
    books = ledger(pool(cpu=4))
    books.book("p", "a", amounts(cpu=1))
    books.account("p").used = amounts(cpu=2)
    with pytest.raises(AssertionError, match="says used"):
        books.check()
    books.account("p").used = amounts(cpu=1)
    books.committed = amounts(cpu=5)
    with pytest.raises(AssertionError, match="committed"):
        books.check()


def test_a_target_multiplies_and_no_target_does_not() -> None:
    assert capacity_of(amounts(cpu=0.1), 10) == amounts(cpu=1)
    assert capacity_of(amounts(cpu=0.1), 0) == amounts(cpu=0.1)
