"""A whole supervisor without Ray: the real door, runner and mesh, on a world that does what it is told at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fakes import FakeCluster, FakeLaunchers, FakeStarter, FakeStore, FakeWatcher
from mesh_driver import DEAD, MESH_NAMESPACE

from schedulemesh.core.messages import AnyBody, Reply, Request, decode_reply, encode_request
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.door import Door
from schedulemesh.supervisor.events import ActorSeen, LaunchFailed, LaunchReport
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import Runner

if TYPE_CHECKING:
    from schedulemesh.supervisor.effects import Address, Launch


class Silent(list[str]):
    """A journal that keeps nothing: what is measured must not grow by being watched."""

    def append(self, _: str) -> None:
        pass


class ObedientLaunchers(FakeLaunchers):
    """An agent that is to end is told DEAD; one that asks for what is `unloadable` fails, for `nowhere` waits."""

    def __init__(self, tell: Callable[[ActorSeen], None]) -> None:
        super().__init__(Silent())
        self._tell = tell

    async def launch(self, order: Launch) -> LaunchReport:
        if order.options.get("accelerator_type") == "unloadable":
            return LaunchFailed(order.uid, order.attempt, f"ValueError: {order.agent} cannot be loaded")
        if order.options.get("accelerator_type") == "nowhere":
            await asyncio.Event().wait()
        return await super().launch(order)

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:
        await self.kill(address, environment_key)

    async def kill(self, address: Address, environment_key: str) -> None:
        actor_id = address.actor_id or f"actor-{address.uid}"
        name, namespace = address.actor_name, address.namespace
        self._tell(ActorSeen(address.uid, actor_id, name, namespace, DEAD, 0, "n1", 4711, f"{name} was killed"))


class Service:
    """Runs on an event loop of its own; every call is one message in and one message out."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.died: list[str] = []
        self.store = FakeStore(Silent())
        self.watcher = FakeWatcher(self.clock)
        self.mesh = Mesh(name="mesh", namespace=MESH_NAMESPACE, about={"mesh": "mesh"})
        self.runner = Runner(
            self.mesh,
            store=self.store,
            launchers=ObedientLaunchers(self._tell),
            watcher=self.watcher,
            cluster=FakeCluster(),
            clock=self.clock,
            die=self.died.append,
            ended=lambda: self.died.append("the mesh was ended"),
        )
        # What it is asked by launchers is real; agents are launched without it, by the world above.
        self.dispatch = Dispatch("mesh", MESH_NAMESPACE, store=self.store, starter=FakeStarter(), idle_s=30.0)
        self.door = Door("mesh", self.runner, self.dispatch)
        self._begun: list[asyncio.Task[object]] = []
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.runner.start())

    def _tell(self, seen: ActorSeen) -> None:
        self.watcher.seen(seen)  # what that is is known only once the runner has begun to watch

    def clock(self) -> float:
        self.now += 0.001
        return self.now

    def call(self, payload: object) -> bytes:
        (answer,) = self._called([payload])
        return answer

    def ask(self, request_id: str, body: AnyBody) -> Reply:
        return decode_reply(self.call(encode_request(Request(request_id, body))))

    def ask_at_once(self, bodies: Mapping[str, AnyBody]) -> list[Reply]:
        """The replies to requests, by their ids, that come in together."""
        payloads = [encode_request(Request(request_id, body)) for request_id, body in bodies.items()]
        return [decode_reply(answer) for answer in self._called(payloads)]

    def _called(self, payloads: Iterable[object]) -> list[bytes]:
        async def call() -> list[bytes]:
            return await asyncio.gather(*(self.door.call(payload) for payload in payloads))

        answers = self.loop.run_until_complete(call())
        assert not self.died, self.died
        return answers

    def send(self, request_id: str, body: AnyBody) -> None:
        """Ask, and do not wait for the answer."""
        self.begin(self.door.call(encode_request(Request(request_id, body))))

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin something, and go as far as is possible without waiting for anything."""
        self._begun.append(self.loop.create_task(work))
        for _ in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()
