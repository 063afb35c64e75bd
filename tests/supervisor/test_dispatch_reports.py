"""Dispatch: only what the holder of a lease reports on it counts, and it counts once; warm workers are kept by orders."""

from __future__ import annotations

import msgspec
import pytest
from dispatch_bench import (
    KEY,
    OTHER_KEY,
    DispatchBench,
    moment,
    on_bench,
    one_in_flight,
    ready,
)

from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.launch_protocol import (
    MAX_HANDLE,
    KeepWarm,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    OrderDone,
    Report,
    Stop,
    WarmWorkersSeen,
)
from schedulemesh.supervisor.events import ActorPhase, WarmSeen

# -- reports ---------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Report, dict[str, str]]] = {
    "lease": (LaunchReady("a1", 1, "actor"), {"lease": "another"}),
    "launcher": (LaunchReady("a1", 1, "actor"), {"actor_id": "l2"}),
    "process": (LaunchReady("a1", 1, "actor"), {"incarnation": "p2"}),
    "environment": (LaunchReady("a1", 1, "actor"), {"environment_key": OTHER_KEY}),
    "no environment of ours": (LaunchReady("a1", 1, "actor"), {"environment_key": "unknown"}),
    "agent": (LaunchReady("a2", 1, "actor"), {}),
    "agent that failed": (LaunchFailed("a2", 1, "no"), {}),
    "earlier attempt": (LaunchReady("a1", 0, "actor"), {}),
    "later attempt": (LaunchLost("a1", 2, "no"), {}),
    "kind": (OrderDone(), {}),
    "kind again": (WarmWorkersSeen(1, 1), {}),
}


@pytest.mark.parametrize(("report", "changes"), WRONG.values(), ids=WRONG)
def test_a_report_that_is_not_the_holders_own_is_refused_and_changes_nothing(
    report: Report, changes: dict[str, str]
) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher, leased, launched = await one_in_flight(bench)
        bench.launch("b1", key=OTHER_KEY)
        await bench.launcher("l2", OTHER_KEY).poll()
        assert launcher.is_refused(leased, report, **changes)
        await moment()
        assert not launched.done()
        launcher.report(leased, ready(leased))
        assert await launched == ready(leased)

    on_bench(scenario)


@pytest.mark.parametrize("report", [LaunchReady("a1", 1, "actor"), LaunchFailed("a1", 1, ""), WarmWorkersSeen(0, 0)])
def test_what_is_no_report_on_a_stop_is_refused(report: Report) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        polled = launcher.begin()
        await moment()
        stopped = bench.stop()
        (leased,) = await polled
        assert isinstance(leased.order, Stop)
        assert launcher.is_refused(leased, report)
        assert not stopped.done()
        launcher.report(leased, OrderDone())
        await stopped

    on_bench(scenario)


def test_a_second_report_on_the_same_lease_is_refused() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher, leased, launched = await one_in_flight(bench)
        launcher.report(leased, ready(leased))
        assert launcher.is_refused(leased, LaunchFailed("a1", 1, "after all"))
        assert await launched == ready(leased)

    on_bench(scenario)


def test_a_report_that_comes_after_the_loss_is_refused() -> None:
    async def scenario(bench: DispatchBench) -> None:
        bench.tell("l1")
        launcher, leased, launched = await one_in_flight(bench)
        bench.tell("l1", ActorPhase.DEAD)
        assert launcher.is_refused(leased, ready(leased))
        assert isinstance(await launched, LaunchLost)

    on_bench(scenario)


@pytest.mark.parametrize(("size", "kept"), [(MAX_HANDLE, True), (MAX_HANDLE + 1, False)])
def test_a_handle_that_is_none_of_rays_is_dropped(size: int, kept: bool) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher, leased, launched = await one_in_flight(bench)
        launcher.report(leased, msgspec.structs.replace(ready(leased), handle=bytes(size)))
        assert await launched == msgspec.structs.replace(ready(leased), handle=bytes(size) if kept else b"")

    on_bench(scenario)


def test_a_refused_report_names_the_lease_as_what_is_wrong() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher, leased, _ = await one_in_flight(bench)
        with pytest.raises(InvalidRequestError, match="lease: is not held by this launcher"):
            launcher.report(leased, OrderDone())

    on_bench(scenario)


# -- warm workers ----------------------------------------------------------------------------------------------------


def test_warm_workers_are_ordered_from_the_environments_launcher_until_all_are_there() -> None:
    async def scenario(bench: DispatchBench) -> None:
        seen: list[WarmSeen] = []
        launcher = bench.launcher()
        bench.dispatch.keep_ready(KEY, 2, seen.append)
        for ready_, coming in ((1, 1), (2, 0)):
            (leased,) = await launcher.poll()
            assert leased.order == KeepWarm(2)
            launcher.report(leased, WarmWorkersSeen(ready_, coming))
            await moment()
        assert seen == [WarmSeen(KEY, 1), WarmSeen(KEY, 2)]

    on_bench(scenario)


def test_what_a_launch_took_of_them_is_made_up_at_once() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        bench.dispatch.keep_ready(KEY, 1, lambda _: None)
        (leased,) = await launcher.poll()
        launcher.report(leased, WarmWorkersSeen(1, 0))
        polled = launcher.begin()
        await moment()
        bench.launch()
        (leased,) = await polled
        launcher.report(leased, ready(leased))
        polled = launcher.begin()
        await moment()
        assert [leased.order for leased in await polled] == [KeepWarm(1)]

    on_bench(scenario)


@pytest.mark.parametrize("report", [OrderDone("the raylet is away"), None], ids=["problem", "loss"])
def test_warm_workers_are_ordered_again_after_a_problem_or_the_loss_of_the_launcher(report: Report | None) -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        bench.dispatch.keep_ready(KEY, 1, lambda _: None)
        (leased,) = await launcher.poll()
        if report is not None:
            launcher.report(leased, report)
        else:
            bench.tell("l1", ActorPhase.RESTARTING, restarts=1)
            launcher = launcher.restarted()
        (again,) = await launcher.poll()
        assert again.order == KeepWarm(1)
        assert again.lease != leased.lease

    on_bench(scenario)


def test_where_ray_offers_no_warm_workers_none_are_ordered_again() -> None:
    async def scenario(bench: DispatchBench) -> None:
        launcher = bench.launcher()
        bench.dispatch.keep_ready(KEY, 1, lambda _: None)
        (leased,) = await launcher.poll()
        launcher.report(leased, WarmWorkersSeen(0, 0, offered=False))
        for _ in range(5):
            assert await launcher.poll() == []

    on_bench(scenario)
