"""Ten thousand pools on a real cluster: read from the store, added to, listed, brought back, and gone without a trace."""

from __future__ import annotations

import kvstore
import pytest
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc
from raycluster import RealCluster, eventually
from rayview import kill_supervisor

import schedulemesh
from schedulemesh.core.amounts import Amounts
from schedulemesh.core.launch_protocol import AGENT_LABEL, MESH_LABEL
from schedulemesh.core.records import PoolRecord, encode, key_of
from schedulemesh.core.states import PoolState
from schedulemesh.supervisor.pools import MAX_POOLS
from schedulemesh.supervisor.watcher import GcsWatcher

CROWD = "crowd"


def by_name(scheduler: schedulemesh.Scheduler) -> dict[str, schedulemesh.PoolInfo]:
    return {pool["name"]: pool for pool in scheduler.list_pools()["pools"]}


def test_ten_thousand_pools_are_read_added_to_brought_back_and_gone(cluster: RealCluster) -> None:
    """All but the last are put into the store as the mesh would have: that writes the same, and asks for less."""
    written, asked = MAX_POOLS - 5, range(MAX_POOLS - 5, MAX_POOLS)
    for number in range(written):
        record = PoolRecord(
            uid=f"uid-{number}",
            name=f"pool-{number}",
            labels={"team": "a"},
            resources=Amounts.parse({"cpu": 0.001}, "resources"),
            target_agents=0,
            overcommit=False,
            state=PoolState.ACTIVE,
            created_at=1_700_000_000.0 + number,
        )
        kvstore.put(CROWD, key_of("pool", record.uid), encode(record))
    scheduler = schedulemesh.connect(CROWD)
    for number in asked:
        assert scheduler.create_pool(f"pool-{number}", labels={"team": "a"}, resources={"cpu": 0.001})["created"]
    with pytest.raises(schedulemesh.InvalidRequestError, match="the mesh has 10,000 pools, which is the limit"):
        scheduler.create_pool("one-more", resources={"cpu": 0.001})
    before = by_name(scheduler)
    assert set(before) == {f"pool-{number}" for number in range(MAX_POOLS)}
    dead = kill_supervisor(scheduler)
    assert by_name(scheduler) == before
    assert scheduler.status()["pid"] != dead
    assert scheduler.get_pool("pool-9999")["pool"]["capacity"]["cpu"] == 0.001
    scheduler.stop(force=True)
    assert eventually(lambda: not kvstore.keys_of(CROWD))


def test_actors_that_died_are_watched_no_longer() -> None:
    watcher = GcsWatcher("nowhere:1", "mesh")
    labels = {AGENT_LABEL: "uid", MESH_LABEL: "mesh"}
    for number in range(5000):
        first = ActorTableData(state=ActorTableData.PENDING_CREATION, name=f"agent-{number}", labels=labels)
        assert watcher._news(f"actor-{number}", first) is not None
        for state in (ActorTableData.ALIVE, ActorTableData.DEAD):  # later messages carry no labels
            assert watcher._news(f"actor-{number}", ActorTableData(state=state)) is not None
        assert watcher._news(f"actor-{number}", ActorTableData(state=ActorTableData.DEAD)) is None
    assert not watcher._known
