"""Fake launchers: processes of their own, which go by the same rules as the real ones and die after their supervisor."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from virtual_time import VirtualLoop

from schedulemesh.core.records import key_of
from schedulemesh.supervisor.events import LaunchFailed, LaunchLost, LaunchReady, LaunchReport, WarmSeen

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from living_ray import LivingRay
    from ray_world import Actor
    from supervisor_process import SupervisorProcess
    from virtual_time import Timeline

    from schedulemesh.core.messages import Environment
    from schedulemesh.supervisor.effects import Address, Launch

NAME_TRIED_S = 5.0
RETRY_S = 0.2
BARE = "bare"
Value = TypeVar("Value")


class LauncherDiedError(Exception):
    """What the supervisor sees of a launcher that is gone."""


class UnmadeError(Exception):
    """No actor was made."""


class Making:
    def __init__(self) -> None:
        self.actor: Actor | None = None
        self.ended = asyncio.Event()


class LauncherHost:
    """One launcher's process, made by the supervisor's life of that number."""

    def __init__(self, timeline: Timeline, ray: LivingRay, key: str, number: int) -> None:
        self.loop = VirtualLoop(timeline)
        self._number = number
        self._ray = ray
        self._key = key
        self._making: dict[str, Making] = {}
        self._made: list[Actor] = []
        self._owed: dict[asyncio.Future[Any], None] = {}
        self.died = False

    def answers(self, work: Callable[[], Coroutine[Any, Any, Value]], asked: VirtualLoop) -> asyncio.Future[Value]:
        """Begin a piece of work; the answer goes to a process whose loop is `asked`."""
        answer: asyncio.Future[Value] = asked.create_future()
        self._ray.changed()
        if self.died:
            answer.set_exception(LauncherDiedError())
            return answer
        self._owed[answer] = None
        self.loop.create_task(self._answered(work, answer)).add_done_callback(self._finished)
        return answer

    def die(self) -> None:
        if not self.died:
            self.died = True
            del self._ray.hosts[self._key]
            for answer in self._owed:
                answer.set_exception(LauncherDiedError())
            self.loop.bury()
            self._ray.lose_owner(self._made)

    async def _answered(self, work: Callable[[], Coroutine[Any, Any, Value]], answer: asyncio.Future[Value]) -> None:
        value = await work()
        del self._owed[answer]
        answer.set_result(value)

    def _finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            raise AssertionError("the fake launcher has a defect") from task.exception()

    # -- orders --------------------------------------------------------------------------------------------------

    async def launch(self, order: Launch) -> LaunchReport:
        self._making[order.uid] = Making()
        try:
            return await self._launch(order, self._making[order.uid])
        except UnmadeError as error:
            return order.unmade(str(error))
        finally:
            del self._making[order.uid]

    async def stop(self, address: Address, grace_s: float) -> None:
        actor = self._find(address) if address.actor_id is not None else None
        if actor is not None:
            hook = self._ray.chance.delay("hook") if self._ray.heeds(actor) else grace_s
            await asyncio.sleep(min(hook, grace_s))
            self._ray.terminate(actor)

    async def kill(self, address: Address) -> None:
        making = self._making.get(address.uid)
        if making is not None:
            making.ended.set()
        made = making.actor if making is not None else None
        actor = self._find(address) if address.actor_id is not None else made
        if actor is not None:
            self._ray.kill(actor)

    async def _launch(self, order: Launch, making: Making) -> LaunchReport:
        if order.adopt is not None:
            making.actor = self._ray.find(order.actor_name, order.namespace, order.adopt)
            if making.actor is None:
                return LaunchLost(order.uid, order.attempt, "the actor to be adopted is gone")
        else:
            await self._class(making)
            making.actor = await self._create(order, making)
        if making.ended.is_set():
            self._ray.kill(making.actor)
        while making.actor.lives and not making.actor.constructed:
            await self._ray.change(making.actor)
        if making.actor.unmade:  # adopted too early: the launcher that had asked for it was gone
            return LaunchLost(order.uid, order.attempt, making.actor.cause or "it was dropped")
        if not making.actor.lives:
            return LaunchFailed(order.uid, order.attempt, making.actor.cause or "it died")
        return LaunchReady(order.uid, order.attempt, making.actor.actor_id, "n1", making.actor.pid)

    async def _class(self, making: Making) -> None:
        loading = asyncio.ensure_future(asyncio.sleep(self._ray.chance.delay("class")))
        ended = asyncio.ensure_future(making.ended.wait())
        await asyncio.wait({loading, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not loading.done():
            raise UnmadeError("it was ended while its class was being loaded")
        if self._ray.chance.happens("the class does not load"):
            raise UnmadeError("its class could not be loaded")

    async def _create(self, order: Launch, making: Making) -> Actor:
        until = self.loop.time() + NAME_TRIED_S
        while not making.ended.is_set():
            holder = self._ray.find(order.actor_name, order.namespace)
            if holder is None:
                self._made.append(self._ray.make(order, ordered_by=self._number))
                return self._made[-1]
            if order.may_exist and holder.uid == order.uid:
                return holder
            if self.loop.time() > until:
                raise UnmadeError(f"the actor name {order.actor_name!r} is taken")
            await asyncio.sleep(RETRY_S)
        raise UnmadeError("it was ended before it was launched")

    def _find(self, address: Address) -> Actor | None:
        return self._ray.find(address.actor_name, address.namespace, address.actor_id)


class FakeRayLaunchers:
    """The supervisor's side: the port that the runner sees, by the rules of the real one."""

    def __init__(self, process: SupervisorProcess, ray: LivingRay) -> None:
        self._process = process
        self._ray = ray
        self._hosts: dict[str, LauncherHost] = {}
        self._waiting: dict[str, asyncio.Task[LauncherHost]] = {}

    def warm(self, environment_key: str, environment: Environment) -> None:
        self._process.point("before the warming of ", environment_key)
        self._process.loop.create_task(self._host(environment_key))
        self._process.point("after the warming of ", environment_key)

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        self._process.point("before the keeping ready in ", environment_key)
        seen(WarmSeen(environment_key, count))
        self._process.point("after the keeping ready in ", environment_key)

    async def launch(self, order: Launch) -> LaunchReport:
        self._process.point("before the launch of ", order.agent)
        waiting = asyncio.ensure_future(self._prepared(order))
        self._waiting[order.uid] = waiting
        try:
            host = await waiting
        except asyncio.CancelledError:
            return order.unmade("it was ended before it was launched")
        except UnmadeError as error:
            return order.unmade(str(error))
        except ConnectionError as error:
            return LaunchLost(order.uid, order.attempt, f"its class could not be fetched: {error}")
        finally:
            del self._waiting[order.uid]
        answer = host.answers(partial(host.launch, order), self._process.loop)
        self._process.point("after the launch of ", order.agent)
        if self._process.chance.happens("the launcher dies"):
            self._ray.loop.call_later(self._process.chance.delay("class"), host.die)
        try:
            return await answer
        except LauncherDiedError:
            return LaunchLost(order.uid, order.attempt, "its launcher ended")

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:
        self._process.point("before the stop of ", address.actor_name)
        host = await self._one_for_orders(environment_key)
        await self._carried_out(host, partial(host.stop, address, grace_s))
        self._process.point("after the stop of ", address.actor_name)

    async def kill(self, address: Address, environment_key: str) -> None:
        self._process.point("before the kill of ", address.actor_name)
        waiting = self._waiting.get(address.uid)
        if waiting is not None:
            waiting.cancel()
        if waiting is None or address.actor_id is not None:
            host = await self._one_for_orders(environment_key)
            await self._carried_out(host, partial(host.kill, address))
            self._process.point("after the kill of ", address.actor_name)

    async def sweep(self) -> None:
        """A launcher that is idle matters to nobody."""

    async def close(self) -> None:
        self._process.point("before the launchers' end")
        for host in list(self._hosts.values()):
            host.die()
        self._process.point("after the launchers' end")

    def orphan(self, host_lingers: float) -> None:
        """The supervisor's process is dead; Ray ends its launchers."""
        for host in self._hosts.values():
            self._ray.loop.call_later(host_lingers, host.die)

    async def _prepared(self, order: Launch) -> LauncherHost:
        keys = (order.environment_key, order.class_blob, order.args_blob)
        try:
            for key in keys:
                await self._process.store.get(key_of("blob", key))
        except KeyError:
            raise UnmadeError("it was ended before it was launched") from None
        host = await self._host(order.environment_key)
        await self._process.takes("order")
        return host

    async def _one_for_orders(self, key: str) -> LauncherHost:
        host = self._hosts.get(key)
        if host is None or host.died:
            host = await self._host(BARE)
        await self._process.takes("order")
        return host

    async def _host(self, key: str) -> LauncherHost:
        """The environment's launcher; its name may still be that of a dead supervisor's."""
        if key not in self._hosts or self._hosts[key].died:
            await self._process.takes("launcher start")
        while key not in self._hosts or self._hosts[key].died:
            if key in self._ray.hosts:
                await asyncio.sleep(RETRY_S)
            else:
                host = LauncherHost(self._process.timeline, self._ray, key, self._process.number)
                self._hosts[key] = self._ray.hosts[key] = host
        return self._hosts[key]

    async def _carried_out(self, host: LauncherHost, order: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._process.chance.happens("an order is lost"):
            host.die()
        try:
            await host.answers(order, self._process.loop)
        except LauncherDiedError:
            self._process.note("an order was lost with its launcher")
