"""Fake launchers: processes that poll the supervisor for orders, by the rules of `runtime.launcher`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from fake_launching import FakeLaunching, MainThread
from virtual_time import VirtualLoop

from schedulemesh.core.launch_protocol import (
    UNLOADED,
    Address,
    Held,
    KeepWarm,
    Kill,
    Launch,
    LaunchFailed,
    LeasedOrder,
    OrderDone,
    Report,
    Stop,
    WarmWorkersSeen,
    decode_orders,
)
from schedulemesh.core.messages import ReportOrder, Request, TakeOrders

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from launcher_actors import LauncherActor
    from living_ray import LivingRay
    from ray_world import Actor
    from stage import Stage

    from schedulemesh.core.messages import Reply

RETRY_S = 0.2
REFUSED_S = 3.0
ANSWER_S = 60.0
GONE_S = 10.0


class SupervisorGoneError(Exception):
    """The mesh was stopped."""


class LauncherProcess:
    """One process of a launcher's actor; a restart makes another, with another incarnation."""

    def __init__(self, ray: LivingRay, stage: Stage, actor: LauncherActor) -> None:
        self.loop = VirtualLoop(stage.timeline)
        self.actor = actor
        self.incarnation = f"{actor.actor_id}.{actor.restarts}"
        self.created: list[Actor] = []
        self.held: dict[str, LeasedOrder] = {}
        self._ray = ray
        self._stage = stage
        self._main = MainThread(ray.chance, self.restart)
        self._launches: dict[str, FakeLaunching] = {}
        self._driver_gone = actor.driver_gone
        self._became_idle: asyncio.Future[None] = self.loop.create_future()
        self._ended = False

    def start(self) -> None:
        self._spawn(self._run())

    def look_at_driver(self) -> None:
        self.loop.call_soon(self._see_driver_gone)

    def restart(self) -> None:
        """Have Ray replace this process; a little later, as in Ray."""
        self._ray.loop.call_soon(self._ray.launchers.restart, self.actor)

    def _end(self) -> None:
        self._ended = True
        self._ray.loop.call_soon(self._ray.launchers.end, self.actor, "it ended itself")

    # -- the supervisor ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._ended:
                await self._poll()
        except SupervisorGoneError:
            self._end()

    async def _poll(self) -> None:
        """Ask once for orders. The question is put anew when the launcher has become idle in the meantime."""
        idle = self._is_idle()
        became_idle = self._became_idle = self.loop.create_future()
        held = [Held(lease, _uid(leased)) for lease, leased in self.held.items()]
        body = TakeOrders(self.actor.key, self.actor.actor_id, self.incarnation, held, idle)
        answered = await self._ask(body, None if idle else became_idle)
        if answered is None:
            return
        reply, life = answered
        if reply.result is None:
            await asyncio.sleep(REFUSED_S)
        elif reply.result.get("end"):
            self._end()
        else:
            for leased in decode_orders(reply.result["orders"]):
                self._take(leased, life)

    async def _ask(
        self, body: TakeOrders | ReportOrder, unless: asyncio.Future[None] | None = None
    ) -> tuple[Reply, int] | None:
        """Return the reply, and which supervisor gave it, or None once `unless` is done; raises SupervisorGoneError."""
        stage, chance = self._stage, self._ray.chance
        request = Request(stage.new_id(), body)
        what = "the answer to a poll" if isinstance(body, TakeOrders) else "an acknowledgement"
        missing_since: float | None = None
        while unless is None or not unless.done():
            supervisor = stage.process
            if stage.over:
                missing_since = missing_since or self.loop.time()
                if self.loop.time() - missing_since > GONE_S:
                    raise SupervisorGoneError
            else:
                missing_since = None
            if not stage.over and supervisor is not None and supervisor.up:
                answer = supervisor.call(request, self.loop)
                impatient = chance.happens("a launcher asks again")
                waited_for: set[asyncio.Future[Any]] = {answer} if unless is None else {answer, unless}
                timeout = RETRY_S if impatient else ANSWER_S
                await asyncio.wait(waited_for, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if answer.done() and answer.exception() is None:
                    if not chance.happens(f"{what} is lost"):
                        return answer.result(), supervisor.number
                    self._note(f"loses {what}")
            await asyncio.sleep(RETRY_S)
        return None

    async def _report(self, lease: str, report: Report) -> None:
        """Report on a lease until that is acknowledged, or refused because the supervisor knows no such lease."""
        body = ReportOrder(self.actor.key, self.actor.actor_id, self.incarnation, lease, report)
        with suppress(SupervisorGoneError):
            await self._ask(body)
        self.held.pop(lease, None)
        self._look_whether_idle()

    def _is_idle(self) -> bool:
        return self._driver_gone and not self.held

    def _look_whether_idle(self) -> None:
        if self._is_idle() and not self._became_idle.done():
            self._became_idle.set_result(None)

    def _see_driver_gone(self) -> None:
        self._driver_gone = True
        self._look_whether_idle()

    # -- orders --------------------------------------------------------------------------------------------------

    def _take(self, leased: LeasedOrder, life: int) -> None:
        """Begin an order. One that is in flight here already goes on under its new lease."""
        lease, order = leased.lease, leased.order
        if lease in self.held:
            return
        if not isinstance(order, Launch):
            if self._ray.chance.happens("an order is lost"):
                self._die()
                return
            self.held[lease] = leased
            self._spawn(self._carry_out(lease, order))
            return
        launching = self._launches.get(order.uid)
        if launching is not None:
            self._note(f"goes on with the launch of {order.uid} as its attempt {order.attempt}")
            self.held.pop(launching.lease, None)
            launching.renew(leased, life)
        else:
            self._note(f"begins attempt {order.attempt} of {order.uid}")
            launching = FakeLaunching(self, self._ray, self._stage, leased, life, self._main)
            self._launches[order.uid] = launching
            self._spawn(self._launch(launching))
        self.held[lease] = leased
        if self._ray.chance.happens("the launcher dies"):
            self._ray.loop.call_later(self._ray.chance.delay("class"), self._die)

    async def _launch(self, launching: FakeLaunching) -> None:
        report = await launching.run()
        del self._launches[launching.order.uid]
        self._note(f"reports {type(report).__name__} of {report.uid}")
        await self._report(launching.lease, report)
        if isinstance(report, LaunchFailed) and report.cause.startswith(UNLOADED) and not self.held:
            self.restart()

    async def _carry_out(self, lease: str, order: Stop | Kill | KeepWarm) -> None:
        report: Report = OrderDone()
        match order:
            case Stop():
                await self._stop(order.address)
            case Kill():
                self._kill(order.address)
            case KeepWarm():
                report = WarmWorkersSeen(order.count, 0)
        await self._report(lease, report)

    async def _stop(self, address: Address) -> None:
        """Return once the agent is gone; it may be killed before, if it does not heed."""
        if address.actor_id is None:
            return
        actor = self._ray.find(address.actor_name, address.namespace, address.actor_id)
        if actor is not None and self._ray.heeds(actor):
            await asyncio.sleep(self._ray.chance.delay("hook"))
            self._ray.terminate(actor)
        while actor is not None and actor.lives:
            await self._ray.change(actor)

    def _kill(self, address: Address) -> None:
        """Kill the actor; one that is just being created here, as soon as it is. A launcher is an actor too."""
        launching = self._launches.get(address.uid)
        if launching is not None:
            launching.given_up.set()
        if address.actor_id is None:
            actor = launching.actor if launching is not None else None
        else:
            actor = self._ray.find(address.actor_name, address.namespace, address.actor_id)
        if actor is not None:
            self._ray.kill(actor)
        launcher = self._ray.launchers.find(address.actor_name, address.namespace, address.actor_id)
        if launcher is not None:
            self._ray.launchers.end(launcher, "killed by ray.kill")

    # -- inside --------------------------------------------------------------------------------------------------

    def _die(self) -> None:
        if self._ray.chance.happens("its node is lost"):
            self._ray.loop.call_soon(self._ray.launchers.end, self.actor, "its node died")
        else:
            self.restart()

    def _note(self, what: str) -> None:
        self._stage.note(f"launcher {self.incarnation}: ", what)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.create_task(work).add_done_callback(partial(_finished, self._stage))


def _uid(leased: LeasedOrder) -> str:
    return leased.order.uid if isinstance(leased.order, Launch) else ""


def _finished(stage: Stage, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        stage.judge.fail(f"the fake launcher has a defect: {task.exception()!r}")
