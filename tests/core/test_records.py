"""Records: what was written can be read, and what cannot be read is refused rather than misread."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.options import opaque
from schedulemesh.core.records import (
    MESH_KEY,
    SCHEMA,
    AgentRecord,
    MeshRecord,
    PoolRecord,
    Record,
    RecordError,
    decode,
    encode,
    key_of,
)
from schedulemesh.core.states import AgentState, Goal, MeshState, PoolState

AGENT = AgentRecord(
    uid="r1",
    name="工人-1",
    pool_uid="r0",
    pool="p",
    need=Amounts({"cpu": 1000, "fpga": 1}),
    labels={"team": "ml", "pool": "p"},
    own_labels={"team": "ml"},
    options={
        "max_restarts": 3,
        "scheduling_strategy": opaque(b"\x00\xff", "PlacementGroup(7)"),
        "runtime_env": {"pip": []},
    },
    class_name="Worker",
    class_blob="c",
    args_blob="a",
    environment="e",
    driver_node="n1",
    actor_name="w",
    namespace="ns",
    state=AgentState.STOPPING,
    goal=Goal.GIVE_UP,
    created_at=1.5,
    start_deadline=2.5,
    timeout_s=60.0,
    actor_id="abc",
    node_id="n1",
    pid=7,
    restarts=2,
    started_at=2.0,
    stop_deadline=3.0,
    ended_at=4.0,
    cause="a\nb",
    failure="timeout",
    stopped_by=["r2"],
    inherited_env={"TOKEN": "secret"},
)
POOL = PoolRecord(
    uid="r0",
    name="p",
    labels={"team": "ml"},
    resources=Amounts({"cpu": 10_000}),
    target_agents=4,
    overcommit=True,
    state=PoolState.DELETING,
    created_at=1.5,
    changed_by=["r3"],
)
RECORDS: list[tuple[str, Record]] = [("agent", AGENT), ("pool", POOL), ("mesh", MeshRecord(state=MeshState.STOPPING))]
MUST_HAVE = {"agent": ("uid", "state", "need"), "pool": ("uid", "state", "resources")}


@pytest.mark.parametrize(("kind", "record"), RECORDS)
def test_a_record_comes_back_as_it_was(kind: str, record: Record) -> None:
    copy = decode(key_of(kind, "x"), encode(record))
    assert copy == record
    assert type(copy) is type(record)


@pytest.mark.parametrize("state", AgentState)
@pytest.mark.parametrize("goal", Goal)
def test_every_state_and_goal_comes_back(state: AgentState, goal: Goal) -> None:
    record = msgspec.structs.replace(AGENT, state=state, goal=goal)
    assert decode("agent/r1", encode(record)) == record


@pytest.mark.parametrize(("kind", "record"), RECORDS)
def test_a_record_of_a_later_schema_is_refused_with_both_numbers(kind: str, record: Record) -> None:
    newer = msgspec.structs.replace(record, schema=SCHEMA + 1)
    with pytest.raises(RecordError, match=f"'{kind}/x' has schema {SCHEMA + 1}, this version reads up to {SCHEMA}"):
        decode(f"{kind}/x", encode(newer))


@pytest.mark.parametrize(("kind", "record"), RECORDS)
def test_fields_that_a_later_version_added_within_the_schema_are_passed_over(kind: str, record: Record) -> None:
    stored: dict[str, Any] = msgspec.msgpack.decode(encode(record))
    stored["added_later"] = [1, 2]
    assert decode(f"{kind}/x", msgspec.msgpack.encode(stored)) == record


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, names in MUST_HAVE.items() for field in names])
def test_a_record_without_what_it_must_have_is_refused(kind: str, field: str) -> None:
    stored: dict[str, Any] = msgspec.msgpack.decode(encode(dict(RECORDS)[kind]))
    del stored[field]
    with pytest.raises(RecordError, match=f"missing required field `{field}`"):
        decode(f"{kind}/x", msgspec.msgpack.encode(stored))


@given(data=st.binary(max_size=200), kind=st.sampled_from(["agent", "pool", "unknown", ""]))
def test_garbage_is_refused_and_its_key_named(data: bytes, kind: str) -> None:
    with pytest.raises(RecordError, match="cannot be read") as caught:
        decode(f"{kind}/x", data)
    assert repr(f"{kind}/x") in str(caught.value)


@given(data=st.binary(max_size=60))
def test_a_mesh_record_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        assert isinstance(decode(MESH_KEY, data), MeshRecord)
    except RecordError as error:
        assert "cannot be read" in str(error) or "has schema" in str(error)  # noqa: PT017


def test_two_records_do_not_share_their_lists() -> None:
    first, second = (decode("mesh/self", encode(MeshRecord())), msgspec.structs.replace(POOL, changed_by=[]))
    assert isinstance(first, MeshRecord)
    copy = decode("pool/x", encode(second))
    assert isinstance(copy, PoolRecord)
    copy.changed_by.append("r9")
    assert second.changed_by == []


@pytest.mark.parametrize(
    "data", [b"\x81\xa3uid\xa2\xff\xff", b"\x81\xa7options" + b"\x91" * 5000], ids=["text", "depth"]
)
def test_damaged_text_and_endless_nesting_are_refused_like_other_garbage(data: bytes) -> None:
    with pytest.raises(RecordError, match="record 'agent/x' cannot be read"):
        decode("agent/x", data)


def test_a_record_of_a_later_schema_is_named_even_when_it_is_laid_out_otherwise() -> None:
    later = msgspec.msgpack.encode({"schema": SCHEMA + 1, "uid": 7})
    with pytest.raises(RecordError, match=f"has schema {SCHEMA + 1}, this version reads up to {SCHEMA}"):
        decode("agent/x", later)
