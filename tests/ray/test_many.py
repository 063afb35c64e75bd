"""Ten thousand pools on a real cluster: made, listed, brought back from the store, and gone without a trace."""

from __future__ import annotations

from typing import Any

import kvstore
import pytest
import ray
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc
from raycluster import RealCluster, eventually
from rayview import kill_supervisor

import schedulemesh
from schedulemesh.core.messages import CreatePool, Request, decode_reply, encode_request
from schedulemesh.supervisor.pools import MAX_POOLS
from schedulemesh.supervisor.watcher import AGENT_LABEL, MESH_LABEL, GcsWatcher

CROWD = "crowd"


def by_name(scheduler: schedulemesh.Scheduler) -> dict[str, schedulemesh.PoolInfo]:
    return {pool["name"]: pool for pool in scheduler.list_pools()["pools"]}


@pytest.mark.timeout(300)
def test_ten_thousand_pools_are_made_listed_brought_back_and_gone(cluster: RealCluster) -> None:
    scheduler = schedulemesh.connect(CROWD)
    supervisor: Any = ray.get_actor(CROWD, namespace="schedulemesh")
    bodies = [CreatePool(f"pool-{number}", {"team": "a"}, {"cpu": 0.001}, 0, False) for number in range(MAX_POOLS)]
    for start in range(0, MAX_POOLS, 1000):  # Ray warns of more under way at once
        some = bodies[start : start + 1000]
        asked = [supervisor.call.remote(encode_request(Request(body.name, body))) for body in some]
        assert all(decode_reply(answer).refusal is None for answer in ray.get(asked, timeout=60))
    with pytest.raises(schedulemesh.InvalidRequestError, match="the mesh has 10,000 pools, which is the limit"):
        scheduler.create_pool("one-more", resources={"cpu": 0.001})
    before = by_name(scheduler)
    assert set(before) == {body.name for body in bodies}
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
