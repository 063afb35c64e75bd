"""Upgrades: what an earlier version wrote is read by this one, and whoever changes a record raises its schema.

The files in `data` were written by the versions they are named after, with `tests/helpers/record_samples.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import record_samples

from schedulemesh.core.records import MESH_KEY, SCHEMA, AgentRecord, MeshRecord, PoolRecord, decode, encode
from schedulemesh.core.states import ENDED, AgentState, MeshState, PoolState
from schedulemesh.supervisor.events import TableRead
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.transitions import TABLE

FILES = sorted(record_samples.FOLDER.glob("records-v*.json"))
WRITTEN_BY = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
NOW = 1_700_000_500.0
DROPPED = {1: {"show_output"}, 2: {"show_output"}, 3: set[str]()}
"""Fields of each schema that this version has no use for."""


def records_in(path: Path) -> dict[str, bytes]:
    _, stored = record_samples.read(path)
    return {key: value for key, value in stored.items() if not key.startswith("blob/")}


def test_the_records_of_the_first_version_and_of_this_one_are_kept() -> None:
    assert record_samples.path_of(1) in FILES
    assert record_samples.path_of(SCHEMA) in FILES, "run tests/helpers/record_samples.py and commit what it writes"
    assert len(FILES) == SCHEMA


def test_whoever_changes_a_record_raises_its_schema() -> None:
    written, _ = record_samples.read(record_samples.path_of(SCHEMA))
    assert record_samples.shape() == written, (
        f"records differ from those of schema {SCHEMA}: raise SCHEMA in core/records.py, "
        "then run tests/helpers/record_samples.py and commit what it writes"
    )


def test_the_file_of_this_version_holds_what_this_version_writes() -> None:
    _, written = record_samples.read(record_samples.path_of(SCHEMA))
    assert record_samples.samples() == written


@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_every_record_is_read_and_nothing_of_it_is_lost_but_what_nobody_needs(schema: int) -> None:
    lost: set[str] = set()
    for key, stored in records_in(record_samples.path_of(schema)).items():
        before: dict[str, Any] = msgspec.msgpack.decode(stored)
        after: dict[str, Any] = msgspec.msgpack.decode(encode(decode(key, stored)))
        lost |= before.keys() - after.keys()
        kept = before.keys() & after.keys()
        assert {name: after[name] for name in kept} == {name: before[name] for name in kept}, key
    assert lost == DROPPED[schema]


def test_the_newest_file_has_every_kind_every_state_and_every_field() -> None:
    loaded = [decode(key, value) for key, value in records_in(record_samples.path_of(SCHEMA)).items()]
    agents = [record for record in loaded if isinstance(record, AgentRecord)]
    assert {(agent.state, agent.goal) for agent in agents} == set(TABLE)
    assert {pool.state for pool in loaded if isinstance(pool, PoolRecord)} == set(PoolState)
    assert {mesh.state for mesh in loaded if isinstance(mesh, MeshRecord)} == set(MeshState)
    for record in loaded:
        for field in msgspec.structs.fields(record):
            if field.name != "schema" and not isinstance(record, MeshRecord):
                assert getattr(record, field.name), f"{field.name} is not filled"


@WRITTEN_BY
@pytest.mark.parametrize("state", MeshState)
def test_a_mesh_comes_back_from_what_an_earlier_version_left(path: Path, state: MeshState) -> None:
    _, stored = record_samples.read(path)
    store = {key: value for key, value in stored.items() if not key.startswith("mesh/")}
    store[MESH_KEY] = stored[f"mesh/{state.value}"]
    mesh = Mesh(name="mesh", namespace="ns")
    decision = mesh.restore(store, NOW)
    mesh.check()
    agents = [
        record for key, value in records_in(path).items() if isinstance(record := decode(key, value), AgentRecord)
    ]
    ended = {agent.uid for agent in agents if agent.state in ENDED}
    found = {uid: agent.record.state for uid, agent in mesh._books.agents.items()}
    assert set(found) == {agent.uid for agent in agents}
    assert {uid for uid, now in found.items() if now is AgentState.RECOVERING} == set(found) - ended
    assert {pool.state for pool in mesh._books.pools.values()} == {PoolState.ACTIVE, PoolState.DELETING}
    assert mesh._books.mesh.state is state
    assert all(write.value is None for write in decision.writes), "blobs of kits that nobody needs go, nothing else"
    mesh.step(TableRead((), NOW + 1), NOW + 2)
    mesh.check()
