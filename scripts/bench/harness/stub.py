"""A supervisor whose agents are records, not processes: the real door, runner, mesh and store, behind stub ports.

A machine that holds some 200 agents can so be asked what 100,000 would cost. Launches answer at once, and the actor
table holds an entry for every agent that was launched or that the books expect after a restart.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from harness.probes import worst_stall
from schedulemesh.core.environments import Environment
from schedulemesh.core.messages import PROTOCOL
from schedulemesh.supervisor.cluster import RayCluster
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.door import Door
from schedulemesh.supervisor.effects import Address, Launch
from schedulemesh.supervisor.events import (
    ActorPhase,
    ActorSeen,
    LauncherSeen,
    LaunchReady,
    LaunchReport,
    TableRead,
    WarmSeen,
)
from schedulemesh.supervisor.logs import log_to_stderr
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import Runner
from schedulemesh.supervisor.store import GcsStore
from schedulemesh.supervisor.watcher import RESYNC_S, ROWS_AT_ONCE

_HANDLE = bytes(700)
"""As long as Ray's own serialized handle of an agent."""


class StubSupervisor:
    """Answers what the real one answers. What else it has is for the bench to look at it."""

    async def __init__(self, mesh: str, namespace: str) -> None:  # type: ignore[misc]  # Ray awaits it
        log_to_stderr()
        self._store = CountingStore(mesh, namespace)
        table = StubTable()
        about = {
            "mesh": mesh,
            "namespace": namespace,
            "version": "bench",
            "protocol": PROTOCOL,
            "ray_version": "",
            "pid": os.getpid(),
            "started_at": time.time(),
        }
        self._runner = Runner(
            Mesh(name=mesh, namespace=namespace, about=about),
            store=self._store,
            launchers=StubLaunchers(table),
            watcher=StubWatcher(table),
            cluster=RayCluster(),
            clock=time.time,
            die=_die,
            ended=lambda: None,
        )
        dispatch = Dispatch(mesh, namespace, store=self._store, starter=NoStarter(), idle_s=60.0)  # asked for nothing
        self._door = Door(mesh, self._runner, dispatch)
        await self._runner.start()
        gc.freeze()  # as the real one

    async def call(self, payload: Any) -> bytes:
        return await self._door.call(payload)

    async def pid(self) -> int:
        return os.getpid()

    async def written(self) -> tuple[int, int]:
        """Bytes and values written since the process started."""
        return self._store.counted.bytes, self._store.counted.values

    async def worst_stall(self, seconds: float) -> tuple[float, float]:
        return await worst_stall(seconds)


class CountingStore(GcsStore):
    """The real store, whose connection counts what is written through it."""

    def __init__(self, mesh: str, namespace: str) -> None:
        super().__init__(mesh, namespace)
        self.counted = _Counted(self._gcs)
        self._gcs = self.counted


class _Counted:
    """The connection to the GCS, counting. Whatever the store does with it, each value goes through here."""

    def __init__(self, gcs: Any) -> None:
        self._gcs = gcs
        self.bytes = 0
        self.values = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gcs, name)

    async def async_internal_kv_put(self, key: bytes, value: bytes, *args: Any, **kwargs: Any) -> Any:
        self.bytes += len(key) + len(value)
        self.values += 1
        return await self._gcs.async_internal_kv_put(key, value, *args, **kwargs)


class StubTable:
    """Stands for Ray's actor table: all that was launched is alive until it is ended."""

    def __init__(self) -> None:
        self.actors: dict[str, ActorSeen] = {}
        self.pushed: Callable[[ActorSeen], None] = lambda _: None

    def start(self, uid: str, name: str, namespace: str, actor_id: str) -> None:
        self.actors[uid] = ActorSeen(uid, actor_id, name, namespace, ActorPhase.ALIVE, 0, "node", 1, None)

    def end(self, uid: str) -> None:
        gone = self.actors.pop(uid, None)
        if gone is not None:
            dead = ActorSeen(
                uid, gone.actor_id, gone.name, gone.namespace, ActorPhase.DEAD, 0, None, None, "it was ended"
            )
            self.pushed(dead)


class StubLaunchers:
    """Every launch succeeds at once, every order to end is carried out at once."""

    def __init__(self, table: StubTable) -> None:
        self._table = table

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        """No process is behind any agent here."""

    async def launch(self, order: Launch) -> LaunchReport:
        actor_id = f"actor-{order.uid}"
        self._table.start(order.uid, order.actor_name, order.namespace, actor_id)
        return LaunchReady(order.uid, order.attempt, actor_id, "node", 1, _HANDLE)

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:  # noqa: ARG002 - a port
        self._table.end(address.uid)

    async def kill(self, address: Address, environment_key: str) -> None:  # noqa: ARG002 - a port
        self._table.end(address.uid)

    def seen(self, seen: LauncherSeen) -> None:
        """No launcher is in this table."""

    def seen_all(self, launchers: Sequence[LauncherSeen]) -> None:
        """No launcher is in this table."""

    async def close(self) -> None:
        pass


class NoStarter:
    """No launcher is ever needed here."""

    async def start(self, environment_key: str, environment: Environment) -> str:  # noqa: ARG002 - a port
        return "there are no launchers here"

    async def start_bare(self) -> str:
        return "there are no launchers here"


class StubWatcher:
    """Pushes ends, and gives the whole table as often as the real one does."""

    def __init__(self, table: StubTable) -> None:
        self._table = table
        self._known = asyncio.Event()

    async def watch(
        self, seen: Callable[[ActorSeen | LauncherSeen], None], table: Callable[[TableRead], Awaitable[None]]
    ) -> None:
        self._table.pushed = seen
        await self._known.wait()  # after a restart the books first say which actors they expect
        while True:
            await table(await self.read({}))
            await asyncio.sleep(RESYNC_S)

    async def read(self, expected: Mapping[str, str]) -> TableRead:
        asked_at = time.time()
        for actor_id, uid in expected.items():
            if uid not in self._table.actors:
                self._table.start(uid, uid, "", actor_id)
        self._known.set()
        rows = []
        for number, s in enumerate(list(self._table.actors.values())):
            # New objects, as the real table's rows are, and with as many pauses.
            rows.append(ActorSeen(s.uid, s.actor_id, s.name, s.namespace, s.phase, 0, s.node_id, s.pid, None))
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return TableRead(tuple(rows), asked_at)


def _die(reason: str) -> None:
    sys.stderr.write(f"stub supervisor ends: {reason}\n")
    sys.stderr.flush()
    os._exit(1)
