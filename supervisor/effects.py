"""Effects: everything the core ever orders, and the order in which a decision is carried out."""

from __future__ import annotations

from typing import Any

import msgspec

from schedulemesh.core.messages import Environment, Reply
from schedulemesh.supervisor.events import LaunchFailed, LaunchLost


class Write(msgspec.Struct, frozen=True):
    """Put a value under a key of the store; None deletes the key. `frees`: it is about an agent that has ended."""

    key: str
    value: bytes | None
    frees: bool = False


class Effect(msgspec.Struct, frozen=True):
    """One order to the outside. Each may be given twice; whoever carries it out makes that harmless."""


class Warm(Effect, frozen=True):
    """Have a launcher ready in this environment."""

    environment_key: str
    environment: Environment


class KeepReady(Effect, frozen=True):
    """Have so many idle processes ready in this environment from now on, instead of as many as before."""

    environment_key: str
    count: int


class Launch(Effect, frozen=True):
    """Bring an agent up and report. `adopt` names an actor that exists already and only has to get ready.

    The blobs and the environment are named by hash; the store has them.
    """

    uid: str
    attempt: int
    agent: str
    labels: dict[str, str]
    class_blob: str
    args_blob: str
    environment_key: str
    driver_node: str
    actor_name: str
    namespace: str
    options: dict[str, Any]
    show_output: bool
    adopt: str | None
    warm: bool = False
    """Whether its pool keeps idle processes ready."""

    @property
    def may_exist(self) -> bool:
        """Whether an actor may have come of an earlier launch, so that failing now does not mean there is none."""
        return self.adopt is not None or self.attempt > 1

    def unmade(self, cause: str) -> LaunchFailed | LaunchLost:
        """The report of a launch that made no actor itself; whether an earlier one did has to be looked up."""
        report = LaunchLost if self.may_exist else LaunchFailed
        return report(self.uid, self.attempt, cause)


class Address(msgspec.Struct, frozen=True):
    """Which actor, exactly: names come back, actor ids do not.

    Without an id the actor is meant that a launcher is just making for `uid`, and nothing else of that name.
    """

    uid: str
    actor_id: str | None
    actor_name: str
    namespace: str


class StopActor(Effect, frozen=True):
    """Ask an agent to end: calls under way, its on_stop hook, an orderly exit."""

    address: Address
    environment_key: str
    grace_s: float


class KillActor(Effect, frozen=True):
    """End an actor now, without restart."""

    address: Address
    environment_key: str


class ReadTable(Effect, frozen=True):
    """Look at Ray's actor table and report a TableRead, with the fate of each expected actor (id to agent uid)."""

    expected: dict[str, str] = {}


class EndMesh(Effect, frozen=True):
    """The books are empty and the mesh is to go: end launchers, wipe the store, end the supervisor."""


class Answer(msgspec.Struct, frozen=True):
    """Answer everyone who waits for this request."""

    request_id: str
    reply: Reply


class Decision(msgspec.Struct):
    """What one event leads to, carried out in this order: persist, then act, then answer.

    `wake_at` is the next deadline (UTC seconds), or None; it replaces the one before.
    """

    writes: list[Write]
    effects: list[Effect]
    answers: list[Answer]
    wake_at: float | None = None
    notes: list[Note] = []

    @property
    def ends_mesh(self) -> bool:
        return any(isinstance(effect, EndMesh) for effect in self.effects)


class Note(msgspec.Struct, frozen=True):
    """One line for the log: what was decided and about whom. Never holds options or environments."""

    event: str
    fields: dict[str, Any]
