"""The mailbox: one environment's orders, who may take which, and what becomes of a lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest
from dispatch_bench import KEY, address, order, play, ready

from schedulemesh.core.launch_protocol import Held, KeepWarm, Kill, LaunchFailed, LaunchLost, LeasedOrder, Stop
from schedulemesh.supervisor.mailbox import ABSENT_S, MAX_BYTES, MAX_ORDERS, LauncherLostError, Mailbox, Poller, Task

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


class Box(Mailbox):
    """A mailbox whose time is set by hand; `now` moves only when a test moves it."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.now = 0.0

    def put(self, uid: str, *blobs: bytes, attempt: int = 1) -> Task:
        return self.add(order(uid, attempt), *blobs, now=self.now)

    def asks(self, actor_id: str = "l1", incarnation: str = "p1", *held: Task) -> tuple[Poller, list[Task]]:
        leases = [Held(task.lease, task.uid) for task in held]
        return self.arrive(actor_id, incarnation, leases, self.now)

    def taken(self, actor_id: str = "l1", incarnation: str = "p1", *held: Task) -> list[Task]:
        """What a launcher gets that asks."""
        poller, again = self.asks(actor_id, incarnation, *held)
        return again or self.take(poller, self.now)


def boxed(scenario: Callable[[Box], Value]) -> Value:
    async def main() -> Value:
        return scenario(Box())

    return play(main())


def test_orders_are_given_out_in_the_order_in_which_they_came_and_once_each() -> None:
    def scenario(box: Box) -> None:
        tasks = [box.put(f"a{number}") for number in range(3)]
        assert box.taken() == tasks
        assert not box.waiting
        assert box.taken("l1", "p1", *tasks) == []

    boxed(scenario)


def test_a_lease_says_what_to_do_and_brings_the_blobs() -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1", b"class", b"args")
        assert task.leased() == LeasedOrder(task.lease, order("a1"), b"class", b"args")

    boxed(scenario)


def test_no_two_leases_are_the_same() -> None:
    def scenario(box: Box) -> None:
        assert len({box.put("a1").lease for _ in range(100)}) == 100

    boxed(scenario)


def test_one_answer_holds_a_limited_number_of_orders() -> None:
    def scenario(box: Box) -> None:
        tasks = [box.put(f"a{number}") for number in range(MAX_ORDERS + 1)]
        first = box.taken()
        assert first == tasks[:-1]
        assert box.taken("l1", "p1", *first) == tasks[-1:]

    boxed(scenario)


def test_one_answer_holds_a_limited_number_of_bytes_and_always_one_order() -> None:
    def scenario(box: Box) -> None:
        large = bytes(MAX_BYTES + 1)
        tasks = [box.put("a1", large, b""), box.put("a2", b"", b""), box.put("a3", b"", large)]
        assert box.taken() == tasks[:1]
        assert box.taken("l1", "p1", *tasks[:1]) == tasks[1:]

    boxed(scenario)


def test_only_the_process_that_took_an_order_holds_its_lease() -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1")
        assert box.task_of(task.lease, "l1", "p1") is None
        box.taken()
        assert box.task_of(task.lease, "l1", "p1") is task
        for lease, actor_id, incarnation in ((task.lease, "l2", "p1"), (task.lease, "l1", "p2"), ("x", "l1", "p1")):
            assert box.task_of(lease, actor_id, incarnation) is None
        box.drop(task)
        assert box.task_of(task.lease, "l1", "p1") is None

    boxed(scenario)


def test_what_its_holder_does_not_list_is_given_to_it_again() -> None:
    def scenario(box: Box) -> None:
        first, second = box.put("a1"), box.put("a2")
        box.taken()
        _, again = box.asks("l1", "p1", first)
        assert again == [second]
        assert (first.confirmed, second.confirmed) == (True, False)

    boxed(scenario)


def test_what_another_launcher_holds_is_not_given_again() -> None:
    def scenario(box: Box) -> None:
        box.put("a1")
        box.taken("l1")
        assert box.taken("l2") == []

    boxed(scenario)


def test_a_launch_in_flight_in_a_launcher_that_asks_is_left_to_it() -> None:
    def scenario(box: Box) -> None:
        first = box.put("a1")
        box.taken("l1")
        again = box.put("a1", attempt=2)
        assert box.holder_of_launch("a1") == "l1"
        assert box.taken("l2") == []
        assert box.taken("l1", "p1", first) == [again]

    boxed(scenario)


def test_a_launch_in_flight_in_a_launcher_that_asks_no_more_is_anybodys() -> None:
    def scenario(box: Box) -> None:
        box.put("a1")
        box.taken("l1")
        again = box.put("a1", attempt=2)
        box.now = ABSENT_S - 0.1
        assert box.taken("l2") == []
        box.now = ABSENT_S
        assert box.taken("l2") == [again]

    boxed(scenario)


def test_a_launcher_with_an_open_poll_is_there_however_long_ago_it_asked() -> None:
    def scenario(box: Box) -> None:
        poller, _ = box.asks()
        poller.waits = True
        assert box.is_served(1000.0)
        poller.waits = False
        assert not box.is_served(ABSENT_S)

    boxed(scenario)


def test_an_order_for_one_launcher_only_is_not_given_to_another() -> None:
    def scenario(box: Box) -> None:
        box.asks("l1")
        task = box.add(Stop(address()), now=0.0, for_only="l1")
        assert box.taken("l2") == []
        assert box.taken("l1") == [task]

    boxed(scenario)


# -- what is given up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attempt", "kind"), [(1, LaunchFailed), (2, LaunchLost)])
def test_a_launch_that_nobody_took_has_made_no_actor(attempt: int, kind: type[LaunchFailed | LaunchLost]) -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1", attempt=attempt)
        box.refuse("nobody comes")
        assert task.result.result() == kind("a1", attempt, "nobody comes")
        assert not box.waiting

    boxed(scenario)


def test_of_a_launch_whose_holder_ended_nobody_knows_whether_it_made_an_actor() -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1")
        box.taken()
        box.lose("l1", "it ended")
        assert task.result.result() == LaunchLost("a1", 1, "it ended")

    boxed(scenario)


@pytest.mark.parametrize("what", [Stop(address()), Kill(address()), KeepWarm(1)], ids=["stop", "kill", "warm"])
def test_any_other_order_whose_holder_ended_is_to_be_given_again(what: Stop | Kill | KeepWarm) -> None:
    def scenario(box: Box) -> None:
        task = box.add(what, now=0.0)
        box.taken()
        box.lose("l1", "it ended")
        assert isinstance(task.result.exception(), LauncherLostError)

    boxed(scenario)


def test_what_waits_for_a_launcher_is_not_lost_with_another_one() -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1")
        box.asks("l2")
        box.lose("l2", "it ended")
        assert not task.result.done()
        assert box.waiting

    boxed(scenario)


def test_a_new_process_of_a_launcher_loses_what_the_earlier_one_held_and_keeps_its_own() -> None:
    def scenario(box: Box) -> None:
        first = box.put("a1")
        box.taken("l1", "p1")
        box.asks("l1", "p2")
        assert isinstance(first.result.result(), LaunchLost)
        second = box.put("a2")
        assert box.taken("l1", "p2") == [second]
        box.lose("l1", "told late", but="p2")
        assert not second.result.done()

    boxed(scenario)


def test_an_earlier_process_is_there_no_more_once_the_next_has_asked() -> None:
    def scenario(box: Box) -> None:
        earlier, _ = box.asks("l1", "p1")
        following, _ = box.asks("l1", "p2")
        assert (box.has(earlier), box.has(following)) == (False, True)

    boxed(scenario)


def test_unconfirmed_orders_are_lost_and_confirmed_ones_are_not() -> None:
    def scenario(box: Box) -> None:
        first, second = box.put("a1"), box.put("a2")
        box.taken()
        box.asks("l1", "p1", first)
        box.lose_unconfirmed([first, second], "not confirmed")
        assert not first.result.done()
        assert second.result.result() == LaunchLost("a2", 1, "not confirmed")
        assert box.task_of(second.lease, "l1", "p1") is None

    boxed(scenario)


def test_what_was_reported_meanwhile_is_not_lost_as_unconfirmed() -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1")
        box.taken()
        box.drop(task)
        task.result.set_result(ready(task.leased()))
        box.lose_unconfirmed([task], "not confirmed")
        assert task.result.result() == ready(task.leased())

    boxed(scenario)


def test_only_stops_and_kills_are_turned_away() -> None:
    def scenario(box: Box) -> None:
        launch, stop, kill, warm = (
            box.add(what, now=0.0) for what in (order(), Stop(address()), Kill(address()), KeepWarm(1))
        )
        box.turn_away()
        assert [task.result.done() for task in (launch, stop, kill, warm)] == [False, True, True, False]
        assert box.taken() == [launch, warm]
        assert isinstance(stop.result.exception(), LauncherLostError)
        assert isinstance(kill.result.exception(), LauncherLostError)

    boxed(scenario)


def test_only_a_launch_that_nobody_has_taken_can_be_withdrawn() -> None:
    def scenario(box: Box) -> None:
        task = box.put("a1")
        assert box.withdraw_launch("a2") is None
        assert box.withdraw_launch("a1") is task
        assert box.withdraw_launch("a1") is None
        box.put("a1")
        box.taken()
        assert box.withdraw_launch("a1") is None

    boxed(scenario)


# -- what is left ----------------------------------------------------------------------------------------------------


def test_a_mailbox_is_empty_when_nothing_waits_nobody_holds_and_nobody_asks() -> None:
    def scenario(box: Box) -> list[bool]:
        empty = [box.empty]
        task = box.put("a1")
        empty.append(box.empty)
        poller, _ = box.asks()
        box.take(poller, 0.0)
        box.leave(poller)
        empty.append(box.empty)
        box.drop(task)
        empty.append(box.empty)
        box.asks()
        return [*empty, box.empty]

    assert boxed(scenario) == [True, False, False, True, False]


def test_launchers_that_ask_no_more_are_forgotten_unless_they_hold_something() -> None:
    def scenario(box: Box) -> None:
        box.put("a1")
        box.taken("l1")
        box.asks("l2")
        box.now = ABSENT_S / 2
        waiting, _ = box.asks("l3")
        waiting.waits = True
        box.forget_absent(ABSENT_S / 2)
        assert sorted(box._pollers) == ["l1", "l2", "l3"]
        box.forget_absent(10 * ABSENT_S)
        assert sorted(box._pollers) == ["l1", "l3"]

    boxed(scenario)


def test_a_failure_is_forgotten_when_a_launcher_asks() -> None:
    def scenario(box: Box) -> None:
        box.failure = "no such package"
        box.asks()
        assert box.failure == ""

    boxed(scenario)


def test_whoever_waits_is_woken_by_an_order_and_by_its_own_next_poll() -> None:
    def scenario(box: Box) -> None:
        poller, _ = box.asks()
        poller.wake.clear()
        box.put("a1")
        assert poller.wake.is_set()
        poller.wake.clear()
        box.asks()
        assert poller.wake.is_set()
        assert poller.polls == 2

    boxed(scenario)
