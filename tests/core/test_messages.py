"""Messages: what is sent arrives, and whatever else arrives is refused with one of our errors."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import InvalidRequestError, ProtocolMismatchError
from schedulemesh.core.launch_protocol import (
    Held,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    OrderDone,
    Report,
    WarmWorkersSeen,
)
from schedulemesh.core.messages import (
    MAX_PLAIN,
    MAX_REQUEST,
    PROTOCOL,
    AnyBody,
    CreateAgent,
    CreateAgents,
    CreatePool,
    DeleteAgent,
    DeletePool,
    Envelope,
    GetAgent,
    GetPool,
    ListAgents,
    ListPools,
    Refusal,
    Reply,
    ReplyError,
    ReportOrder,
    Request,
    ResizePool,
    Status,
    Stop,
    TakeOrders,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from schedulemesh.supervisor.events import Asked
from schedulemesh.supervisor.mesh import Mesh

ENVIRONMENT = Environment({"env_vars": {"A": "1"}, "pip": ["x"]}, ["/code"], "n1", "01000000", "driver-ns")
AGENT = CreateAgent(
    request_id="r1",
    name="w1",
    pool="p",
    class_name="Worker",
    class_blob=b"\x00\xff",
    args_blob=b"",
    environment=ENVIRONMENT,
    namespace="ns",
    resources={"cpu": 0.1},
    options={"max_restarts": 1, "strategy": {"$pickled": b"\x80", "text": "x"}},
    decorator={"num_cpus": 2},
    labels={"role": "索引"},
    timeout_s=1.5,
    inherited_env={"TOKEN": "secret"},
)
REPORTS: list[Report] = [
    LaunchReady("a1", 2, "actor", "n1", 7, b"\x00\xff"),
    LaunchReady("a1", 1, "actor"),
    LaunchFailed("a1", 1, "ValueError: 没有"),
    LaunchLost("a1", 1, "it ended"),
    OrderDone(),
    OrderDone("it is gone"),
    WarmWorkersSeen(1, 2),
    WarmWorkersSeen(0, 0, offered=False),
]
BODIES: list[AnyBody] = [
    TakeOrders("key", "actor", "process", [Held("lease", "a1"), Held("other")], idle=True),
    TakeOrders("key", "actor", "process"),
    *(ReportOrder("key", "actor", "process", "lease", report) for report in REPORTS),
    CreatePool("p", {"a": "b"}, {"cpu": 0.1}, 4, True),
    GetPool("p"),
    ListPools(),
    ResizePool("p", None, 3, False),
    ResizePool("p", {"cpu": 1.0}, None, True),
    DeletePool("p", True),
    AGENT,
    CreateAgents([AGENT, msgspec.structs.replace(AGENT, name="w2", resources=None)]),
    GetAgent("w1"),
    ListAgents(None, {}),
    ListAgents("p", {"a": "b"}),
    DeleteAgent("w1", 0.5, True),
    Status(),
    Stop(True),
]


REPORTED = {"type": "ReportOrder", "environment_key": "k", "actor_id": "a", "incarnation": "p", "lease": "l"}


def enveloped(request: Any, protocol: int = PROTOCOL) -> bytes:
    return msgspec.msgpack.encode(Envelope(protocol, msgspec.Raw(msgspec.msgpack.encode(request))))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_request_arrives_as_it_was_sent(body: AnyBody) -> None:
    request = Request("r1", body)
    arrived = decode_request(encode_request(request))
    assert arrived == request
    assert type(arrived.body) is type(body)


def test_there_is_an_example_of_every_body_and_of_every_report() -> None:
    assert {type(body) for body in BODIES} == set(AnyBody.__args__)
    assert {type(report) for report in REPORTS} == set(Report.__args__)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(result={"pool": {"name": "p", "labels": {}, "capacity": {"cpu": 0.1}}, "created": True}),
        Reply(refusal=Refusal("AgentNotFoundError", {"agent": "w", "close": ["w1"]})),
        Reply(replies=[Reply(result={}), Reply(refusal=Refusal("AgentStartError", {"agent": "w", "cause": "x"}))]),
    ],
)
def test_a_reply_arrives_as_it_was_sent(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@given(payload=st.binary(max_size=500))
@example(b"\x91" * 5000)
@example(b"\x82\xa8protocol\x01\xa7request" + b"\x91" * 5000 + b"\x01")
@example(encode_request(Request("r", Status()))[:-1])
@example(encode_request(Request("r", Status())) + b"x")
def test_garbage_is_refused(payload: bytes) -> None:
    with pytest.raises((InvalidRequestError, ProtocolMismatchError)):
        decode_request(payload)


@pytest.mark.parametrize("payload", [None, 7, "text", [b"x"], bytearray(b"x")], ids=repr)
def test_what_is_no_bytes_is_refused(payload: object) -> None:
    with pytest.raises(InvalidRequestError, match="must be bytes"):
        decode_request(payload)


def test_nothing_is_refused_too() -> None:
    with pytest.raises(InvalidRequestError, match="has 0 bytes"):
        decode_request(b"")


@pytest.mark.parametrize("protocol", [0, PROTOCOL + 1, 999, -1])
def test_another_protocol_is_named_even_when_its_requests_cannot_be_read(protocol: int) -> None:
    for request in ({"anything": "else"}, Request("r", Status())):
        with pytest.raises(ProtocolMismatchError) as caught:
            decode_request(enveloped(request, protocol))
        assert (caught.value.client, caught.value.supervisor) == (protocol, PROTOCOL)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"request_id": "r"},
        {"request_id": 7, "body": {"type": "Status"}},
        {"request_id": "r", "body": {"type": "Unknown"}},
        {"request_id": "r", "body": {"type": "GetPool"}},
        {"request_id": "r", "body": {"type": "GetPool", "name": 7}},
        {"request_id": "r", "body": {"type": "Stop", "force": "yes"}},
        {"request_id": "r", "body": {"type": "ResizePool", "name": "p", "resources": {"cpu": True}, "force": False}},
        {"request_id": "r", "body": {"type": "TakeOrders", "environment_key": "k", "actor_id": "a", "incarnation": 7}},
        {"request_id": "r", "body": {**REPORTED, "report": {"type": "Launch"}}},
        {"request_id": "r", "body": {**REPORTED, "report": {"type": "LaunchReady", "uid": "u", "attempt": "1"}}},
    ],
    ids=str,
)
def test_a_request_of_the_wrong_shape_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        decode_request(enveloped(request_))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)
OPTION_NAMES = st.sampled_from(
    ["num_cpus", "num_gpus", "memory", "resources", "name", "runtime_env", "scheduling_strategy", "max_restarts", "odd"]
)
LOOSE = st.dictionaries(OPTION_NAMES, PLAIN, max_size=3)


@given(
    options=LOOSE,
    decorator=LOOSE,
    runtime_env=st.dictionaries(st.text(max_size=6), PLAIN | st.just(msgspec.msgpack.Ext(1, b"x")), max_size=2),
    resources=st.none() | st.dictionaries(st.text(max_size=6), st.floats(), max_size=2),
    labels=st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=2),
    timeout_s=st.floats(),
    request_id=st.text(max_size=4),
)
def test_a_well_formed_request_with_wild_values_never_breaks_the_mesh(**values: Any) -> None:
    """Whatever can be read is decided or refused; it raises nothing inside the supervisor."""
    environment = Environment(values.pop("runtime_env"))
    body = msgspec.structs.replace(AGENT, environment=environment, **values)
    mesh = Mesh(name="mesh", namespace="ns")
    mesh.step(Asked(Request("p", CreatePool("p", {}, {"cpu": 1e6}, 0, True))), 1.0)
    pool = CreatePool("q", {}, {"cpu": 1.0}, 0, True, 1, environment)
    bodies: list[AnyBody] = [body, pool, ResizePool("p", None, None, False, 1, environment)]
    for asked in bodies:
        try:
            sent = encode_request(Request(values["request_id"], asked))
            arrived = decode_request(sent)
        except (UnicodeEncodeError, InvalidRequestError):
            return
        mesh.step(Asked(arrived), 2.0)
        mesh.check()


@pytest.mark.parametrize("body", [body for body in BODIES if isinstance(body, (TakeOrders, ReportOrder))], ids=str)
def test_what_launchers_ask_and_report_is_nothing_that_the_mesh_decides_on(body: AnyBody) -> None:
    decision = Mesh(name="mesh", namespace="ns").step(Asked(Request("r", body)), 1.0)
    (answer,) = decision.answers
    assert answer.reply.refusal is not None
    assert answer.reply.refusal.error == "InvalidRequestError"
    assert (decision.writes, decision.effects) == ([], [])


@pytest.mark.parametrize("byte", [b"\x90", b"\x80", b"\xa0", b"\xc0"], ids=["lists", "dicts", "texts", "nones"])
@pytest.mark.parametrize("field", ["options", "agents", "labels"])
def test_what_would_unfold_into_more_than_the_supervisors_memory_is_refused_before_it_does(
    byte: bytes, field: str
) -> None:
    many = MAX_PLAIN + 1
    swollen = msgspec.Raw(b"\xdd" + many.to_bytes(4, "big") + byte * many)
    request = {"request_id": "r", "body": {"type": "CreateAgents", "agents": [], field: swollen}}
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    with pytest.raises(InvalidRequestError, match=r"the limit is 8,388,608|of length <= 1000"):
        decode_request(enveloped(request))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 5 * MAX_PLAIN, "it was unfolded"


def test_pickled_bytes_do_not_count_as_what_unfolds() -> None:
    agent = msgspec.structs.replace(AGENT, class_blob=b"x" * MAX_PLAIN, args_blob=b"y" * MAX_PLAIN)
    request = Request("r", CreateAgents([agent, agent]))
    assert decode_request(encode_request(request)) == request


def test_a_request_that_is_too_large_is_refused_where_it_is_made() -> None:
    agent = msgspec.structs.replace(AGENT, class_blob=b"x" * (MAX_REQUEST // 8))
    with pytest.raises(InvalidRequestError, match="the limit is 268,435,456; ask for fewer at once"):
        encode_request(Request("r", CreateAgents([agent] * 8)))


@pytest.mark.parametrize("options", [{"a": {7: 1}}, {"a": [[{b"x": 1}]]}, {"a": {(1,): 1}}], ids=str)
def test_a_key_that_no_json_can_show_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="a key that is not text"):
        decode_request(encode_request(Request("r", msgspec.structs.replace(AGENT, options=options))))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xc1",
        b"\x01",
        None,
        7,
        msgspec.msgpack.encode({"refusal": {"error": "OfALaterVersionError", "details": {}}}),
        msgspec.msgpack.encode({"refusal": {"error": "AgentNotFoundError", "details": {"later": 1}}}),
        msgspec.msgpack.encode({"replies": [{"refusal": {"error": "OfALaterVersionError", "details": {}}}]}),
    ],
    ids=str,
)
def test_an_answer_of_nobodys_is_told_apart(answer: Any) -> None:
    with pytest.raises(ReplyError):
        decode_reply(answer)
