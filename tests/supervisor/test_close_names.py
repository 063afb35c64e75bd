"""A mistyped name is refused with close ones, found among those that are there."""

from __future__ import annotations

import pytest
from mesh_driver import DEAD, Bench

from schedulemesh.core.errors import AgentNotFoundError, PoolNotFoundError
from schedulemesh.core.messages import DeleteAgent, GetAgent, GetPool


def test_an_unknown_agent_is_refused_with_close_names(bench: Bench) -> None:
    bench.create_pool()
    bench.run("indexer")
    assert bench.refusal(GetAgent("indexr"), AgentNotFoundError).close == ["indexer"]
    assert bench.refusal(DeleteAgent("indexr", 1.0, False), AgentNotFoundError).close == ["indexer"]


def test_a_typo_finds_the_newest_names_however_many_there_were(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedulemesh.core.names._SEARCHED", 5)
    for number in range(6):
        bench.create_pool(f"p{number}", cpu=0.5)
        bench.run(f"job-{number}", pool=f"p{number}", resources={"cpu": 0.1})
    bench.create_pool("training", cpu=0.5)
    bench.run("worker-1", pool="training", resources={"cpu": 0.1})
    for number in range(10, 16):
        uid = bench.run(f"worker-{number}", pool="training", resources={"cpu": 0.1})
        bench.delete(f"worker-{number}")
        bench.see(uid, DEAD)
    assert bench.refusal(GetAgent("worker-2"), AgentNotFoundError).close == ["worker-1"]
    assert bench.refusal(GetPool("trainin"), PoolNotFoundError).close == ["training"]
