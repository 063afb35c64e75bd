"""Dispatch: launchers end when nothing needs them and with the mesh; their polls are bounded."""

from __future__ import annotations

import asyncio

import pytest
from dispatch_bench import (
    IDLE_S,
    KEY,
    OTHER_KEY,
    DispatchBench,
    moment,
    on_bench,
    order,
    ready,
    sighted,
)
from service import Service

from schedulemesh.core.errors import SupervisorUnavailableError
from schedulemesh.core.launch_protocol import (
    BARE,
    Address,
    KeepWarm,
    Kill,
    OrderDone,
    WarmWorkersSeen,
)
from schedulemesh.core.messages import POLL_S, Request, Status, TakeOrders, encode_request
from schedulemesh.supervisor.dispatch import END_S, MAX_LAUNCHERS, MAX_POLLS, STOP_S
from schedulemesh.supervisor.events import ActorPhase
from schedulemesh.supervisor.launcher_supply import NEWS_S

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase


# -- idle launchers --------------------------------------------------------------------------------------------------


def test_an_idle_launcher_is_told_to_end_after_a_while_and_not_before() -> None:
    async def scenario(bench: DispatchBench) -> None:
        began = asyncio.get_running_loop().time()
        await bench.launcher().ask_until_end()
        assert asyncio.get_running_loop().time() - began == pytest.approx(IDLE_S, abs=0.1)

    on_bench(scenario)


def test_a_launcher_whose_driver_is_there_is_not_told_to_end() -> None:
    async def scenario(bench: DispatchBench) -> None:
        asked = bench.launcher().ask_until_end(idle=False)
        await asyncio.sleep(20 * IDLE_S)
        assert not asked.done()

    on_bench(scenario)


def test_what_is_ordered_and_reported_puts_the_end_off() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        launched = bench.launch()
        (leased,) = await launcher.poll()
        launcher.begin()
        await asyncio.sleep(IDLE_S)
        launcher.report(leased, ready(leased))
        await launched
        asked = launcher.ask_until_end()
        await asyncio.sleep(IDLE_S - 1)
        assert not asked.done()
        await asked

    on_bench(scenario)


def test_an_idle_launcher_gets_an_order_that_comes_before_its_end() -> None:
    async def scenario(bench: DispatchBench) -> None:
        polled = bench.launcher().begin(idle=True)
        await asyncio.sleep(POLL_S - 1)
        bench.launch()
        assert [leased.order for leased in await polled] == [order()]

    on_bench(scenario)


def test_a_launcher_that_was_told_to_end_gets_nothing_more() -> None:
    """Its order waits for another one, which is started for it."""

    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        await launcher.ask_until_end()
        bench.launch()
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_where_warm_workers_are_wanted_the_launcher_stays() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        bench.dispatch.keep_ready(KEY, 1, lambda _: None)
        loop = asyncio.get_running_loop()
        until = loop.time() + 10 * IDLE_S
        while loop.time() < until:
            for leased in await launcher.poll(idle=True):
                assert leased.order == KeepWarm(1)
                launcher.report(leased, WarmWorkersSeen(1, 0))
        bench.dispatch.keep_ready(KEY, 0, lambda _: None)
        (leased,) = await launcher.poll(idle=True)
        assert leased.order == KeepWarm(0)
        launcher.report(leased, WarmWorkersSeen(0, 0))
        await launcher.ask_until_end()

    on_bench(scenario)


@pytest.mark.parametrize(("others", "ends"), [(MAX_LAUNCHERS - 1, False), (MAX_LAUNCHERS, True)])
def test_where_there_are_too_many_launchers_one_without_orders_ends_though_its_driver_is_there(
    others: int, ends: bool
) -> None:
    async def scenario(bench: DispatchBench) -> None:
        for number in range(others):
            bench.tell(f"other-{number}", key=f"{number:064}")
        bench.tell("l1")
        asked = bench.launcher().ask_until_end(idle=False)
        await asyncio.sleep(IDLE_S - 1)
        assert not asked.done()
        await asyncio.sleep(POLL_S)
        assert asked.done() == ends

    on_bench(scenario)


def test_where_there_are_too_many_launchers_one_that_has_something_to_do_stays() -> None:
    async def scenario(bench: DispatchBench) -> None:
        for number in range(MAX_LAUNCHERS + 1):
            bench.tell(f"other-{number}", key=f"{number:064}")
        launcher = bench.launcher()
        bench.launch()
        await launcher.poll()
        asked = launcher.ask_until_end(idle=False)
        await asyncio.sleep(10 * IDLE_S)
        assert not asked.done()

    on_bench(scenario)


# -- the end of the mesh ---------------------------------------------------------------------------------------------


def test_the_end_of_the_mesh_ends_every_launcher_and_the_bare_one_last() -> None:
    async def scenario(bench: DispatchBench) -> None:
        keys = {"l1": KEY, "l2": OTHER_KEY, "bare-1": BARE}
        for actor_id, key in keys.items():
            bench.tell(actor_id, key=key)
        ends = {actor_id: bench.launcher(actor_id, key).ask_until_end(idle=False) for actor_id, key in keys.items()}
        closed = asyncio.ensure_future(bench.dispatch.close())
        await moment()
        assert {actor_id: asked.done() for actor_id, asked in ends.items()} == {"l1": True, "l2": True, "bare-1": False}
        bench.tell("l1", DEAD)
        await moment()
        assert not ends["bare-1"].done()
        bench.tell("l2", DEAD, key=OTHER_KEY)
        await moment()
        assert ends["bare-1"].done()
        assert not closed.done()
        bench.tell("bare-1", DEAD, key=BARE)
        await closed

    on_bench(scenario)


def test_a_launcher_that_asks_a_little_later_is_told_then() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        closed = asyncio.ensure_future(bench.dispatch.close())
        await asyncio.sleep(END_S / 2)
        await bench.launcher().ask_until_end(idle=False)
        bench.tell("l1", DEAD)
        await closed
        assert bench.starter.asked == []

    on_bench(scenario)


def test_launchers_that_do_not_end_are_killed() -> None:
    """One of them hangs in a user's import, or is just being restarted."""

    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1", RESTARTING, name="mesh:launcher:0123")
        bench.tell("l2", key=OTHER_KEY, name="mesh:launcher:4567")
        bench.starter.started = lambda _: bench.tell("bare-1", key=BARE)
        closed = asyncio.ensure_future(bench.dispatch.close())
        bare = bench.launcher("bare-1", BARE)
        await asyncio.sleep(END_S - 1)
        assert bench.starter.asked == []
        kills = await bare.poll()
        assert [leased.order for leased in kills] == [
            Kill(Address("", "l1", "mesh:launcher:0123", "ns")),
            Kill(Address("", "l2", "mesh:launcher:4567", "ns")),
        ]
        for leased, key in zip(kills, (KEY, OTHER_KEY), strict=True):
            bare.report(leased, OrderDone())
            assert isinstance(leased.order, Kill)
            bench.tell(leased.order.address.actor_id or "", DEAD, key=key)
        await bare.ask_until_end(idle=False)
        bench.tell("bare-1", DEAD, key=BARE)
        await closed

    on_bench(scenario)


def test_the_end_of_the_mesh_is_not_held_up_by_launchers_that_cannot_be_ended() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        began = asyncio.get_running_loop().time()
        await bench.dispatch.close()
        assert asyncio.get_running_loop().time() - began < 2 * END_S + STOP_S + 5
        assert bench.starter.asked == [BARE]

    on_bench(scenario)


def test_the_end_of_a_mesh_without_launchers_takes_no_time() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.dispatch.seen_all((sighted("l1"),))
        bench.tell("l1", DEAD)
        began = asyncio.get_running_loop().time()
        await bench.dispatch.close()
        assert asyncio.get_running_loop().time() - began < 0.1
        assert bench.starter.asked == []

    on_bench(scenario)


# -- many polls ------------------------------------------------------------------------------------------------------


def test_the_number_of_open_polls_is_bounded_and_comes_free_again() -> None:
    async def scenario(bench: DispatchBench) -> None:
        polls = [bench.launcher(f"l{number}").begin() for number in range(MAX_POLLS)]
        await moment()
        with pytest.raises(SupervisorUnavailableError, match="too many launchers ask at once"):
            await bench.launcher("one more").poll()
        assert not any(poll.done() for poll in polls)
        await asyncio.gather(*polls)
        bench.launch()
        assert [leased.order for leased in await bench.launcher("one more").poll()] == [order()]

    on_bench(scenario)


def test_look_ups_are_answered_while_as_many_polls_are_open_as_there_may_be() -> None:
    service = Service()
    for number in range(MAX_POLLS):
        service.send(f"poll-{number}", TakeOrders(KEY, f"l{number}", "p1"))
    assert service.ask("status", Status()).result is not None
    refused = service.ask("one more", TakeOrders(KEY, "one more", "p1"))
    assert refused.refusal is not None
    assert refused.refusal.error == "SupervisorUnavailableError"
    assert service.call(encode_request(Request("again", Status())))
    service.close()
