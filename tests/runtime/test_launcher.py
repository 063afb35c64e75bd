"""The launcher: what it says it holds, what it takes, what it reports, and when it restarts or ends itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import ray
from dispatch_bench import address, moment, order, play

from schedulemesh.core.errors import InvalidRequestError, SupervisorUnavailableError
from schedulemesh.core.launch_protocol import (
    UNLOADED,
    Held,
    KeepWarm,
    Kill,
    Launch,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    LaunchReport,
    LeasedOrder,
    Order,
    OrderDone,
    Stop,
    WarmWorkersSeen,
    encode_orders,
)
from schedulemesh.core.messages import AnyBody, Reply, ReportOrder, TakeOrders
from schedulemesh.runtime import launcher as module
from schedulemesh.runtime.launcher import IDLE_LOOK_S, Launcher
from schedulemesh.runtime.supervisor_link import SupervisorGoneError

NOTHING = Reply(result={"orders": encode_orders([])})


class Work:
    """A launch in flight that ends when a test says so."""

    def __init__(self, leased: LeasedOrder, *_: Any) -> None:
        self.renewals: list[str] = []
        self.given_up = asyncio.Event()
        self.handle: Any = None
        self.ends: asyncio.Future[LaunchReport] = asyncio.get_running_loop().create_future()
        self.renew(leased)

    def renew(self, leased: LeasedOrder) -> None:
        assert isinstance(leased.order, Launch)
        self.lease, self.order = leased.lease, leased.order
        self.renewals.append(leased.lease)

    async def run(self) -> LaunchReport:
        return await self.ends


class Stand:
    """One launcher's process, its supervisor, and what Ray is asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.polls: list[TakeOrders] = []
        self.reports: list[ReportOrder] = []
        self.replies: asyncio.Queue[Reply | Exception] = asyncio.Queue()
        self.acknowledges: asyncio.Event = asyncio.Event()
        self.acknowledges.set()
        self.report_reply = Reply(result={})
        self.driver_gone = False
        self.killed: list[tuple[Any, bool]] = []
        self.actors: dict[str, str] = {}
        """Handles of actors by id."""
        self.stopped: list[Any] = []
        self.me = SimpleNamespace(load_class=SimpleNamespace(remote=None))
        context = SimpleNamespace(current_actor=self.me, get_actor_id=lambda: "l1")
        threads: list[Any] = []
        monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
        monkeypatch.setattr(ray, "kill", lambda actor, *, no_restart: self.killed.append((actor, no_restart)))
        monkeypatch.setattr(module, "SupervisorLink", lambda *_: self)
        monkeypatch.setattr(module, "Launching", Work)
        monkeypatch.setattr(module, "driver_has_gone", self._driver_has_gone)
        monkeypatch.setattr(module, "find", self._find)
        monkeypatch.setattr(module, "stop_gracefully", self._stop)
        monkeypatch.setattr(module, "WarmWorkers", lambda: self)
        monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=lambda **named: Thread(threads, **named)))
        self.keeps: WarmWorkersSeen | Exception = WarmWorkersSeen(1, 0)
        self.launcher = Launcher("mesh", "ns", "key")
        self.run = asyncio.ensure_future(threads[0])

    async def ask(self, body: AnyBody) -> Reply:
        """The supervisor's link."""
        if isinstance(body, ReportOrder):
            self.reports.append(body)
            await self.acknowledges.wait()
            return self.report_reply
        assert isinstance(body, TakeOrders)
        self.polls.append(body)
        reply = await self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def give(self, *orders: LeasedOrder) -> None:
        """Answer the open poll with these orders, and let the launcher ask again."""
        await self.answer(Reply(result={"orders": encode_orders(list(orders))}))

    async def answer(self, reply: Reply | Exception) -> None:
        self.replies.put_nowait(reply)
        await moment()

    async def keep(self, _: int) -> WarmWorkersSeen:
        """The warm workers."""
        if isinstance(self.keeps, Exception):
            raise self.keeps
        return self.keeps

    @property
    def held(self) -> list[Held]:
        return self.polls[-1].held

    def work(self, uid: str = "a1") -> Work:
        work: Any = self.launcher._launches[uid]
        assert isinstance(work, Work)
        return work

    async def _driver_has_gone(self) -> bool:
        return self.driver_gone

    async def _find(self, wanted: Any) -> str | None:
        if wanted.actor_id == "breaks":
            raise ImportError("no module of the user's")
        return self.actors.get(wanted.actor_id)

    async def _stop(self, wanted: Any) -> str:
        self.stopped.append(wanted)
        return "it does not answer" if wanted.actor_id == "breaks" else ""


def Thread(threads: list[Any], *, target: Any, args: tuple[Any, ...], **_: Any) -> Any:  # noqa: N802 - stands for a class
    """Keeps what the launcher's own thread is to run."""
    threads.append(args[0])
    return SimpleNamespace(start=lambda: None)


def lease(name: str, what: Order | None = None) -> LeasedOrder:
    return LeasedOrder(name, what or order())


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Stand], Awaitable[None]]], None]:
    """Plays a scenario with a launcher that has asked for the first time."""

    def played(scenario: Callable[[Stand], Awaitable[None]]) -> None:
        async def main() -> None:
            one = Stand(monkeypatch)
            await moment()
            await scenario(one)

        play(main())

    return played


Played = Callable[[Callable[[Stand], Awaitable[None]]], None]


# -- polls -----------------------------------------------------------------------------------------------------------


def test_it_asks_in_its_own_name_and_with_its_whole_key(stand: Played, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(one: Stand) -> None:
        (poll,) = one.polls
        assert (poll.environment_key, poll.actor_id, poll.held, poll.idle) == ("key", "l1", [], False)
        assert poll.incarnation

    stand(scenario)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == shown.err.splitlines()[0] == ":job_id:ffffffff", "no driver sees its output"


def test_each_process_is_another_incarnation(stand: Played) -> None:
    seen: list[str] = []

    async def scenario(one: Stand) -> None:
        seen.append(one.polls[0].incarnation)

    stand(scenario)
    stand(scenario)
    assert len(set(seen)) == 2


def test_it_lists_what_it_holds_until_the_report_is_acknowledged(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        one.acknowledges.clear()
        await one.give(lease("x"), lease("y", Stop(address("a2"))))
        assert one.held == [Held("x", "a1"), Held("y", "")]
        one.work().ends.set_result(LaunchReady("a1", 1, "actor"))
        await one.answer(NOTHING)
        assert one.held == [Held("x", "a1"), Held("y", "")], "nobody has said yet that the reports came"
        one.acknowledges.set()
        await moment()
        await one.answer(NOTHING)
        assert one.held == []
        assert {(done.lease, done.report) for done in one.reports} == {
            ("x", LaunchReady("a1", 1, "actor")),
            ("y", OrderDone()),
        }

    stand(scenario)


def test_a_refused_report_is_forgotten(stand: Played) -> None:
    """The supervisor knows no such lease; it has restarted, or given the order up."""

    async def scenario(one: Stand) -> None:
        one.report_reply = Reply.refused(InvalidRequestError(field="lease", problem="is not held"))
        await one.give(lease("x"))
        one.work().ends.set_result(LaunchReady("a1", 1, "actor"))
        await moment()
        await one.answer(NOTHING)
        assert (one.held, len(one.reports)) == ([], 1)

    stand(scenario)


def test_what_it_has_already_is_not_begun_a_second_time(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x"))
        await one.give(lease("x"))
        assert one.work().renewals == ["x"]
        assert one.held == [Held("x", "a1")]

    stand(scenario)


def test_a_later_lease_of_a_launch_in_flight_takes_it_over(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x"))
        work = one.work()
        await one.give(lease("y", order(attempt=2)))
        assert (one.work(), work.renewals, one.held) == (work, ["x", "y"], [Held("y", "a1")])
        work.ends.set_result(LaunchReady("a1", 2, "actor"))
        await moment()
        assert [(done.lease, done.report) for done in one.reports] == [("y", LaunchReady("a1", 2, "actor"))]

    stand(scenario)


def test_a_refused_poll_is_repeated_after_a_while(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.answer(Reply.refused(SupervisorUnavailableError(mesh="mesh", timeout_s=0, reason="too many ask")))
        await asyncio.sleep(IDLE_LOOK_S - 1)
        assert len(one.polls) == 1
        await asyncio.sleep(2)
        assert len(one.polls) == 2

    stand(scenario)


# -- idleness and the end --------------------------------------------------------------------------------------------


def test_when_its_driver_has_gone_it_asks_anew_and_says_that_it_is_idle(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await asyncio.sleep(3 * IDLE_LOOK_S)
        assert [poll.idle for poll in one.polls] == [False]
        one.driver_gone = True
        await asyncio.sleep(3 * IDLE_LOOK_S)
        assert [poll.idle for poll in one.polls] == [False, True]

    stand(scenario)


def test_it_is_not_idle_while_it_holds_something(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        one.driver_gone = True
        await one.give(lease("x"))
        await asyncio.sleep(10 * IDLE_LOOK_S)
        assert not any(poll.idle for poll in one.polls)
        one.work().ends.set_result(LaunchFailed("a1", 1, "no"))
        await asyncio.sleep(2 * IDLE_LOOK_S)
        assert one.polls[-1].idle

    stand(scenario)


def test_it_ends_for_good_when_it_is_told_to(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.answer(Reply(result={"end": True}))
        assert one.killed == [(one.me, True)]
        assert one.run.done()
        assert len(one.polls) == 1

    stand(scenario)


def test_it_ends_for_good_when_its_mesh_is_gone(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.answer(SupervisorGoneError())
        assert one.killed == [(one.me, True)]
        assert one.run.done()

    stand(scenario)


UNLOADABLE = LaunchFailed("a1", 1, f"{UNLOADED}\nTraceback: ImportError")


def test_a_class_that_does_not_load_costs_the_process_once_it_was_reported(stand: Played) -> None:
    """It has imported modules as they were; the next try must see them as they are."""

    async def scenario(one: Stand) -> None:
        one.acknowledges.clear()
        await one.give(lease("x"))
        one.work().ends.set_result(UNLOADABLE)
        await moment()
        assert ([done.report for done in one.reports], one.killed) == ([UNLOADABLE], [])
        one.acknowledges.set()
        await moment()
        assert one.killed == [(one.me, False)]

    stand(scenario)


@pytest.mark.parametrize(
    "report", [LaunchFailed("a1", 1, "ValueError in its constructor"), LaunchLost("a1", 1, UNLOADED)], ids=str
)
def test_any_other_failure_costs_only_the_agent(stand: Played, report: LaunchReport) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x"))
        one.work().ends.set_result(report)
        await moment()
        assert one.killed == []

    stand(scenario)


def test_a_class_that_does_not_load_does_not_cost_others_that_are_in_flight(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x"), lease("y", order("a2")))
        one.work().ends.set_result(UNLOADABLE)
        await moment()
        assert one.killed == []
        one.work("a2").ends.set_result(msgspec.structs.replace(UNLOADABLE, uid="a2"))
        await moment()
        assert one.killed == [(one.me, False)]

    stand(scenario)


# -- stops, kills and warm workers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("actor_id", "problem"), [("actor", ""), ("breaks", "it does not answer")])
def test_a_stop_is_carried_out_and_reported(stand: Played, actor_id: str, problem: str) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x", Stop(address(actor_id=actor_id))))
        assert one.stopped == [address(actor_id=actor_id)]
        assert [done.report for done in one.reports] == [OrderDone(problem)]

    stand(scenario)


def test_exactly_the_actor_that_is_meant_is_killed(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        one.actors["actor-a1"] = "its handle"
        await one.give(lease("x", Kill(address("a1"))), lease("y", Kill(address("a2"))))
        assert one.killed == [("its handle", True)]
        assert [done.report for done in one.reports] == [OrderDone()] * 2

    stand(scenario)


def test_what_prevents_a_kill_is_reported(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x", Kill(address(actor_id="breaks"))))
        assert [done.report for done in one.reports] == [OrderDone("ImportError: no module of the user's")]

    stand(scenario)


@pytest.mark.parametrize("handle", [None, "its handle"])
def test_a_kill_of_an_agent_that_is_being_launched_gives_its_launch_up(stand: Played, handle: str | None) -> None:
    async def scenario(one: Stand) -> None:
        await one.give(lease("x"))
        one.work().handle = handle
        await one.give(lease("y", Kill(address(actor_id=None))))
        assert one.work().given_up.is_set()
        assert one.killed == ([(handle, True)] if handle else [])
        assert [done.lease for done in one.reports] == ["y"]

    stand(scenario)


def test_a_kill_without_an_id_kills_nothing_that_is_not_being_launched_here(stand: Played) -> None:
    async def scenario(one: Stand) -> None:
        one.actors["actor-a1"] = "its handle"
        await one.give(lease("x", Kill(address(actor_id=None))))
        assert (one.killed, [done.report for done in one.reports]) == ([], [OrderDone()])

    stand(scenario)


@pytest.mark.parametrize(
    ("keeps", "report"),
    [
        (WarmWorkersSeen(1, 2), WarmWorkersSeen(1, 2)),
        (ConnectionError("the raylet is away"), OrderDone("ConnectionError: the raylet is away")),
    ],
    ids=["seen", "problem"],
)
def test_how_many_warm_workers_there_are_is_reported(stand: Played, keeps: Any, report: Any) -> None:
    async def scenario(one: Stand) -> None:
        one.keeps = keeps
        await one.give(lease("x", KeepWarm(2)))
        assert [done.report for done in one.reports] == [report]

    stand(scenario)
