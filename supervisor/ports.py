"""Ports: what the shell needs of the world. The real ones touch Ray; tests put fakes behind the same shell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from schedulemesh.core.environments import Environment
from schedulemesh.supervisor.effects import Address, Launch
from schedulemesh.supervisor.events import ActorSeen, ClusterSeen, LauncherSeen, LaunchReport, TableRead, WarmSeen

Clock = Callable[[], float]
"""UTC seconds since the epoch."""


class Store(Protocol):
    """A durable map. A write that returned is there after any crash of this process."""

    async def load(self) -> dict[str, bytes]:
        """Every record with its value, and every blob's key with an empty one."""

    async def get(self, key: str) -> bytes: ...

    def put(self, key: str, value: bytes) -> Awaitable[object]:
        """Begin to write; it is written when the result has come."""

    def delete(self, key: str) -> Awaitable[object]: ...

    async def wipe(self) -> None:
        """Delete every key of this mesh, its own record last."""


class Launchers(Protocol):
    """The small actors in which user code is loaded, one for each driver's job and environment."""

    def keep_ready(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        """From now on, have so many idle processes ready in this environment; tell `seen` how many there are."""

    async def launch(self, order: Launch) -> LaunchReport: ...

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None: ...

    async def kill(self, address: Address, environment_key: str) -> None: ...

    def seen(self, seen: LauncherSeen) -> None:
        """Ray tells of a launcher's actor."""

    def seen_all(self, launchers: Sequence[LauncherSeen]) -> None:
        """Ray's table was read: these launchers live."""

    async def close(self) -> None:
        """End all launchers."""


class LauncherStarter(Protocol):
    """Starts launchers of the mesh's own. Each call returns what prevented it, or an empty text."""

    async def start(self, environment_key: str, environment: Environment) -> str:
        """Start one in a job of its own, in the recorded environment."""

    async def start_bare(self) -> str:
        """Start the one without any environment."""


class Watcher(Protocol):
    """Ray's actor table: pushed changes, and the whole of it on demand."""

    async def watch(
        self, seen: Callable[[ActorSeen | LauncherSeen], None], table: Callable[[TableRead], Awaitable[None]]
    ) -> None:
        """Report changes as they come, and the whole table whenever the subscription was made anew. Never returns."""

    async def read(self, expected: Mapping[str, str]) -> TableRead: ...


class Cluster(Protocol):
    """The nodes and what they have."""

    async def look(self) -> ClusterSeen: ...
