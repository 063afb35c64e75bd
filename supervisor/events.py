"""Events: everything the core is ever told. Requests from clients, and observations of what really happened."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import msgspec

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.messages import Request


class Event(msgspec.Struct, frozen=True, tag=True):
    """One thing the core is told."""


class Asked(Event, frozen=True):
    """A client's request. The same request may be asked again; it gets the first answer."""

    request: Request


class ActorPhase(str, Enum):
    """Where Ray has an actor, in Ray's own order."""

    PENDING = "pending"
    RESTARTING = "restarting"
    ALIVE = "alive"
    DEAD = "dead"


class ActorSeen(Event, frozen=True, gc=False):
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


class ActorsSeen(Event, frozen=True):
    """A part of a reading of the actor table; a TableRead ends the reading."""

    actors: tuple[ActorSeen, ...]


class TableRead(Event, frozen=True):
    """The whole actor table, as far as it is ours, asked for at `asked_at`. What is not in it was not there then."""

    actors: tuple[ActorSeen, ...]
    asked_at: float
    traceless: frozenset[str] = frozenset()
    """Ids of actors that were asked for and have no row at all. Ray keeps the rows of those that ended."""
    told: frozenset[str] = frozenset()
    """Agents whose living actors stood in the parts before."""

    def in_parts(self, size: int) -> Iterator[ActorsSeen | TableRead]:
        """The same reading, in events of so many actors each, so that a large one keeps nobody else waiting.

        The living come first: one of them may be what came after an actor that is listed as dead.
        """
        actors = sorted(self.actors, key=lambda actor: actor.phase is ActorPhase.DEAD)
        *parts, last = [tuple(actors[at : at + size]) for at in range(0, max(len(actors), 1), size)]
        yield from map(ActorsSeen, parts)
        told = frozenset(actor.uid for part in parts for actor in part if actor.phase is not ActorPhase.DEAD)
        yield msgspec.structs.replace(self, actors=last, told=told)


class LaunchReady(Event, frozen=True):
    """The launcher saw the constructor finish. Node and pid are what Ray's table said at that moment.

    `handle` is the actor's handle as Ray serializes it.
    """

    uid: str
    attempt: int
    actor_id: str
    node_id: str | None = None
    pid: int | None = None
    handle: bytes = b""


class LaunchFailed(Event, frozen=True):
    """The launcher could not bring the agent up and has left no living actor. `cause` is for the user to read."""

    uid: str
    attempt: int
    cause: str


class LaunchLost(Event, frozen=True):
    """The launcher ended before it answered. Whether an actor exists is not known."""

    uid: str
    attempt: int
    cause: str


LaunchReport = LaunchReady | LaunchFailed | LaunchLost


class Node(msgspec.Struct, frozen=True):
    node_id: str
    total: Amounts
    free: Amounts


class ClusterSeen(Event, frozen=True):
    """The living nodes of the cluster, what they have and what of it Ray has not given out."""

    nodes: tuple[Node, ...]


class WarmSeen(Event, frozen=True):
    """How many idle processes stand ready in an environment for which some were wanted."""

    environment_key: str
    ready: int


class Tick(Event, frozen=True):
    """Time has passed; sent when a deadline is due, after a fresh TableRead."""
