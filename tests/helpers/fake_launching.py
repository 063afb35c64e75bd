"""One launch in a fake launcher, by the rules of `runtime.launching` and `runtime.class_loader`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from schedulemesh.core.launch_protocol import UNLOADED, Launch, LaunchFailed, LaunchLost, LaunchReady
from schedulemesh.runtime.agent_class import UnmadeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chance import Chance
    from fake_launcher import LauncherProcess
    from living_ray import LivingRay
    from ray_world import Actor
    from stage import Stage

    from schedulemesh.core.launch_protocol import LeasedOrder

NAME_TRIED_S = 5.0
RETRY_S = 0.2
STUCK_S = 5.0


class MainThread:
    """Loads one class after the other. `restart` replaces the process, when a load hangs that nobody waits for."""

    def __init__(self, chance: Chance, restart: Callable[[], None]) -> None:
        self._chance = chance
        self._restart = restart
        self._busy = asyncio.Lock()

    async def load(self, given_up: asyncio.Event) -> None:
        """Return when the class is loaded. Raises UnmadeError if it does not load, or is not needed before it has."""
        loading = asyncio.ensure_future(self._load())
        ended = asyncio.ensure_future(given_up.wait())
        await asyncio.wait({loading, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not loading.done():
            asyncio.get_running_loop().call_later(STUCK_S, self._restart_if_stuck, loading)
            raise UnmadeError("it was deleted while its class was being loaded")
        if not loading.result():
            raise UnmadeError(UNLOADED)

    async def _load(self) -> bool:
        async with self._busy:
            if self._chance.happens("the class hangs"):
                await asyncio.Event().wait()
            await asyncio.sleep(self._chance.delay("class"))
            return not self._chance.happens("the class does not load")

    def _restart_if_stuck(self, loading: asyncio.Task[bool]) -> None:
        if not loading.done():
            self._restart()


class FakeLaunching:
    """One launch in flight. `life`: the supervisor that gave the lease."""

    def __init__(
        self,
        process: LauncherProcess,
        ray: LivingRay,
        stage: Stage,
        leased: LeasedOrder,
        life: int,
        main: MainThread,
    ) -> None:
        self._process = process
        self._ray = ray
        self._stage = stage
        self._main = main
        self.given_up = asyncio.Event()
        self.actor: Actor | None = None
        self.renew(leased, life)

    def renew(self, leased: LeasedOrder, life: int) -> None:
        """Go on under this lease; the report is about its attempt."""
        assert isinstance(leased.order, Launch)
        self.lease, self.order, self._life = leased.lease, leased.order, life

    async def run(self) -> LaunchReady | LaunchFailed | LaunchLost:
        try:
            return await self._run()
        except UnmadeError as error:
            return self.order.unmade(str(error))

    async def _run(self) -> LaunchReady | LaunchFailed | LaunchLost:
        order = self.order
        if order.adopt is not None:
            self.actor = self._ray.find(order.actor_name, order.namespace, order.adopt)
            if self.actor is None:
                return LaunchLost(order.uid, self.order.attempt, "the actor to be adopted is gone")
        else:
            await self._main.load(self.given_up)
            self.actor = await self._create()
        actor = self.actor
        if self.given_up.is_set():
            self._ray.kill(actor)
        while actor.lives and not actor.constructed:
            await self._ray.change(actor)
        if actor.unmade:  # adopted too early: the launcher that had asked for it was gone
            return LaunchLost(order.uid, self.order.attempt, actor.cause or "it was dropped")
        if not actor.lives:
            return LaunchFailed(order.uid, self.order.attempt, actor.cause or "it died")
        return LaunchReady(order.uid, self.order.attempt, actor.actor_id, "n1", actor.pid)

    async def _create(self) -> Actor:
        loop = asyncio.get_running_loop()
        until = loop.time() + NAME_TRIED_S
        while not self.given_up.is_set():
            order = self.order
            holder = self._ray.find(order.actor_name, order.namespace)
            if holder is None:
                late = not self._stage.is_held(self._process, self.lease, self._life)
                actor = self._ray.make(order, late=late)
                self._process.created.append(actor)
                return actor
            if order.may_exist and holder.uid == order.uid:
                self._stage.note("Ray: ", f"{holder.actor_id} of {order.agent} is created once for two launches")
                return holder
            if loop.time() > until:
                raise UnmadeError(f"the actor name {order.actor_name!r} is taken")
            await asyncio.sleep(RETRY_S)
        raise UnmadeError("it was deleted before it was launched")
