"""Dispatch: what Ray's table says of launchers, and what is left of those that are gone."""

from __future__ import annotations

import asyncio

from dispatch_bench import (
    KEY,
    OTHER_KEY,
    DispatchBench,
    moment,
    on_bench,
    sighted,
)

from schedulemesh.core.launch_protocol import BARE, LaunchLost
from schedulemesh.core.messages import POLL_S
from schedulemesh.supervisor.events import ActorPhase, LaunchersCounted
from schedulemesh.supervisor.mailbox import ABSENT_S

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase


# -- the table -------------------------------------------------------------------------------------------------------


def test_a_launcher_that_two_readings_in_a_row_do_not_have_has_lost_what_it_held() -> None:
    """One may have been read before the launcher was there."""

    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        launcher = bench.launcher()
        launched = bench.launch()
        await launcher.poll()
        launcher.begin()
        bench.dispatch.seen_all(())
        await moment()
        assert not launched.done()
        bench.dispatch.seen_all(())
        assert isinstance(await launched, LaunchLost)

    on_bench(scenario)


def test_a_launcher_that_is_in_every_second_reading_keeps_what_it_holds() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        launched = bench.launch()
        await launcher.poll()
        launcher.begin()
        for reading in [(sighted("l1"),), ()] * 5:
            bench.dispatch.seen_all(reading)
        await moment()
        assert not launched.done()

    on_bench(scenario)


def test_how_many_launchers_there_are_is_told_at_every_change() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1", name="mesh:launcher:0123")
        bench.tell("l2", name="mesh:launcher:0123:own")
        bench.tell("l1", DEAD)
        assert bench.counts == [LaunchersCounted(1, 0), LaunchersCounted(2, 1), LaunchersCounted(1, 1)]
        bench.dispatch.seen_all(())
        bench.dispatch.seen_all(())
        assert bench.counts[-1] == LaunchersCounted(0, 0)

    on_bench(scenario)


def test_mailboxes_of_launchers_that_are_gone_do_not_pile_up() -> None:
    async def scenario(bench: DispatchBench) -> None:
        for number in range(100):
            key = f"{number:064}"
            launcher = bench.launcher(f"l{number}", key)
            bench.tell(launcher.actor_id, key=key)
            launcher.begin()
            launched = bench.launch(f"a{number}", key=key)
            await moment()
            bench.tell(launcher.actor_id, DEAD, key=key)
            assert isinstance(await launched, LaunchLost)
        await moment()
        assert bench.dispatch._mailboxes == {}

    on_bench(scenario)


def test_a_launcher_that_dies_between_two_polls_leaves_no_mailbox_behind() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        await bench.launcher().poll()
        bench.tell("l1", DEAD)
        bench.dispatch.seen_all(())
        assert bench.dispatch._mailboxes == {}

    on_bench(scenario)


def test_mailboxes_of_keys_that_nobody_knows_do_not_pile_up() -> None:
    """Whoever can call the supervisor can ask under any key."""

    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l-here")
        here = bench.launcher("l-here")
        for number in range(100):
            bench.launcher(f"l{number}", f"{number:064}").begin()
            bench.launcher("l-here", f"{number:064}").begin()
        await asyncio.sleep(POLL_S + ABSENT_S)
        here.begin()
        await moment()
        bench.dispatch.seen_all((sighted("l-here"),))
        assert set(bench.dispatch._mailboxes) == {KEY}

    on_bench(scenario)


def test_what_a_launcher_took_that_ray_never_told_of_is_lost_after_two_readings_without_it() -> None:

    async def scenario(bench: DispatchBench) -> None:
        launched = bench.launch()
        launcher = bench.launcher()
        await launcher.poll()
        await launcher.poll()
        bench.dispatch.seen_all(())
        await moment()
        assert not launched.done(), "the reading may be older than the launcher"
        bench.dispatch.seen_all(())
        assert isinstance(await launched, LaunchLost)

    on_bench(scenario)


def test_mailboxes_of_launches_that_failed_do_not_pile_up() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.starter.problem = "no memory"
        await bench.launch()
        await bench.kill(key=OTHER_KEY)
        bench.dispatch.keep_ready(KEY, 1, lambda _: None)
        await asyncio.sleep(5)
        bench.dispatch.keep_ready(KEY, 0, lambda _: None)
        await asyncio.sleep(3600)
        assert bench.dispatch._mailboxes == {}
        assert BARE in bench.starter.asked

    on_bench(scenario)
