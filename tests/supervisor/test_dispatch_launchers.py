"""Dispatch: where no launcher comes for the orders, one is started, or it is said why there is none."""

from __future__ import annotations

import asyncio

import pytest
from dispatch_bench import (
    ENVIRONMENT,
    IDLE_S,
    KEY,
    OTHER_KEY,
    DispatchBench,
    moment,
    on_bench,
    order,
    ready,
)

from schedulemesh.core.environments import Environment, encode_environment, environment_key
from schedulemesh.core.launch_protocol import KeepWarm, LaunchFailed, LaunchLost
from schedulemesh.supervisor.events import ActorPhase
from schedulemesh.supervisor.launcher_supply import COMING_S, NEWS_S, STARTS_AT_ONCE
from schedulemesh.supervisor.launcher_table import MAX_CRASHES
from schedulemesh.supervisor.mailbox import ABSENT_S

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase


# -- starting launchers ----------------------------------------------------------------------------------------------


def test_where_no_launcher_is_known_the_starter_is_asked_for_one_in_the_recorded_environment() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        await asyncio.sleep(0.9 * NEWS_S)
        assert bench.starter.asked == []
        await asyncio.sleep(0.2 * NEWS_S)
        assert (bench.starter.asked, bench.starter.environments) == ([KEY], [ENVIRONMENT])
        launcher = bench.launcher()
        (leased,) = await launcher.poll()
        launcher.report(leased, ready(leased))
        assert await launched == ready(leased)
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_many_orders_of_one_environment_start_one_launcher() -> None:
    async def scenario(bench: DispatchBench) -> None:
        for number in range(10):
            bench.launch(f"a{number}")
            await asyncio.sleep(NEWS_S / 4)
        assert bench.starter.asked == [KEY]
        assert len(await bench.launcher().poll()) == 10

    on_bench(scenario)


def test_a_launcher_that_asks_in_time_is_all_that_is_needed() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.launch()
        await asyncio.sleep(0.9 * NEWS_S)
        assert len(await bench.launcher().poll()) == 1
        await asyncio.sleep(COMING_S)
        assert bench.starter.asked == []

    on_bench(scenario)


@pytest.mark.parametrize("phase", [PENDING, ALIVE, RESTARTING])
def test_a_launcher_that_ray_has_is_waited_for_before_another_is_started_beside_it(phase: ActorPhase) -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1", phase)
        bench.launch()
        await asyncio.sleep(COMING_S - NEWS_S)
        assert bench.starter.asked == []
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_a_launcher_of_another_environment_is_not_waited_for() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1", key=OTHER_KEY)
        bench.launch()
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_when_the_awaited_launcher_dies_one_is_started_at_once() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1", PENDING)
        bench.launch()
        await asyncio.sleep(5)
        bench.tell("l1", DEAD, cause="its node is gone")
        await moment()
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_one_that_asked_and_is_gone_without_news_is_replaced() -> None:
    async def scenario(bench: DispatchBench) -> None:
        await bench.launcher().poll()
        await asyncio.sleep(ABSENT_S)
        bench.launch()
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_one_that_is_gone_without_news_after_the_order_came_is_replaced_too() -> None:
    async def scenario(bench: DispatchBench) -> None:
        await bench.launcher().poll()
        bench.launch()
        await asyncio.sleep(COMING_S + 2 * NEWS_S)
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_where_the_started_one_does_not_come_up_the_launches_fail() -> None:
    async def scenario(bench: DispatchBench) -> None:
        first, again = bench.launch(), bench.launch("a2", attempt=2)
        await asyncio.sleep(NEWS_S + COMING_S - 1)
        assert not first.done()
        report = await first
        assert isinstance(report, LaunchFailed)
        assert "did not come up within 60 s" in report.cause
        assert isinstance(await again, LaunchLost), "an earlier attempt may have an actor"
        assert bench.starter.asked == [KEY]

    on_bench(scenario)


def test_what_prevents_a_start_is_the_cause_of_the_failure() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.starter.problem = "RuntimeEnvSetupError: no such package"
        assert await bench.launch() == LaunchFailed("a1", 1, "RuntimeEnvSetupError: no such package")

    on_bench(scenario)


def test_a_later_launch_is_tried_anew_after_a_failed_start() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.starter.problem = "no memory"
        await bench.launch()
        bench.starter.problem = ""
        launched = bench.launch("a2")
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY, KEY]
        launcher = bench.launcher()
        (leased,) = await launcher.poll()
        launcher.report(leased, ready(leased))
        assert await launched == ready(leased)

    on_bench(scenario)


def test_an_environment_that_is_no_longer_recorded_fails_its_launches() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched, again = bench.launch(), bench.launch("a2", attempt=2)
        await moment()
        del bench.store.kept[f"blob/{KEY}"]
        assert await launched == LaunchFailed("a1", 1, "it was deleted before it was launched")
        assert await again == LaunchLost("a2", 2, "it was deleted before it was launched")
        assert bench.starter.asked == []

    on_bench(scenario)


def test_only_some_launchers_are_started_at_once() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.starter.took_s = 10.0
        for number in range(2 * STARTS_AT_ONCE + 1):
            environment = Environment(node_id=f"node-{number}")
            key = environment_key(environment)
            bench.store.kept[f"blob/{key}"] = encode_environment(environment)
            bench.launch(f"a{number}", key=key)
        await asyncio.sleep(NEWS_S + 25)
        assert len(bench.starter.asked) == 2 * STARTS_AT_ONCE + 1
        assert bench.starter.most_at_once == STARTS_AT_ONCE

    on_bench(scenario)


def test_warm_workers_bring_a_launcher_too() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.dispatch.keep_ready(KEY, 1, lambda _: None)
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY]
        assert [leased.order for leased in await bench.launcher().poll()] == [KeepWarm(1)]

    on_bench(scenario)


def test_a_launcher_is_started_for_the_next_order_after_an_idle_one_has_ended() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        polled = launcher.begin()
        await moment()
        launched = bench.launch()
        (leased,) = await polled
        launcher.report(leased, ready(leased))
        await launched
        await launcher.ask_until_end()
        bench.launch("a2")
        await asyncio.sleep(2 * NEWS_S)
        assert bench.starter.asked == [KEY]

    assert IDLE_S < COMING_S, "the end comes while the first order's watch is still asleep"
    on_bench(scenario)


@pytest.mark.parametrize("turns", range(12))
def test_an_order_that_comes_while_the_watch_over_earlier_ones_ends_is_watched_too(turns: int) -> None:
    """Whichever turn of the event loop it is that the order comes in."""

    async def scenario(bench: DispatchBench) -> None:
        first = bench.launch("a1")
        await moment()
        second = bench.launch("a2")
        for _ in range(turns):
            await asyncio.sleep(0)
        bench.tell("l1", DEAD, environment_failed=True, cause="no such package")
        await asyncio.sleep(2 * NEWS_S)
        assert isinstance(await first, LaunchFailed)
        assert second.done() != (bench.starter.asked == [KEY]), "it failed with the first, or is waited for"

    on_bench(scenario)


# -- launchers that cannot work --------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [DEAD, RESTARTING])
def test_where_the_environment_cannot_be_set_up_the_launches_fail_at_once_with_rays_cause(phase: ActorPhase) -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1", PENDING)
        first, second = bench.launch("a1"), bench.launch("a2")
        await asyncio.sleep(5)
        bench.tell("l1", phase, environment_failed=True, cause="no such package", restarts=1)
        began = asyncio.get_running_loop().time()
        says = "its environment could not be set up: no such package"
        assert [await first, await second] == [LaunchFailed("a1", 1, says), LaunchFailed("a2", 1, says)]
        assert asyncio.get_running_loop().time() - began < 0.1
        assert bench.starter.asked == []

    on_bench(scenario)


def test_another_environments_failure_fails_nothing_here() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        await moment()
        bench.tell("l9", DEAD, key=OTHER_KEY, environment_failed=True, cause="no such package")
        (leased,) = await bench.launcher().poll()
        assert leased.order == order()
        assert not launched.done()

    on_bench(scenario)


def test_a_failed_environment_of_one_launcher_fails_nothing_while_another_asks() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        polled = launcher.begin()
        await moment()
        bench.tell("l2", DEAD, environment_failed=True, cause="its node has no disk left")
        launched = bench.launch()
        (leased,) = await polled
        launcher.report(leased, ready(leased))
        assert await launched == ready(leased)

    on_bench(scenario)


def test_a_failure_is_forgotten_once_a_launcher_asks() -> None:
    async def scenario(bench: DispatchBench) -> None:
        first = bench.launch()
        await moment()
        bench.tell("l1", DEAD, environment_failed=True, cause="no such package")
        assert isinstance(await first, LaunchFailed)
        launched = bench.launch()
        launcher = bench.launcher("l2")
        (leased,) = await launcher.poll()
        launcher.report(leased, ready(leased))
        assert await launched == ready(leased)

    on_bench(scenario)


def test_a_launcher_that_crashes_again_and_again_before_it_asks_is_given_up() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        await moment()
        for restarts in range(1, MAX_CRASHES):
            bench.tell("l1", RESTARTING, restarts=restarts)
            await asyncio.sleep(1)
        assert not launched.done()
        bench.tell("l1", RESTARTING, restarts=MAX_CRASHES)
        report = await launched
        assert isinstance(report, LaunchFailed)
        assert "again and again while it was starting" in report.cause
        assert bench.starter.asked == []

    on_bench(scenario)


def test_crashes_between_which_it_asked_do_not_add_up() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        for restarts in range(1, 3 * MAX_CRASHES):
            bench.tell("l1", RESTARTING, restarts=restarts)
            bench.tell("l1", ALIVE, restarts=restarts)
            launcher = launcher.restarted()
            await launcher.poll()
        bench.tell("l1", RESTARTING, restarts=3 * MAX_CRASHES)
        launched = bench.launch()
        await asyncio.sleep(5)
        assert not launched.done()

    on_bench(scenario)
