"""Ports: what the shell needs of the world. The real ones touch Ray; tests put fakes behind the same shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from schedulemesh.core.messages import Environment
from schedulemesh.supervisor.effects import Address, Launch
from schedulemesh.supervisor.events import ActorSeen, ClusterSeen, LaunchReport, TableRead, WarmSeen

Clock = Callable[[], float]
"""UTC seconds since the epoch."""


class Store(Protocol):
    """A durable map. A write that returned is there after any crash of this process."""

    async def load(self) -> dict[str, bytes]:
        """Every record with its value, and every blob's key with an empty one."""

    async def get(self, key: str) -> bytes: ...

    async def put(self, key: str, value: bytes) -> None: ...

    async def delete(self, key: str) -> None: ...

    async def wipe(self) -> None:
        """Delete every key of this mesh, its own record last."""


class Launchers(Protocol):
    """The small actors in which user code is loaded, one for each driver environment."""

    def warm(self, environment_key: str, environment: Environment) -> None: ...

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        """From now on, have so many idle processes ready in this environment; tell `seen` how many there are."""

    async def launch(self, order: Launch) -> LaunchReport: ...

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None: ...

    async def kill(self, address: Address, environment_key: str) -> None: ...

    async def sweep(self) -> None:
        """End the launchers that have been idle for long."""

    async def close(self) -> None:
        """End all launchers."""


class Watcher(Protocol):
    """Ray's actor table: pushed changes, and the whole of it on demand."""

    async def watch(self, seen: Callable[[ActorSeen], None], table: Callable[[TableRead], Awaitable[None]]) -> None:
        """Report changes as they come, and the whole table whenever the subscription was made anew. Never returns."""

    async def read(self, expected: Mapping[str, str]) -> TableRead: ...


class Cluster(Protocol):
    """The nodes and what they have."""

    async def look(self) -> ClusterSeen: ...
