"""Effects: everything the core ever orders, and the order in which a decision is carried out."""

from __future__ import annotations

from typing import Any

import msgspec

from schedulemesh.core.launch_protocol import Address, Effect, Launch
from schedulemesh.core.messages import Reply

__all__ = [
    "Address",
    "Answer",
    "Decision",
    "Effect",
    "EndMesh",
    "KeepReady",
    "KillActor",
    "Launch",
    "Note",
    "ReadTable",
    "StopActor",
    "Write",
]


class Write(msgspec.Struct, frozen=True):
    """Put a value under a key of the store; None deletes the key. `frees`: it is about an agent that has ended."""

    key: str
    value: bytes | None
    frees: bool = False


class KeepReady(Effect, frozen=True):
    """Have so many idle processes ready in this environment from now on, instead of as many as before."""

    environment_key: str
    count: int


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

    expected: dict[str, str] = msgspec.field(default_factory=dict)


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
