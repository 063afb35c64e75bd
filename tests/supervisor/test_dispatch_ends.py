"""Dispatch: stops and kills find somebody who carries them out, and launchers end when nothing needs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from dispatch_bench import (
    KEY,
    DispatchBench,
    HandLauncher,
    address,
    moment,
    on_bench,
    order,
)

from schedulemesh.core.launch_protocol import (
    BARE,
    Kill,
    LaunchFailed,
    LaunchLost,
    OrderDone,
    Stop,
)
from schedulemesh.supervisor.dispatch import KILL_S, STOP_S
from schedulemesh.supervisor.events import ActorPhase
from schedulemesh.supervisor.launcher_supply import NEWS_S

if TYPE_CHECKING:
    from collections.abc import Callable

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase
GRACE_S = 5.0


async def asking(bench: DispatchBench, actor_id: str = "l1", key: str = KEY) -> HandLauncher:
    """A launcher that asked a moment ago and has no poll open."""
    launcher = bench.launcher(actor_id, key)
    await launcher.poll()
    return launcher


def orders_of(bench: DispatchBench) -> dict[str, Callable[[], asyncio.Task[None]]]:
    return {"stop": lambda: bench.stop(grace_s=GRACE_S), "kill": bench.kill}


BOTH = pytest.mark.parametrize(
    ("what", "expected", "until_s"),
    [("stop", Stop(address()), GRACE_S + STOP_S), ("kill", Kill(address()), KILL_S)],
    ids=["stop", "kill"],
)


# -- stops and kills -------------------------------------------------------------------------------------------------


@BOTH
def test_an_order_goes_to_the_environments_launcher_if_that_asks(what: str, expected: Stop, until_s: float) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = await asking(bench)
        given = orders_of(bench)[what]()
        (leased,) = await launcher.poll()
        assert leased.order == expected
        launcher.report(leased, OrderDone())
        await given
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == []

    on_bench(scenario)


@BOTH
def test_where_no_launcher_asks_the_bare_one_is_started_for_it(what: str, expected: Stop, until_s: float) -> None:
    async def scenario(bench: DispatchBench) -> None:
        given = orders_of(bench)[what]()
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [BARE]
        bare = bench.launcher("bare-1", BARE)
        (leased,) = await bare.poll()
        assert leased.order == expected
        bare.report(leased, OrderDone())
        await given

    on_bench(scenario)


@BOTH
def test_the_bare_launcher_is_not_started_while_one_asks(what: str, expected: Stop, until_s: float) -> None:
    async def scenario(bench: DispatchBench) -> None:
        bare = await asking(bench, "bare-1", BARE)
        given = orders_of(bench)[what]()
        (leased,) = await bare.poll()
        bare.report(leased, OrderDone())
        await given
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == []

    on_bench(scenario)


@BOTH
def test_an_order_goes_to_the_bare_launcher_when_its_holder_dies(what: str, expected: Stop, until_s: float) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = await asking(bench)
        given = orders_of(bench)[what]()
        (lost,) = await launcher.poll()
        bench.tell("l1", DEAD)
        bare = bench.launcher("bare-1", BARE)
        (leased,) = await bare.poll()
        assert leased.order == expected
        assert launcher.is_refused(lost, OrderDone())
        assert not given.done()
        bare.report(leased, OrderDone())
        await given

    on_bench(scenario)


@BOTH
def test_an_order_that_waits_for_a_launcher_goes_to_the_bare_one_when_that_dies(
    what: str, expected: Stop, until_s: float
) -> None:
    async def scenario(bench: DispatchBench) -> None:
        await asking(bench)
        given = orders_of(bench)[what]()
        await moment()
        bench.tell("l1", DEAD)
        (leased,) = await bench.launcher("bare-1", BARE).poll()
        assert leased.order == expected
        assert not given.done()

    on_bench(scenario)


@BOTH
def test_an_order_goes_to_the_bare_launcher_when_its_holder_does_not_answer_in_time(
    what: str, expected: Stop, until_s: float
) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = await asking(bench)
        bare = await asking(bench, "bare-1", BARE)
        began = asyncio.get_running_loop().time()
        given = orders_of(bench)[what]()
        (late,) = await launcher.poll()
        launcher.begin()  # it works on it, and says so
        while not (taken := await bare.poll()):
            pass
        assert [leased.order for leased in taken] == [expected]
        assert asyncio.get_running_loop().time() - began >= until_s
        assert launcher.is_refused(late, OrderDone())
        bare.report(taken[0], OrderDone())
        await given

    on_bench(scenario)


@BOTH
def test_an_order_goes_to_the_bare_launcher_when_the_other_reports_a_problem(
    what: str, expected: Stop, until_s: float
) -> None:
    """Looking an actor up loads a user's class, which can raise anything. In the bare one Ray has a stand-in."""

    async def scenario(bench: DispatchBench) -> None:
        launcher = await asking(bench)
        given = orders_of(bench)[what]()
        (leased,) = await launcher.poll()
        launcher.report(leased, OrderDone("ImportError: no module"))
        (leased,) = await bench.launcher("bare-1", BARE).poll()
        assert leased.order == expected
        assert not given.done()

    on_bench(scenario)


@BOTH
def test_an_order_that_nobody_can_carry_out_is_given_up(what: str, expected: Stop, until_s: float) -> None:
    """The mesh gives it again while the agent lives."""

    async def scenario(bench: DispatchBench) -> None:
        bench.starter.problem = "no memory"
        await orders_of(bench)[what]()
        assert bench.starter.asked == [BARE]
        bench.starter.problem = ""
        await orders_of(bench)[what]()
        assert bench.starter.asked == [BARE, BARE]

    on_bench(scenario)


def test_an_order_about_an_agent_that_is_being_launched_goes_to_the_launcher_that_does_it() -> None:
    async def scenario(bench: DispatchBench) -> None:
        first, second = bench.launcher("l1"), bench.launcher("l2")
        bench.launch()
        await first.poll()
        firsts, seconds = first.begin(), second.begin()
        await moment()
        bench.kill(actor_id=None)
        assert [leased.order for leased in await firsts] == [Kill(address(actor_id=None))]
        assert not seconds.done()

    on_bench(scenario)


def test_a_kill_withdraws_a_launch_that_nobody_has_taken() -> None:
    async def scenario(bench: DispatchBench) -> None:
        first, again, other = bench.launch("a1"), bench.launch("a2", attempt=2), bench.launch("a3")
        await moment()
        await bench.kill("a1", actor_id=None)
        await bench.kill("a2", actor_id=None)
        assert await first == LaunchFailed("a1", 1, "it was deleted before it was launched")
        assert await again == LaunchLost("a2", 2, "it was deleted before it was launched")
        assert [leased.order for leased in await bench.launcher().poll()] == [order("a3")]
        assert not other.done()
        assert bench.starter.asked == []

    on_bench(scenario)


def test_a_kill_withdraws_a_launch_whose_blobs_are_still_on_their_way() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.store.read_s = 10.0
        launched = bench.launch()
        await moment()
        await bench.kill(actor_id=None)
        assert await launched == LaunchFailed("a1", 1, "it was deleted before it was launched")
        assert bench.dispatch._mailboxes == {}

    on_bench(scenario)


def test_a_kill_of_a_known_actor_is_carried_out_though_its_adoption_was_withdrawn() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch(adopt="actor-a1")
        await moment()
        bench.kill()
        assert isinstance(await launched, LaunchLost)
        (leased,) = await bench.launcher("bare-1", BARE).poll()
        assert leased.order == Kill(address())

    on_bench(scenario)
