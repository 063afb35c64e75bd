"""Pools that want idle processes kept ready: what is ordered, what is kept for it, and what is shown of it."""

from __future__ import annotations

import pytest
from mesh_driver import Bench

from schedulemesh.core.environments import Environment, encode_environment, environment_key
from schedulemesh.core.errors import InvalidRequestError, PoolExistsError
from schedulemesh.core.messages import CreatePool, DeletePool, ResizePool, Status
from schedulemesh.supervisor.effects import KeepReady
from schedulemesh.supervisor.events import WarmSeen
from schedulemesh.supervisor.pools import MAX_WARM

HERE, THERE = Environment(node_id="n1"), Environment(node_id="n2")


def warm(count: int, name: str = "p", environment: Environment = HERE) -> CreatePool:
    return CreatePool(name, {}, {"cpu": 1.0}, 0, False, count, environment)


def resized(count: int, environment: Environment = HERE) -> ResizePool:
    return ResizePool("p", None, None, False, count, environment)


def test_what_a_pool_wants_ready_is_ordered_in_its_environment(bench: Bench) -> None:
    shown = bench.result(warm(3))["pool"]
    assert bench.orders(KeepReady) == [KeepReady(environment_key(HERE), 3)]
    assert bench.store[f"blob/{environment_key(HERE)}"] == encode_environment(HERE)
    assert (shown["warm_agents"], shown["warm_ready"]) == (3, 0)


def test_a_pool_that_wants_none_costs_nothing(bench: Bench) -> None:
    bench.result(warm(0))
    assert bench.orders(KeepReady) == []
    assert bench.blobs() == set()


def test_what_stands_ready_is_shown(bench: Bench) -> None:
    bench.result(warm(3))
    bench.step(WarmSeen(environment_key(HERE), 2))
    assert bench.pool()["warm_ready"] == 2
    assert bench.result(Status())["warm_agents"] == {"wanted": 3, "ready": 2}


def test_pools_of_one_environment_add_up(bench: Bench) -> None:
    bench.result(warm(3))
    bench.result(warm(2, "q"))
    assert bench.orders(KeepReady)[-1] == KeepReady(environment_key(HERE), 5)
    bench.result(DeletePool("p", False))
    assert bench.orders(KeepReady)[-1] == KeepReady(environment_key(HERE), 2)
    assert bench.blobs() == {f"blob/{environment_key(HERE)}"}
    bench.result(DeletePool("q", False))
    assert bench.orders(KeepReady)[-1] == KeepReady(environment_key(HERE), 0)
    assert bench.blobs() == set()


def test_a_resize_changes_how_many_and_where(bench: Bench) -> None:
    bench.result(warm(3))
    bench.result(resized(1))
    assert bench.orders(KeepReady)[-1] == KeepReady(environment_key(HERE), 1)
    bench.effects.clear()
    bench.result(resized(2, THERE))
    assert bench.orders(KeepReady) == [KeepReady(environment_key(HERE), 0), KeepReady(environment_key(THERE), 2)]
    assert bench.blobs() == {f"blob/{environment_key(THERE)}"}


def test_a_resize_that_does_not_name_them_leaves_them_as_they_are(bench: Bench) -> None:
    bench.result(warm(3))
    bench.effects.clear()
    assert bench.result(ResizePool("p", {"cpu": 2.0}, None, False))["pool"]["warm_agents"] == 3
    assert bench.orders(KeepReady) == []


def test_what_was_wanted_is_wanted_again_after_a_restart(bench: Bench) -> None:
    bench.result(warm(3))
    bench.effects.clear()
    bench.restart()
    assert bench.orders(KeepReady) == [KeepReady(environment_key(HERE), 3)]
    assert bench.blobs() == {f"blob/{environment_key(HERE)}"}
    assert bench.pool()["warm_ready"] == 0


def test_an_agents_start_leaves_the_environment_that_its_pool_keeps(bench: Bench) -> None:
    bench.result(warm(1))
    bench.run("w1", resources={"cpu": 1})
    assert bench.blobs() == {f"blob/{environment_key(HERE)}"}


@pytest.mark.parametrize("count", [-1, MAX_WARM + 1])
def test_a_wrong_number_is_refused(bench: Bench, count: int) -> None:
    assert bench.refusal(warm(count), InvalidRequestError).field == "warm_agents"
    bench.result(warm(0))
    assert bench.refusal(resized(count), InvalidRequestError).field == "warm_agents"


def test_another_number_is_another_pool(bench: Bench) -> None:
    bench.result(warm(1))
    assert "warm_agents is 1, asked 2" in str(bench.refusal(warm(2), PoolExistsError))


def test_all_pools_together_keep_as_many_as_the_cluster_has_cpus_at_most(bench: Bench) -> None:
    bench.result(warm(20))
    refused = bench.refusal(warm(5, "q"), InvalidRequestError)
    assert "asks 5, other pools have 20, and the cluster has 24 cpus" in str(refused)
    bench.result(warm(4, "q"))
    bench.refusal(resized(21), InvalidRequestError)
    assert bench.result(resized(19))["pool"]["warm_agents"] == 19


def test_whoever_asks_last_has_them_in_its_environment(bench: Bench) -> None:
    bench.result(warm(2))
    assert bench.result(warm(2, environment=THERE))["created"] is False
    assert bench.orders(KeepReady)[-2:] == [KeepReady(environment_key(HERE), 0), KeepReady(environment_key(THERE), 2)]
    bench.restart()
    assert bench.orders(KeepReady)[-1] == KeepReady(environment_key(THERE), 2)


def test_a_pool_that_holds_more_than_it_may_can_give_them_back(bench: Bench) -> None:
    bench.result(warm(2))
    bench.run("w1", resources={"cpu": 1})
    bench.result(ResizePool("p", {"cpu": 0.5}, None, True))
    assert bench.result(resized(0))["pool"]["warm_agents"] == 0


def test_only_agents_of_such_a_pool_are_put_where_processes_stand_ready(bench: Bench) -> None:
    bench.result(warm(1))
    bench.result(warm(0, "q"))
    warm_one = bench.create("w1", resources={"cpu": 0.1})
    other = bench.create("w2", pool="q", resources={"cpu": 0.1})
    assert (bench.launch(warm_one).warm, bench.launch(other).warm) == (True, False)
