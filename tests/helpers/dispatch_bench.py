"""A dispatch on a bench: virtual time, a store in memory, a starter that notes what it is asked, hand-driven launchers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from fakes import FakeStarter, FakeStore
from virtual_time import Timeline, VirtualLoop

from schedulemesh.core.environments import Environment, encode_environment, environment_key
from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.launch_protocol import (
    LABEL_LENGTH,
    Address,
    Held,
    Launch,
    LaunchReady,
    LeasedOrder,
    Report,
    decode_orders,
)
from schedulemesh.core.messages import ReportOrder, TakeOrders
from schedulemesh.core.records import key_of
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.events import ActorPhase, LaunchersCounted, LauncherSeen, LaunchReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

ENVIRONMENT, OTHER = Environment(node_id="n1"), Environment(node_id="n2")
KEY, OTHER_KEY = environment_key(ENVIRONMENT), environment_key(OTHER)
IDLE_S = 30.0

Value = TypeVar("Value")


class DispatchBench:
    """One dispatch, with the environments and blobs of `order` in its store."""

    def __init__(self) -> None:
        self.store = FakeStore([])
        self.starter = FakeStarter()
        self.counts: list[LaunchersCounted] = []
        self.dispatch = Dispatch("mesh", "ns", store=self.store, starter=self.starter, idle_s=IDLE_S)
        self.dispatch.tell_counts(self.counts.append)
        for environment in (ENVIRONMENT, OTHER):
            self.store.kept[key_of("blob", environment_key(environment))] = encode_environment(environment)
        self.store.kept |= {key_of("blob", "class"): b"the class", key_of("blob", "args"): b"the arguments"}

    def launcher(self, actor_id: str = "l1", key: str = KEY, incarnation: str = "p1") -> HandLauncher:
        return HandLauncher(self, key, actor_id, incarnation)

    def launch(self, uid: str = "a1", **changes: Any) -> asyncio.Task[LaunchReport]:
        """Have an agent launched; what its launch comes to is the task's result."""
        return asyncio.ensure_future(self.dispatch.launch(order(uid, **changes)))

    def stop(self, uid: str = "a1", key: str = KEY, grace_s: float = 5.0) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.dispatch.stop(address(uid), key, grace_s))

    def kill(self, uid: str = "a1", key: str = KEY, **changes: Any) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.dispatch.kill(address(uid, **changes), key))

    def tell(self, actor_id: str = "l1", phase: ActorPhase = ActorPhase.ALIVE, **changes: Any) -> None:
        self.dispatch.seen(sighted(actor_id, phase, **changes))


class HandLauncher:
    """One launcher's process: it asks and reports only when a test says so."""

    def __init__(self, bench: DispatchBench, key: str, actor_id: str, incarnation: str) -> None:
        self._bench = bench
        self.key = key
        self.actor_id = actor_id
        self.incarnation = incarnation
        self.held: list[Held] = []

    def restarted(self) -> HandLauncher:
        """The next process of the same actor."""
        return HandLauncher(self._bench, self.key, self.actor_id, f"after {self.incarnation}")

    def question(self, *, idle: bool = False) -> TakeOrders:
        return TakeOrders(self.key, self.actor_id, self.incarnation, list(self.held), idle)

    async def poll(self, *, idle: bool = False) -> list[LeasedOrder]:
        """Ask once, and keep what comes."""
        orders = await self.lose_answer(idle=idle)
        self.hold(orders)
        return orders

    async def lose_answer(self, *, idle: bool = False) -> list[LeasedOrder]:
        """Ask once, and keep nothing of the answer."""
        reply = await self._bench.dispatch.take(self.question(idle=idle))
        assert reply.result is not None
        assert "end" not in reply.result, "it was told to end"
        return decode_orders(reply.result["orders"])

    def begin(self, *, idle: bool = False) -> asyncio.Task[list[LeasedOrder]]:
        """Ask, and go on with something else meanwhile."""
        return asyncio.ensure_future(self.poll(idle=idle))

    def ask_until_end(self, *, idle: bool = True) -> asyncio.Task[None]:
        """Ask again and again without taking anything, until it is told to end."""

        async def asks() -> None:
            while True:
                reply = await self._bench.dispatch.take(self.question(idle=idle))
                assert reply.result is not None
                if reply.result.get("end"):
                    return

        return asyncio.ensure_future(asks())

    def hold(self, orders: list[LeasedOrder]) -> None:
        self.held += [
            Held(leased.lease, leased.order.uid if isinstance(leased.order, Launch) else "") for leased in orders
        ]

    def report(self, leased: LeasedOrder, report: Report, **changes: str) -> None:
        """Report on a lease and forget it; `changes` are to the request around the report."""
        body = ReportOrder(self.key, self.actor_id, self.incarnation, leased.lease, report)
        self._bench.dispatch.report(msgspec.structs.replace(body, **changes))
        self.held = [one for one in self.held if one.lease != leased.lease]

    def is_refused(self, leased: LeasedOrder, report: Report, **changes: str) -> bool:
        try:
            self.report(leased, report, **changes)
        except InvalidRequestError:
            return True
        return False


async def one_in_flight(bench: DispatchBench) -> tuple[HandLauncher, LeasedOrder, asyncio.Task[LaunchReport]]:
    """A launcher that holds the launch of `a1`, and has said so."""
    launcher = bench.launcher()
    launched = bench.launch()
    (leased,) = await launcher.poll()
    launcher.begin()
    await moment()
    return launcher, leased, launched


def order(uid: str = "a1", attempt: int = 1, key: str = KEY, **changes: Any) -> Launch:
    """The launch of an agent that has its class and arguments in the store."""
    launch = Launch(uid, attempt, uid, {}, "class", "args", key, "n1", uid, "ns", {}, None)
    return msgspec.structs.replace(launch, **changes)


def address(uid: str = "a1", *, actor_id: str | None = "") -> Address:
    """The actor of that agent; with None, the one that is just being created."""
    return Address(uid, f"actor-{uid}" if actor_id == "" else actor_id, uid, "ns")


def ready(leased: LeasedOrder) -> LaunchReady:
    """A good report on a launch."""
    assert isinstance(leased.order, Launch)
    return LaunchReady(leased.order.uid, leased.order.attempt, f"actor-{leased.order.uid}", "n1", 7, b"handle")


def sighted(
    actor_id: str = "l1", phase: ActorPhase = ActorPhase.ALIVE, *, key: str = KEY, **changes: Any
) -> LauncherSeen:
    """What Ray's table says of a launcher."""
    return msgspec.structs.replace(LauncherSeen(key[:LABEL_LENGTH], actor_id, phase, 0), **changes)


async def moment() -> None:
    """Let everything happen that needs no time."""
    await asyncio.sleep(0.001)


def on_bench(scenario: Callable[[DispatchBench], Awaitable[Value]]) -> Value:
    """Play a scenario in virtual time; its last value comes back."""

    async def main() -> Value:
        return await scenario(DispatchBench())

    return play(main())


def play(work: Coroutine[Any, Any, Value]) -> Value:
    """Run a coroutine to its end on a loop that never sleeps, and end all that is still under way."""
    timeline = Timeline()
    loop = VirtualLoop(timeline)
    task = loop.create_task(work)
    _run_until(timeline, [task])
    left = asyncio.all_tasks(loop)
    for one in left:
        one.cancel()
    _run_until(timeline, list(left))
    return task.result()


def _run_until(timeline: Timeline, done: list[asyncio.Task[Any]]) -> None:
    while not all(task.done() for task in done):
        assert timeline.step(), "nothing is left to happen, and it is not over"
