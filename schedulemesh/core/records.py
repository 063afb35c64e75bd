"""Records: what is kept in the GCS key-value store, one key each, so that a supervisor can come back from it.

Each record is a msgspec-encoded struct with a schema version. Fields are only ever added, with defaults; a record
of a newer schema than this code knows is refused rather than misread.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.states import AgentState, Goal, MeshState, PoolState

SCHEMA = 3

Failure = Literal["start", "timeout", ""]
"""Why a create failed, so that a retried create gets the same error after a restart."""


class RecordError(Exception):
    """A stored record cannot be read by this version; the operator has to act."""


class AgentRecord(msgspec.Struct, kw_only=True, gc=False):
    """One life of one agent. `uid` is the id of the request that created it and is never used again.

    `dismissed`: it failed, and someone deleted it after that, so it is listed no longer.
    `handle`: the actor's handle, as Ray serializes it, so that nobody has to look the actor up.
    `gc=False`: a record is a tree of plain data, and there may be very many for the garbage collector to walk over.
    `class_blob`, `args_blob` and `environment` are hashes of blobs, kept in the store until the agent has started.
    """

    schema: int = SCHEMA
    uid: str
    name: str
    pool_uid: str
    pool: str
    need: Amounts
    labels: dict[str, str]
    own_labels: dict[str, str]
    options: dict[str, Any]
    class_name: str
    class_blob: str
    args_blob: str
    environment: str
    driver_node: str
    actor_name: str
    namespace: str
    state: AgentState
    goal: Goal = Goal.START
    created_at: float
    start_deadline: float
    timeout_s: float
    actor_id: str | None = None
    node_id: str | None = None
    pid: int | None = None
    restarts: int = 0
    started_at: float | None = None
    stop_deadline: float = 0.0
    ended_at: float = 0.0
    cause: str | None = None
    failure: Failure = ""
    handle: bytes = b""
    dismissed: bool = False
    stopped_by: list[str] = []
    inherited_env: dict[str, str] = {}
    """Variables that its creator had from its own agent's record. They stay here, as that record goes one day."""


class PoolRecord(msgspec.Struct, kw_only=True):
    """One pool. `resources` is one agent's size when `target_agents` > 0, else the whole capacity.

    `environment` is the hash of the environment in which idle processes are kept ready, while `warm_agents` is above 0;
    the store keeps that environment as a blob.
    """

    schema: int = SCHEMA
    uid: str
    name: str
    labels: dict[str, str]
    resources: Amounts
    target_agents: int
    overcommit: bool
    state: PoolState
    created_at: float
    ended_at: float = 0.0
    changed_by: list[str] = []
    warm_agents: int = 0
    environment: str = ""


class MeshRecord(msgspec.Struct, kw_only=True):
    """The mesh itself: whether it is being stopped, so that a crash in the middle goes on stopping."""

    schema: int = SCHEMA
    state: MeshState = MeshState.SERVING


Record = AgentRecord | PoolRecord | MeshRecord


class _Versioned(msgspec.Struct):
    """What is read first of any record, so that one of a later schema is named even where its layout is another."""

    schema: int = SCHEMA


_KINDS: dict[str, type[Record]] = {
    "agent": AgentRecord,
    "pool": PoolRecord,
    "mesh": MeshRecord,
}
MESH_KEY = "mesh/self"
AGENTS = "agent/"
BLOBS = "blob/"
"""How the keys of agents' records, and of blobs, begin."""
_ENCODER = msgspec.msgpack.Encoder()


def key_of(kind: str, ident: str) -> str:
    """The store key of a record or blob: `agent/<uid>`, `pool/<uid>`, `blob/<hash>`."""
    return f"{kind}/{ident}"


def keys_of(mesh: str, namespace: str) -> bytes:
    """Return the key-value namespace of a mesh.

    Without a colon in it: Ray splits what it stores at the first one, and would give other keys back.
    """
    return f"schedulemesh/{_plain(namespace)}/{_plain(mesh)}".encode()


def _plain(name: str) -> str:
    return name.replace("%", "%25").replace(":", "%3A")


def digest(data: bytes) -> str:
    """What a blob is called by."""
    return hashlib.sha256(data).hexdigest()


def encode(record: Record) -> bytes:
    return _ENCODER.encode(record)


def decode(key: str, data: bytes) -> Record:
    """Read a record back; raises RecordError for one this version cannot read."""
    kind = key.partition("/")[0]
    try:
        schema = msgspec.msgpack.decode(data, type=_Versioned).schema
        if schema > SCHEMA:
            raise RecordError(
                f"record {key!r} has schema {schema}, this version reads up to {SCHEMA}; "
                "run the version that wrote it, or a later one"
            )
        record: Record = msgspec.msgpack.decode(data, type=_KINDS[kind])
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"record {key!r} cannot be read: {error}") from None
    return record
