"""Dispatch: orders wait until a launcher asks, each is a lease, and only what its holder reports counts."""

from __future__ import annotations

import asyncio

import pytest
from dispatch_bench import (
    KEY,
    OTHER_KEY,
    DispatchBench,
    moment,
    on_bench,
    one_in_flight,
    order,
    ready,
)

from schedulemesh.core.launch_protocol import (
    LaunchFailed,
    LaunchLost,
    LaunchReady,
)
from schedulemesh.core.messages import POLL_S
from schedulemesh.supervisor.dispatch import CONFIRM_S
from schedulemesh.supervisor.events import ActorPhase

# -- orders and polls ------------------------------------------------------------------------------------------------


def test_an_order_waits_until_a_launcher_asks_and_brings_its_blobs() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        await moment()
        launcher = bench.launcher()
        (leased,) = await launcher.poll()
        assert (leased.order, leased.class_blob, leased.args_blob) == (order(), b"the class", b"the arguments")
        launcher.report(leased, ready(leased))
        assert await launched == LaunchReady("a1", 1, "actor-a1", "n1", 7, b"handle")

    on_bench(scenario)


def test_a_poll_waits_for_an_order_and_is_answered_as_soon_as_there_is_one() -> None:
    async def scenario(bench: DispatchBench) -> None:
        loop = asyncio.get_running_loop()
        polled = bench.launcher().begin()
        await asyncio.sleep(7)
        assert not polled.done()
        asked_at = loop.time()
        bench.launch()
        assert [leased.order for leased in await polled] == [order()]
        assert loop.time() - asked_at < 0.1

    on_bench(scenario)


def test_a_poll_without_orders_is_answered_when_its_time_is_up() -> None:
    async def scenario(bench: DispatchBench) -> None:
        began = asyncio.get_running_loop().time()
        assert await bench.launcher().poll() == []
        assert asyncio.get_running_loop().time() - began == pytest.approx(POLL_S, abs=0.1)

    on_bench(scenario)


def test_a_poll_gets_all_that_waits_for_its_environment_and_nothing_of_another() -> None:
    async def scenario(bench: DispatchBench) -> None:
        for uid in ("a1", "a2"):
            bench.launch(uid)
        bench.launch("b1", key=OTHER_KEY)
        await moment()
        got = await bench.launcher().poll()
        assert [leased.order for leased in got] == [order("a1"), order("a2")]
        assert len({leased.lease for leased in got}) == 2
        assert [leased.order for leased in await bench.launcher("l2", OTHER_KEY).poll()] == [order("b1", key=OTHER_KEY)]

    on_bench(scenario)


def test_a_launcher_that_knows_another_key_with_the_same_beginning_gets_nothing() -> None:
    """The label in Ray's table has only the beginning, for everyone to read; the whole key entitles to orders."""

    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        await moment()
        assert await bench.launcher(key=f"{KEY[:-1]}?").poll() == []
        assert not launched.done()

    on_bench(scenario)


def test_what_was_sent_and_is_not_held_at_the_next_poll_is_sent_again_under_the_same_lease() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        launcher = bench.launcher()
        lost = await launcher.lose_answer()
        again = await launcher.poll()
        assert again == lost
        polled = launcher.begin()
        await moment()
        assert not polled.done(), "what it holds is not sent a third time"
        launcher.report(again[0], ready(again[0]))
        assert await launched == ready(again[0])

    on_bench(scenario)


def test_what_is_never_confirmed_is_given_up() -> None:
    """Its answer was lost, and the launcher asks no more: whether it took the order is not known."""

    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        launcher = bench.launcher()
        (leased,) = await launcher.lose_answer()
        await asyncio.sleep(CONFIRM_S - 1)
        assert not launched.done()
        assert isinstance(report := await launched, LaunchLost)
        assert "did not confirm" in report.cause
        assert launcher.is_refused(leased, ready(leased))

    on_bench(scenario)


def test_what_was_confirmed_may_take_as_long_as_it_needs() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher, leased, launched = await one_in_flight(bench)
        for _ in range(10):
            await asyncio.sleep(POLL_S)
            await launcher.poll()
        assert not launched.done()
        launcher.report(leased, ready(leased))
        assert await launched == ready(leased)

    on_bench(scenario)


def test_a_later_poll_of_the_same_launcher_supersedes_the_earlier_one() -> None:
    """The client of the first has given up on it: what it were answered would be lost."""

    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        first = launcher.begin()
        await moment()
        second = launcher.begin()
        assert await first == []
        bench.launch()
        assert [leased.order for leased in await second] == [order()]

    on_bench(scenario)


def test_what_it_has_in_flight_is_not_launched_by_another_launcher_of_the_environment() -> None:
    """After a restart of the supervisor, which knows no leases: the launches that launchers still hold go back there."""

    async def scenario(bench: DispatchBench) -> None:
        _, before, _ = await one_in_flight(DispatchBench())
        first, second = bench.launcher("l1"), bench.launcher("l2")
        first.hold([before])
        others = second.begin()
        firsts = first.begin()
        await moment()
        launched = bench.launch("a1")
        (leased,) = await firsts
        assert not others.done()
        first.report(leased, ready(leased))
        assert await launched == ready(leased)

    on_bench(scenario)


def test_what_a_launcher_had_in_flight_goes_to_another_once_it_asks_no_more() -> None:
    async def scenario(bench: DispatchBench) -> None:
        first, second = bench.launcher("l1"), bench.launcher("l2")
        _, before, _ = await one_in_flight(DispatchBench())
        first.hold([before])
        await first.poll()
        others = second.begin()
        await moment()
        bench.launch("a1")
        await moment()
        assert not others.done()
        bench.tell("l1", ActorPhase.DEAD)
        assert [leased.order for leased in await others] == [order("a1")]

    on_bench(scenario)


def test_a_launch_whose_blobs_are_gone_reaches_nobody() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.store.kept.pop("blob/class")
        assert await bench.launch() == LaunchFailed("a1", 1, "it was deleted before it was launched")
        assert await bench.launch(attempt=2) == LaunchLost("a1", 2, "it was deleted before it was launched")
        assert await bench.launcher().poll() == []

    on_bench(scenario)


def test_a_launch_is_lost_while_the_store_is_away() -> None:
    """The agent's record says what to do next."""

    async def scenario(bench: DispatchBench) -> None:
        bench.store.away = True
        report = await bench.launch()
        assert isinstance(report, LaunchLost)
        assert "the store is away" in report.cause

    on_bench(scenario)


# -- what is lost ----------------------------------------------------------------------------------------------------


def test_a_restarted_launcher_has_lost_what_its_earlier_process_held() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher, leased, launched = await one_in_flight(bench)
        following = launcher.restarted()
        polled = following.begin()
        assert isinstance(await launched, LaunchLost)
        again = bench.launch(attempt=2)
        (next_lease,) = await polled
        assert following.is_refused(leased, ready(leased))
        assert launcher.is_refused(leased, ready(leased))
        assert launcher.is_refused(next_lease, ready(next_lease)), "the earlier process has no say any more"
        following.report(next_lease, ready(next_lease))
        assert await again == ready(next_lease)

    on_bench(scenario)


@pytest.mark.parametrize("phase", [ActorPhase.DEAD, ActorPhase.RESTARTING])
def test_what_a_launcher_held_is_lost_when_its_end_is_seen(phase: ActorPhase) -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        _, _, launched = await one_in_flight(bench)
        bench.tell("l1", phase, restarts=1, cause="its process was killed")
        assert await launched == LaunchLost("a1", 1, "its launcher ended: its process was killed")

    on_bench(scenario)


def test_what_is_told_of_a_restart_a_second_time_loses_nothing() -> None:
    """The table is read again while the next process of the launcher works already."""

    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        bench.tell("l1", ActorPhase.RESTARTING, restarts=1)
        _, leased, launched = await one_in_flight(bench)
        bench.tell("l1", ActorPhase.RESTARTING, restarts=1)
        bench.tell("l1", ActorPhase.ALIVE, restarts=1)
        await moment()
        assert not launched.done()
        assert leased.order == order()

    on_bench(scenario)


def test_the_end_of_one_launcher_takes_nothing_from_another() -> None:
    async def scenario(bench: DispatchBench) -> None:
        _, _, launched = await one_in_flight(bench)
        bench.tell("l2", ActorPhase.DEAD)
        bench.tell("l3", ActorPhase.DEAD, key=OTHER_KEY)
        await moment()
        assert not launched.done()

    on_bench(scenario)


def test_the_poll_of_a_process_that_has_ended_takes_nothing_more() -> None:
    """Ray does not call it back: it is answered into the void, and so would be what it took."""

    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        bench.tell("l1")
        stale = launcher.begin()
        await asyncio.sleep(POLL_S - 0.5)
        bench.tell("l1", ActorPhase.RESTARTING, restarts=1)
        launched = bench.launch()
        assert await stale == []
        assert [leased.order for leased in await launcher.restarted().poll()] == [order()]
        assert not launched.done()

    on_bench(scenario)


def test_the_poll_of_an_earlier_process_takes_nothing_from_the_next() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        stale = launcher.begin()
        await moment()
        launched = bench.launch()
        polled = launcher.restarted().begin()
        await moment()
        assert await stale == []
        assert [leased.order for leased in await polled] == [order()]
        assert not launched.done()

    on_bench(scenario)
