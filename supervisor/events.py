"""Events: everything the core is ever told. Requests from clients, and observations of what really happened."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.launch_protocol import LaunchFailed, LaunchLost, LaunchReady, LaunchReport
from schedulemesh.core.messages import Request

__all__ = [
    "ActorPhase",
    "ActorSeen",
    "ActorsSeen",
    "Asked",
    "ClusterSeen",
    "Event",
    "LaunchFailed",
    "LaunchLost",
    "LaunchReady",
    "LaunchReport",
    "LauncherSeen",
    "LaunchersCounted",
    "Node",
    "TableRead",
    "Tick",
    "WarmSeen",
]


class _Event(msgspec.Struct, frozen=True, tag=True):
    """One thing the core is told."""


class Asked(_Event, frozen=True):
    """A client's request. The same request may be asked again; it gets the first answer."""

    request: Request


class ActorPhase(str, Enum):
    """Where Ray has an actor, in Ray's own order."""

    PENDING = "pending"
    RESTARTING = "restarting"
    ALIVE = "alive"
    DEAD = "dead"


class ActorSeen(_Event, frozen=True, gc=False):
    """What Ray's actor table says of one actor that carries our label. `uid` is the agent it was made for.

    `gc=False`: nothing in it can lead back to it, and a reading makes one for each actor, after which Python's
    collector would walk over everything there is.

    `pid` is set from the moment a process runs its constructor. `cause` is Ray's reason of death. `unmade`: it is
    dead without ever having had a start, because the launcher that asked for it ended before Ray had begun.
    """

    uid: str
    actor_id: str
    name: str
    namespace: str
    phase: ActorPhase
    restarts: int
    node_id: str | None
    pid: int | None
    cause: str | None
    unmade: bool = False
    group_removed: bool = False
    """Its placement group is gone, so that Ray waits for ever for a place for its next process."""


class ActorsSeen(_Event, frozen=True):
    """A part of a reading of the actor table; a TableRead ends the reading."""

    actors: tuple[ActorSeen, ...]


class TableRead(_Event, frozen=True):
    """The whole actor table, as far as it is ours, asked for at `asked_at`. What is not in it was not there then."""

    actors: tuple[ActorSeen, ...]
    asked_at: float
    traceless: frozenset[str] = frozenset()
    """Ids of actors that were asked for and have no row at all. Ray keeps the rows of those that ended."""
    told: frozenset[str] = frozenset()
    """Agents whose living actors stood in the parts before."""
    launchers: tuple[LauncherSeen, ...] = ()
    """The launchers of this mesh that live."""

    def in_parts(self, size: int) -> Iterator[ActorsSeen | TableRead]:
        """The same reading, in events of so many actors each, so that a large one keeps nobody else waiting.

        The living come first: one of them may be what came after an actor that is listed as dead.
        """
        actors = sorted(self.actors, key=lambda actor: actor.phase is ActorPhase.DEAD)
        *parts, last = [tuple(actors[at : at + size]) for at in range(0, max(len(actors), 1), size)]
        yield from map(ActorsSeen, parts)
        told = frozenset(actor.uid for part in parts for actor in part if actor.phase is not ActorPhase.DEAD)
        yield msgspec.structs.replace(self, actors=last, told=told)


class Node(msgspec.Struct, frozen=True):
    node_id: str
    total: Amounts
    free: Amounts


class ClusterSeen(_Event, frozen=True):
    """The living nodes of the cluster, what they have and what of it Ray has not given out."""

    nodes: tuple[Node, ...]


class LauncherSeen(msgspec.Struct, frozen=True):
    """Ray's table about the actor of one launcher. `label`: the beginning of its environment's key."""

    label: str
    actor_id: str
    phase: ActorPhase
    restarts: int
    name: str = ""
    cause: str | None = None
    environment_failed: bool = False
    """Ray could not set its runtime_env up."""


class LaunchersCounted(_Event, frozen=True):
    """How many launchers live, and how many of them the mesh itself started."""

    living: int
    own: int


class WarmSeen(_Event, frozen=True):
    """How many idle processes stand ready in an environment for which some were wanted."""

    environment_key: str
    ready: int


class Tick(_Event, frozen=True):
    """Time has passed; sent when a deadline is due, after a fresh TableRead."""


Event = _Event | LaunchReport
