"""Messages between client and supervisor: msgspec bytes, so that nothing of a user's is unpickled on the way.

A request is an envelope (protocol version, mutation id) around one tagged body; a reply is either a result (plain
data) or a refusal (the name and fields of an error).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import InvalidRequestError, ProtocolMismatchError, ScheduleMeshError, rebuild
from schedulemesh.core.launch_protocol import Held, Report

PROTOCOL = 3
MAX_BLOB = 8 * 1024 * 1024
"""Bytes of a pickled class or of pickled arguments. Ray sends an actor's arguments inline up to about 10 MB."""
MAX_REQUEST = 256 * 1024 * 1024
"""Bytes of one message; bounds what a batch can bring along."""
MAX_PLAIN = 8 * 1024 * 1024
"""Bytes of one message beside its pickled classes and arguments: one byte can unfold into an object of sixty."""
MAX_BATCH = 1000
MAX_SECONDS = 7 * 24 * 3600.0
"""Longest time limit that may be asked for."""
MAX_DEPTH = 32
"""How deep lists and dicts may be nested in options and environments."""
POLL_S = 20.0
"""Longest time, in seconds, that a launcher's long poll is held open."""


class Body(msgspec.Struct, frozen=True, tag=True):
    """What is asked. The class name is the tag on the wire."""


class LookUp(Body, frozen=True):
    """What changes nothing."""


class CreatePool(Body, frozen=True):
    """`environment`: where idle processes are kept ready, if `warm_agents` asks for some."""

    name: str
    labels: dict[str, str]
    resources: dict[str, float]
    target_agents: int
    overcommit: bool
    warm_agents: int = 0
    environment: Environment = Environment()


class GetPool(LookUp, frozen=True):
    name: str


class Place(msgspec.Struct, frozen=True):
    """Where a page of a listing ended: what was created then, under that uid, was its last."""

    created_at: float
    uid: str


class ListPools(LookUp, frozen=True):
    """A page of the pools, oldest first, from behind a place; the reply's `next` is the place where it ended."""

    after: Place | None = None


class ResizePool(Body, frozen=True):
    name: str
    resources: dict[str, float] | None
    target_agents: int | None
    force: bool
    warm_agents: int | None = None
    environment: Environment = Environment()


class DeletePool(Body, frozen=True):
    name: str
    force: bool


class CreateAgent(Body, frozen=True):
    """`decorator` holds the options of a `@ray.remote` class, the lowest layer under `options`."""

    request_id: str
    name: str
    pool: str
    class_name: str
    class_blob: bytes
    args_blob: bytes
    environment: Environment
    namespace: str
    resources: dict[str, float] | None
    options: dict[str, Any]
    decorator: dict[str, Any]
    labels: dict[str, str]
    timeout_s: float
    inherited_env: dict[str, str] = {}
    """Variables that the creating process has from its own agent's record; the new agent gets them too."""


class CreateAgents(Body, frozen=True):
    agents: list[CreateAgent]


class GetAgent(LookUp, frozen=True):
    name: str


class ListAgents(LookUp, frozen=True):
    """A page of the agents, as with ListPools."""

    pool: str | None
    labels: dict[str, str]
    after: Place | None = None


class DeleteAgent(Body, frozen=True):
    name: str
    grace_s: float
    force: bool


class Status(LookUp, frozen=True):
    pass


class Stop(Body, frozen=True):
    force: bool


class TakeOrders(Body, frozen=True):
    """A launcher asks for orders; answered when there are some, or after POLL_S seconds without any.

    The environment's key is known to its launchers and the supervisor only; it is what entitles to the orders.
    """

    environment_key: str
    actor_id: str
    incarnation: str
    """Of the launcher's process; a restarted one has another."""
    held: list[Held] = []
    """Every lease taken and not yet acknowledged: what the supervisor gave and does not find here, it gives again."""
    idle: bool = False
    """Whether nothing is in flight and the job's driver has gone."""


class ReportOrder(Body, frozen=True):
    """A launcher reports on one lease. Refused, and to be forgotten, when the supervisor knows no such lease."""

    environment_key: str
    actor_id: str
    incarnation: str
    lease: str
    report: Report


AnyBody = (
    TakeOrders
    | ReportOrder
    | CreatePool
    | GetPool
    | ListPools
    | ResizePool
    | DeletePool
    | CreateAgent
    | CreateAgents
    | GetAgent
    | ListAgents
    | DeleteAgent
    | Status
    | Stop
)


class Request(msgspec.Struct, frozen=True):
    """`request_id` is the client's, fresh for each call and the same for its retries."""

    request_id: str
    body: AnyBody


class Envelope(msgspec.Struct, frozen=True):
    """The version stands outside, so that any two versions can read at least this much of each other."""

    protocol: int
    request: msgspec.Raw


class _Pickled(msgspec.Struct):
    """Those parts of an agent's request that stay the bytes they are; everything else unfolds into objects."""

    class_blob: memoryview = memoryview(b"")
    args_blob: memoryview = memoryview(b"")


class _PickledBody(_Pickled):
    agents: Annotated[list[_Pickled], msgspec.Meta(max_length=MAX_BATCH)] = []


class _PickledRequest(msgspec.Struct):
    body: _PickledBody


class ReplyError(Exception):
    """A reply that no supervisor of this version gives."""


class Refusal(msgspec.Struct, frozen=True):
    error: str
    details: dict[str, Any]

    @classmethod
    def of(cls, error: ScheduleMeshError) -> Refusal:
        return cls(type(error).__name__, error.details())

    def as_error(self) -> ScheduleMeshError:
        return rebuild(self.error, self.details)


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of the two is set. `replies` answers a batch, one for each of its requests."""

    result: dict[str, Any] | None = None
    refusal: Refusal | None = None
    replies: list[Reply] | None = None

    @classmethod
    def refused(cls, error: ScheduleMeshError) -> Reply:
        return cls(refusal=Refusal.of(error))


def check_blob(size: int, what: str) -> None:
    """Refuse a pickled class, or pickled arguments, of more than MAX_BLOB bytes."""
    if size > MAX_BLOB:
        raise InvalidRequestError(
            field=what,
            problem=f"pickles to {size:,} bytes, the limit is {MAX_BLOB:,}; "
            "load large data inside the agent, from a file or an object store",
        )


def encode_request(request: Request) -> bytes:
    """The request as it is sent; raises InvalidRequestError when it is too large to be taken."""
    payload = msgspec.msgpack.encode(Envelope(PROTOCOL, msgspec.Raw(msgspec.msgpack.encode(request))))
    _check_size(payload)
    return payload


def decode_request(payload: object) -> Request:
    """Read a request; raises InvalidRequestError for garbage and ProtocolMismatchError for another version."""
    if not isinstance(payload, bytes):
        raise InvalidRequestError(field="request", problem=f"must be bytes, not {type(payload).__name__}")
    _check_size(payload)
    try:
        envelope = msgspec.msgpack.decode(payload, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(field="request", problem=f"is not a schedulemesh request: {error!s:.200}") from None
    if envelope.protocol != PROTOCOL:
        raise ProtocolMismatchError(client=envelope.protocol, supervisor=PROTOCOL)
    try:
        _check_plain_size(envelope.request)
        request = msgspec.msgpack.decode(envelope.request, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(field="request", problem=f"cannot be read: {error!s:.200}") from None
    _check_plain(request.body)
    return request


def _check_size(payload: bytes) -> None:
    if not payload:
        raise InvalidRequestError(field="request", problem="has 0 bytes")
    if len(payload) > MAX_REQUEST:
        raise InvalidRequestError(
            field="request", problem=f"has {len(payload):,} bytes, the limit is {MAX_REQUEST:,}; ask for fewer at once"
        )


def _check_plain_size(encoded: msgspec.Raw) -> None:
    """Refuse what would unfold into more objects than the supervisor has memory for, before it does."""
    body = msgspec.msgpack.decode(encoded, type=_PickledRequest).body
    pickled = sum(len(part.class_blob) + len(part.args_blob) for part in (body, *body.agents))
    plain = len(memoryview(encoded)) - pickled
    if plain > MAX_PLAIN:
        raise InvalidRequestError(
            field="request",
            problem=f"has {plain:,} bytes beside its pickled classes and arguments, the limit is {MAX_PLAIN:,}; "
            "ask for fewer agents at once, or for smaller environments and options",
        )


def _check_plain(body: AnyBody) -> None:
    """Refuse what is nested so deep that handling it would exhaust the stack, and keys that no JSON can show."""
    bodies: list[Body] = list(body.agents) if isinstance(body, CreateAgents) else [body]
    level: list[Any] = []
    for one in bodies:
        if isinstance(one, CreateAgent):
            level += [one.options, one.decorator, one.environment.runtime_env]
        elif isinstance(one, (CreatePool, ResizePool)):
            level.append(one.environment.runtime_env)
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise InvalidRequestError(field="request", problem=f"is nested more than {MAX_DEPTH} deep")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise InvalidRequestError(field="request", problem="holds a dict with a key that is not text")
        return list(value.values())
    return value if isinstance(value, list) else []


def encode_reply(reply: Reply) -> bytes:
    return msgspec.msgpack.encode(reply)


def decode_reply(payload: Any) -> Reply:
    """Read a reply; raises ReplyError for what no supervisor of this version answers."""
    try:
        reply = msgspec.msgpack.decode(payload, type=Reply)
        for one in (reply, *(reply.replies or ())):
            if one.refusal is not None:
                one.refusal.as_error()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, LookupError) as error:
        raise ReplyError(f"{error!s:.200}") from None
    return reply
