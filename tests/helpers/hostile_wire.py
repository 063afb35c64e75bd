"""A hostile sender: puts bytes and worse to a supervisor, and holds it to its word.

The word: every message is answered, with a result or with an error of ours that can be read; what was refused has
changed nothing; and the supervisor is the same process before and after.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import msgspec
from hypothesis import strategies as st
from mesh_driver import agent_body

from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import ERRORS, ScheduleMeshError
from schedulemesh.core.launch_protocol import Held, LaunchFailed, LaunchReady, OrderDone, WarmWorkersSeen
from schedulemesh.core.messages import (
    PROTOCOL,
    AnyBody,
    CreateAgent,
    CreateAgents,
    CreatePool,
    DeleteAgent,
    DeletePool,
    GetAgent,
    GetPool,
    ListAgents,
    ListPools,
    Reply,
    ReportOrder,
    Request,
    ResizePool,
    Status,
    Stop,
    TakeOrders,
    decode_reply,
    decode_request,
    encode_request,
)

POOL = "of-hostility"
RESOURCES, TARGET = {"cpu": 0.5, "memory": 10.0}, 4
READABLE = 2000
"""Characters of an error; a failed start may hold a traceback beside."""
_STARTED = ("AgentStartError", "AgentStartTimeoutError")


def bodies(class_blob: bytes, environment: Environment, options: dict[str, Any]) -> list[AnyBody]:
    """One good request of every kind but the end of the mesh; its agents cannot be loaded, and end at once.

    What a launcher asks and reports is of a launcher that nobody knows.
    """
    agent = agent_body(
        "w1", pool=POOL, class_blob=class_blob, environment=environment, options=options, resources={"cpu": 0.1}
    )
    other = msgspec.structs.replace(agent, request_id="s", name="w2", labels={"role": "x"})
    return [
        CreatePool(POOL, {"team": "a"}, RESOURCES, TARGET, False),
        GetPool(POOL),
        GetPool("no such pool"),
        ListPools(),
        ResizePool(POOL, {"cpu": 0.5}, None, False),
        DeletePool(POOL, False),
        agent,
        CreateAgents([agent, other]),
        GetAgent("resident"),
        ListAgents(POOL, {"team": "a"}),
        DeleteAgent("nobody", 1.0, False),
        Status(),
        TakeOrders("no such key", "no-such-launcher", "p1", [Held("lease", "w1"), Held("other")], idle=True),
        *reports("no such key", "no-such-launcher", "lease"),
    ]


def reports(key: str, actor_id: str, lease: str) -> list[ReportOrder]:
    """What a launcher might report on a lease, of every kind."""
    kinds = (
        LaunchReady("w1", 1, "actor", "n1", 7, b"handle"),
        LaunchFailed("w1", 1, "ValueError: no"),
        OrderDone("it is gone"),
        WarmWorkersSeen(1, 2),
    )
    return [ReportOrder(key, actor_id, "p1", lease, report) for report in kinds]


# -- what is sent ----------------------------------------------------------------------------------------------------


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=5) | st.integers(0, 9) | st.binary(max_size=2)
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


_wild = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 10**9, float("nan"), float("inf"), 1e308, 5e-324])
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=10)
    | st.sampled_from(["x" * 50_000, "", "a\x00b", "\u2028", "../..", "语" * 300, msgspec.msgpack.Ext(7, b"x")]),
    _around,
    max_leaves=5,
)
"""Any value that can be sent."""
_deep = st.integers(1, 3000).flatmap(lambda depth: st.sampled_from([b"\x91" * depth, b"\x81\xa1a" * depth]))


@st.composite
def _flipped(draw: st.DrawFn, good: bytes) -> bytes:
    bad = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        bad[draw(st.integers(0, len(bad) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(bad)


@st.composite
def _spliced(draw: st.DrawFn, good: bytes, other: bytes) -> bytes:
    return (
        good[: draw(st.integers(0, len(good)))]
        + draw(st.binary(max_size=8))
        + other[draw(st.integers(0, len(other))) :]
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inside for place in _places(one, (*path, key)))]


def _changed(value: Any, path: Sequence[Any], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(value)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(value[path[0]], path[1:], change)
    return copy


@st.composite
def _altered(draw: st.DrawFn, good: bytes) -> bytes:
    """A request of the right shape but for one field that is another, missing, new, renamed, or there twice."""
    envelope = msgspec.msgpack.decode(good)
    how = draw(st.sampled_from(["replaced", "removed", "added", "doubled"]))
    place = draw(st.sampled_from(_places(envelope["request"])))
    inside = _changed(envelope["request"], place, lambda value: value)
    value = inside
    for key in place:
        value = value[key]
    if how == "replaced" or not isinstance(value, dict) or not value:
        changed = _changed(inside, place, lambda _: draw(_wild))
    elif how == "removed":
        gone = draw(st.sampled_from(sorted(value, key=str)))
        changed = _changed(inside, place, lambda there: {key: one for key, one in there.items() if key != gone})
    elif how == "added":
        changed = _changed(inside, place, lambda there: {**there, draw(st.text(max_size=5)): draw(_wild)})
    else:
        twice = draw(st.sampled_from(sorted(value, key=str)))
        pairs = [*value.items(), (twice, draw(_wild))]
        encoded = bytes([0x80 | min(len(pairs), 15)]) + b"".join(map(msgspec.msgpack.encode, sum(pairs, ())))
        changed = _changed(inside, place, lambda _: msgspec.Raw(encoded))
    return msgspec.msgpack.encode({"protocol": PROTOCOL, "request": changed})


@st.composite
def _of_another_protocol(draw: st.DrawFn, good: bytes) -> bytes:
    protocol = draw(st.sampled_from([0, PROTOCOL + 1, -1, 2**63]) | _wild)
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(good), "protocol": protocol})


@st.composite
def _nested(draw: st.DrawFn, good: bytes) -> bytes:
    """A field, or all of the request, nested deeper than any stack."""
    deep = msgspec.Raw(draw(_deep) + b"\x01")
    envelope = msgspec.msgpack.decode(good)
    place = draw(st.sampled_from(_places(envelope)))
    return msgspec.msgpack.encode(_changed(envelope, place, lambda _: deep))


def messages(good: Sequence[AnyBody]) -> st.SearchStrategy[object]:
    """Random bytes, good requests gone wrong, and what is no bytes at all."""

    def encoded(body: AnyBody, number: int) -> bytes:
        ident = f"request-{number:016x}"
        if isinstance(body, CreateAgent):
            body = msgspec.structs.replace(body, request_id=ident)
        elif isinstance(body, CreateAgents):
            agents = [msgspec.structs.replace(a, request_id=f"{ident}-{a.request_id}") for a in body.agents]
            body = CreateAgents(agents)
        return encode_request(Request(ident, body))

    one = st.builds(encoded, st.sampled_from(list(good)), st.integers(0, 2**64 - 1))
    return st.one_of(
        st.binary(max_size=300),
        one.flatmap(lambda message: st.integers(0, len(message) - 1).map(lambda end: message[:end])),
        one.flatmap(_flipped),
        one.flatmap(_altered),
        one.flatmap(_altered),
        one.flatmap(_altered),
        one.flatmap(_of_another_protocol),
        one.flatmap(_nested),
        st.tuples(one, one).flatmap(lambda two: _spliced(*two)),
        _deep.map(lambda head: head + b"\x01"),
        _wild.filter(lambda value: not isinstance(value, (bytes, msgspec.msgpack.Ext))),
    )


# -- what comes of it ------------------------------------------------------------------------------------------------


def unchanged(before: Sequence[Any], now: Sequence[Any], sent: object) -> None:
    """Fails, and says what differs, if a refused request has changed the ledger."""
    for was, one in zip(before, now, strict=True):
        assert one == was, f"refused, and yet something changed: {sent!r:.2000}"


class HostileSender:
    """Sends messages with `call`, and knows what the supervisor showed of itself before each.

    `spared` are those that would be carried out, and that no one wants carried out here: the end of the mesh, and, on a
    real cluster (`environment`), what is to be carried out in other environments, and long polls.
    """

    def __init__(self, call: Callable[[object], bytes], environment: Environment | None = None) -> None:
        self._call = call
        self._environment = environment
        self._ids = count()
        self.ledger: list[dict[str, Any]] = []
        self.outcomes: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        """What kinds of requests were sent, of those that could be decoded."""
        self._settle()

    def send(self, message: object) -> bool:
        """Whether the message was sent, and refused, all of it."""
        if self._is_spared(message):
            self.outcomes["spared"] += 1
            return False
        with contextlib.suppress(ScheduleMeshError):
            self.kinds[type(decode_request(message).body).__name__] += 1
        reply = decode_reply(self._call(message))
        answers = [reply] if reply.replies is None else reply.replies
        for one in answers:
            self.outcomes[self._checked(one)] += 1
        refused = all(one.refusal is not None and one.refusal.error not in _STARTED for one in answers)
        before = self.ledger
        self.look()
        if refused:
            unchanged(before, self.ledger, message)
        elif self.ledger[1] != before[1]:
            self._settle()
        return refused

    def look(self) -> None:
        """Take what the mesh shows of itself as what may not change from now on. Its process id is in its status."""
        self.ledger = [self._asked(body) for body in (Status(), ListPools(), ListAgents(None, {}))]
        self.ledger[0].pop("launchers")  # they come and go with their drivers, whatever is asked

    def _checked(self, reply: Reply) -> str:
        """What was answered; fails if that is neither a result nor an error that can be read."""
        assert (reply.result is None) != (reply.refusal is None)
        if reply.refusal is None:
            return "answered"
        error = reply.refusal.as_error()
        assert isinstance(error, ScheduleMeshError)
        assert type(error) in ERRORS.values()
        text = str(error)
        text.encode()
        assert text.strip()
        assert len(text) < READABLE or reply.refusal.error in _STARTED, f"{len(text)} characters: {text[:300]}"
        return reply.refusal.error

    def _is_spared(self, message: object) -> bool:
        with contextlib.suppress(ScheduleMeshError):
            body = decode_request(message).body
            if isinstance(body, Stop):
                return True
            if isinstance(body, TakeOrders):
                return self._environment is not None
            if isinstance(body, (CreatePool, ResizePool)) and not body.warm_agents:
                return False  # nothing is started in its environment
            if self._environment is not None:
                named = body.agents if isinstance(body, CreateAgents) else [body]
                return any(getattr(one, "environment", self._environment) != self._environment for one in named)
        return False

    def _settle(self) -> None:
        """Pools as they were: what was made or changed by chance is so no longer."""
        for pool in self._asked(ListPools())["pools"]:
            if pool["name"] != POOL:
                self._asked(DeletePool(pool["name"], force=True))
        self._asked(CreatePool(POOL, {"team": "a"}, RESOURCES, TARGET, False))
        self._asked(ResizePool(POOL, RESOURCES, TARGET, False))
        self.look()

    def _asked(self, body: AnyBody) -> dict[str, Any]:
        reply = decode_reply(self._call(encode_request(Request(f"own-{next(self._ids)}", body))))
        return reply.result or {}
