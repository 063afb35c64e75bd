"""Fake ports behind the real shell: a store in memory, and a world that does as it is told and keeps the order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mesh_driver import NODES

from schedulemesh.core.launch_protocol import BARE
from schedulemesh.supervisor.events import ClusterSeen, LaunchReady, TableRead, WarmSeen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schedulemesh.core.environments import Environment
    from schedulemesh.supervisor.effects import Address, Launch
    from schedulemesh.supervisor.events import ActorSeen, LauncherSeen, LaunchReport, Node


class FakeStore:
    """Keeps what it is given, unless it is `broken`; `journal` is shared with the other fakes.

    Reading a value takes `read_s`, or fails while the store is `away`.
    """

    def __init__(self, journal: list[str]) -> None:
        self.kept: dict[str, bytes] = {}
        self.journal = journal
        self.broken = False
        self.away = False
        self.read_s = 0.0

    async def load(self) -> dict[str, bytes]:
        return dict(self.kept)

    async def get(self, key: str) -> bytes:
        if self.read_s:
            await asyncio.sleep(self.read_s)
        if self.away:
            raise ConnectionError("the store is away")
        return self.kept[key]

    async def put(self, key: str, value: bytes) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("the store is away")
        self.kept[key] = value
        self.journal.append(f"put {key.partition('/')[0]}")

    async def delete(self, key: str) -> None:
        self.kept.pop(key, None)
        self.journal.append(f"delete {key.partition('/')[0]}")

    async def wipe(self) -> None:
        self.kept.clear()
        self.journal.append("wipe")


class FakeLaunchers:
    """Every launch succeeds at once, unless launches are `held` or all is `broken`."""

    def __init__(self, journal: list[str]) -> None:
        self.journal = journal
        self.held = False
        self.broken = False

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        self.journal.append(f"keep {count} ready")
        seen(WarmSeen(environment_key, count))

    async def launch(self, order: Launch) -> LaunchReport:
        self.journal.append(f"launch {order.agent}")
        if self.broken:
            raise OSError("the launchers are broken")
        if self.held:
            await asyncio.Event().wait()
        return LaunchReady(order.uid, order.attempt, f"actor-{order.uid}")

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:
        self.journal.append(f"stop {address.actor_name}")

    async def kill(self, address: Address, environment_key: str) -> None:
        self.journal.append(f"kill {address.actor_name}")

    def seen(self, seen: LauncherSeen) -> None:
        self.journal.append(f"launcher {seen.actor_id} {seen.phase.value}")

    def seen_all(self, launchers: Sequence[LauncherSeen]) -> None:
        self.journal += [f"launcher {seen.actor_id} lives" for seen in launchers]

    async def close(self) -> None:
        self.journal.append("close launchers")


class FakeStarter:
    """Starts nothing. `problem` is what prevents it, `took_s` how long it takes to say so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.environments: list[Environment] = []
        self.at_once = self.most_at_once = 0
        self.problem = ""
        self.took_s = 0.0
        self.started: Callable[[str], None] = lambda _: None
        """Called with the key when a launcher was started."""

    async def start(self, environment_key: str, environment: Environment) -> str:
        self.environments.append(environment)
        return await self._start(environment_key)

    async def start_bare(self) -> str:
        return await self._start(BARE)

    async def _start(self, key: str) -> str:
        self.asked.append(key)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.took_s)
        self.at_once -= 1
        if not self.problem:
            self.started(key)
        return self.problem


class FakeWatcher:
    """Pushes nothing by itself; a test calls `seen`. The table has only `launchers`, and is read at the clock's time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.reads = 0
        self.launchers: tuple[LauncherSeen, ...] = ()
        self.seen: Callable[[ActorSeen | LauncherSeen], None] = lambda _: None

    async def watch(
        self, seen: Callable[[ActorSeen | LauncherSeen], None], table: Callable[[TableRead], Awaitable[None]]
    ) -> None:
        self.seen = seen
        await asyncio.Event().wait()

    async def read(self, expected: Mapping[str, str]) -> TableRead:
        self.reads += 1
        return TableRead((), self.clock(), launchers=self.launchers)


class FakeCluster:
    """`nodes` is what a look finds; `looks` counts them."""

    def __init__(self) -> None:
        self.nodes: tuple[Node, ...] = NODES
        self.looks = 0

    async def look(self) -> ClusterSeen:
        self.looks += 1
        return ClusterSeen(self.nodes)
