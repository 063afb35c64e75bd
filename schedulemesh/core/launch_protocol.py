"""The launch protocol: what the supervisor orders from launchers, and what launchers report.

A launcher takes orders by long polling (`messages.TakeOrders`) and reports each with a request of its own
(`messages.ReportOrder`). An order is a lease: the supervisor may give the same order again, to the same launcher or to
another, and accepts one report for each lease. Fields are only ever added, with defaults.
"""

from __future__ import annotations

from typing import Any

import msgspec

AGENT_LABEL = "schedulemesh-agent"
"""The label that carries an agent's uid on its actor. Actor names are reused; uids are not."""
MESH_LABEL = "schedulemesh-mesh"
"""The label that says which mesh an actor belongs to."""
LAUNCHER_LABEL = "schedulemesh-launcher"
"""The label of a launcher's actor: the first LABEL_LENGTH characters of its environment's key."""
LABEL_LENGTH = 32
BARE = "bare"
"""The environment key of the launcher without any environment. It can stop and kill every agent: where a class cannot
be imported, Ray puts a stand-in with the right method names."""
UNLOADED = "its class could not be loaded in its environment"
"""How the cause of a LaunchFailed begins when a user's class did not load."""
MAX_HANDLE = 64 * 1024
"""Bytes of a serialized handle; Ray's have less than one thousand, and some for each method."""


class Effect(msgspec.Struct, frozen=True):
    """One order to the outside. Each may be given twice; carrying it out again is harmless."""


class Launch(Effect, frozen=True, tag=True):
    """Create an agent's actor and report when its constructor has finished.

    The blobs and the environment are named by hash; the store has them.
    """

    uid: str
    attempt: int
    """1 for the first launch of this agent by this supervisor, 2 or more when an actor may exist already."""
    agent: str
    labels: dict[str, str]
    class_blob: str
    args_blob: str
    environment_key: str
    driver_node: str
    actor_name: str
    namespace: str
    options: dict[str, Any]
    adopt: str | None
    """The id of an actor that exists already and only has to get ready."""
    warm: bool = False
    """Whether the agent's pool keeps warm workers."""
    inherits: bool = False
    """Whether the agent's record holds variables that its creator had from a record of its own."""

    @property
    def may_exist(self) -> bool:
        """Whether an earlier launch may have created an actor, so that failing now does not mean there is none."""
        return self.adopt is not None or self.attempt > 1

    def unmade(self, cause: str) -> LaunchFailed | LaunchLost:
        """Return the report of a launch that created no actor itself; an earlier one may have."""
        report = LaunchLost if self.may_exist else LaunchFailed
        return report(self.uid, self.attempt, cause)


class Address(msgspec.Struct, frozen=True):
    """Which actor, exactly: names are reused, actor ids are not.

    Without an id, the actor that a launcher is just creating for `uid`, and nothing else of that name.
    """

    uid: str
    actor_id: str | None
    actor_name: str
    namespace: str


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Ask an agent to stop: running calls, its on_stop hook, exit."""

    address: Address


class Kill(msgspec.Struct, frozen=True, tag=True):
    """Kill an actor now, without restart."""

    address: Address


class KeepWarm(msgspec.Struct, frozen=True, tag=True):
    """Move some way towards `count` warm workers on the launcher's node."""

    count: int


Order = Launch | Stop | Kill | KeepWarm


class LeasedOrder(msgspec.Struct, frozen=True):
    """One order under its lease, with the blobs that a launch needs."""

    lease: str
    order: Order
    class_blob: bytes = b""
    args_blob: bytes = b""


class Held(msgspec.Struct, frozen=True):
    """A lease that a launcher has taken and whose report was not acknowledged yet."""

    lease: str
    uid: str = ""
    """The agent that it launches, if it is a launch."""


class LaunchReport(msgspec.Struct, frozen=True, tag=True):
    """What became of a launch."""


class LaunchReady(LaunchReport, frozen=True):
    """The constructor has finished. Node and pid are those of Ray's table at that moment."""

    uid: str
    attempt: int
    actor_id: str
    node_id: str | None = None
    pid: int | None = None
    handle: bytes = b""
    """The actor's handle as Ray serializes it."""


class LaunchFailed(LaunchReport, frozen=True):
    """The agent could not be started, and no living actor is left. `cause` is for the user to read."""

    uid: str
    attempt: int
    cause: str


class LaunchLost(LaunchReport, frozen=True):
    """The launcher terminated before it reported. Whether an actor exists is not known."""

    uid: str
    attempt: int
    cause: str


class OrderDone(msgspec.Struct, frozen=True, tag=True):
    """A stop or kill was carried out; `problem` says what prevented it, or is empty."""

    problem: str = ""


class WarmWorkersSeen(msgspec.Struct, frozen=True, tag=True):
    """How many warm workers there are, and how many more may still start. `offered` is False where Ray has none."""

    ready: int
    coming: int
    offered: bool = True


Report = LaunchReady | LaunchFailed | LaunchLost | OrderDone | WarmWorkersSeen


def encode_orders(orders: list[LeasedOrder]) -> bytes:
    return msgspec.msgpack.encode(orders)


def decode_orders(encoded: bytes) -> list[LeasedOrder]:
    return msgspec.msgpack.decode(encoded, type=list[LeasedOrder])
