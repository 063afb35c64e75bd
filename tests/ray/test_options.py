"""Each Ray option of the guide: its default when it is absent, and its effect when it is given, read back from Ray."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import Any

import pytest
import ray
from drivers import MESH
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy
from rayview import call, launchers, row_of

import schedulemesh
from schedulemesh import AgentActor, AgentInfo, InvalidRequestError, Scheduler
from schedulemesh.core.options import KNOWN


class Plain(AgentActor):
    """Tells what it was given and where it runs."""

    def about(self) -> dict[str, Any]:
        context = ray.get_runtime_context()
        return {
            "resources": context.get_assigned_resources(),
            "node": context.get_node_id(),
            "env": dict(os.environ),
            "pid": os.getpid(),
            "labels": self.labels,
            "namespace": context.namespace,
        }


class Gate(AgentActor):
    """Holds callers until as many as it may have at once are inside; each learns how many were."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None) -> None:
        super().__init__(name, labels, supervisor)
        self.inside = self.most = 0
        self.lock = threading.Condition()

    def enter(self) -> int:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.lock.notify_all()
            self.lock.wait_for(lambda: self.most >= 20, timeout=20)
            self.inside -= 1
            return self.most


class Counter(AgentActor):
    """Tells each caller how many calls ran at the same time, and leaves room for others to come in."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None) -> None:
        super().__init__(name, labels, supervisor)
        self.inside = 0

    def enter(self) -> int:
        self.inside += 1
        threading.Event().wait(0.01)
        seen, self.inside = self.inside, self.inside - 1
        return seen


@ray.remote(num_cpus=0.5, max_restarts=7, max_task_retries=9)
class Decorated(AgentActor):
    pass


class AsyncGate(AgentActor):
    """The same without threads, for large numbers."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None) -> None:
        super().__init__(name, labels, supervisor)
        self.inside = 0
        self.open = asyncio.Event()

    async def enter(self, expected: int) -> int:
        self.inside += 1
        if self.inside >= expected:
            self.open.set()
        await self.open.wait()
        return self.inside


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("options", resources={"cpu": 8, "memory": 8192, "gpu": 4})
    return "options"


def made(scheduler: Scheduler, pool: str, **more: Any) -> AgentInfo:
    more.setdefault("resources", {"cpu": 0.1})
    more.setdefault("actor_class", Plain)
    return scheduler.create_agent(more.pop("name", "one"), pool, **more)["agent"]


def test_an_agent_without_options_gets_the_defaults_of_the_guide(scheduler: Scheduler, pool: str) -> None:
    agent = made(scheduler, pool)
    row = row_of(agent)
    assert row.max_restarts == -1
    assert agent["handle"]._ray_max_task_retries == 3
    assert row.is_detached
    assert (row.name, row.ray_namespace) == ("one", "schedulemesh")
    assert dict(row.required_resources) == {"CPU": 0.1}
    assert set(json.loads(row.serialized_runtime_env or "{}").get("env_vars", {})) <= {"PYTHONPATH"}
    assert agent["options"]["scheduling_strategy"] == "DEFAULT"


def test_a_thousand_calls_run_at_once_by_default(scheduler: Scheduler, pool: str) -> None:
    """In Ray a class without async methods gets one at a time unless it is told otherwise."""
    threaded = made(scheduler, pool, name="threaded", actor_class=Gate)["handle"]
    assert max(ray.get([threaded.enter.remote() for _ in range(25)], timeout=60)) >= 20
    handle = made(scheduler, pool, actor_class=AsyncGate)["handle"]
    assert len(ray.get([handle.enter.remote(1000) for _ in range(1000)], timeout=60)) == 1000


def test_concurrency_is_really_one_when_asked(scheduler: Scheduler, pool: str) -> None:
    handle = made(scheduler, pool, actor_class=Counter, ray_options={"max_concurrency": 1})["handle"]
    assert ray.get([handle.enter.remote() for _ in range(20)], timeout=60) == [1] * 20


def test_twenty_calls_at_once_are_twenty_when_asked(scheduler: Scheduler, pool: str) -> None:
    handle = made(scheduler, pool, actor_class=Gate, ray_options={"max_concurrency": 20})["handle"]
    refs = [handle.enter.remote() for _ in range(25)]
    done, _ = ray.wait(refs, num_returns=20, timeout=60)
    assert max(ray.get(done)) == 20
    assert max(ray.get(refs, timeout=60)) == 20


def test_the_users_name_is_found_in_the_drivers_own_namespace(scheduler: Scheduler, pool: str) -> None:
    agent = made(scheduler, pool, ray_options={"name": "persistent-agent", "lifetime": "detached"})
    assert (row_of(agent).name, row_of(agent).ray_namespace) == ("persistent-agent", "tests")
    assert ray.get(ray.get_actor("persistent-agent").about.remote())["pid"] == agent["pid"]
    assert row_of(agent).is_detached


def test_a_namespace_that_is_given_is_used_and_an_agent_is_detached_whatever_lifetime_says(
    scheduler: Scheduler, pool: str
) -> None:
    agent = made(scheduler, pool, ray_options={"namespace": "elsewhere", "lifetime": "non_detached"})
    assert row_of(agent).ray_namespace == "elsewhere"
    assert ray.get_actor("one", namespace="elsewhere")._actor_id.hex() == agent["actor_id"]
    assert row_of(agent).is_detached


def test_env_vars_reach_the_agent_and_only_their_names_are_shown(scheduler: Scheduler, pool: str) -> None:
    agent = made(scheduler, pool, ray_options={"runtime_env": {"env_vars": {"MODEL_PATH": "/models"}}})
    assert call(agent, "about")["env"]["MODEL_PATH"] == "/models"
    assert agent["options"]["runtime_env"] == {"env_vars": {"MODEL_PATH": "<hidden>"}}


def test_spread_uses_both_nodes(scheduler: Scheduler, pool: str) -> None:
    agents = [made(scheduler, pool, name=f"s{n}", ray_options={"scheduling_strategy": "SPREAD"}) for n in range(4)]
    assert len({row_of(agent).node_id for agent in agents}) == 2


def test_node_affinity_is_the_calling_drivers_node(scheduler: Scheduler, pool: str) -> None:
    @ray.remote(num_cpus=0, resources={"worker_only": 0.001})
    def create_there(mesh: Scheduler) -> tuple[str, str]:
        agent = mesh.create_agent(
            "one", "options", Plain, resources={"cpu": 0.1}, ray_options={"scheduling_strategy": "NODE_AFFINITY"}
        )["agent"]
        return ray.get_runtime_context().get_node_id(), str(agent["actor_id"])

    node_id, _ = ray.get(create_there.remote(scheduler), timeout=60)
    assert node_id != ray.get_runtime_context().get_node_id()
    assert row_of(scheduler.get_agent("one")["agent"]).node_id.hex() == node_id
    assert node_id in {row.node_id.hex() for row in launchers(MESH)}, "its class is loaded there too"


def test_a_strategy_object_of_rays_is_obeyed(scheduler: Scheduler, pool: str) -> None:
    other = next(n["NodeID"] for n in ray.nodes() if n["NodeID"] != ray.get_runtime_context().get_node_id())
    strategy = NodeAffinitySchedulingStrategy(other, soft=False)
    agent = made(scheduler, pool, ray_options={"scheduling_strategy": strategy})
    assert row_of(agent).node_id.hex() == other == agent["node_id"]
    assert other in agent["options"]["scheduling_strategy"]


def test_a_placement_group_holds_the_agent(scheduler: Scheduler, pool: str) -> None:
    group = placement_group([{"CPU": 1, "worker_only": 1}], lifetime="detached", name="group-of-test")
    assert group.wait(30)
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    agent = made(scheduler, pool, ray_options={"scheduling_strategy": strategy})
    assert row_of(agent).placement_group_id.hex() == group.id.hex()
    scheduler.delete_agent("one")
    remove_placement_group(group)


def test_resources_restarts_and_retries_reach_ray(scheduler: Scheduler, pool: str) -> None:
    scheduler.resize_pool(pool, resources={"cpu": 8, "memory": 8192, "gpu": 4, "fpga": 2})
    options = {
        "num_cpus": 0.5,
        "num_gpus": 1,
        "memory": 256 * 1024**2,
        "resources": {"fpga": 1},
        "max_pending_calls": 9,
        "max_restarts": 5,
        "max_task_retries": 2,
    }
    agent = made(scheduler, pool, resources=None, ray_options=options)
    assert dict(row_of(agent).required_resources) == {"CPU": 0.5, "GPU": 1.0, "memory": 256 * 1024**2, "fpga": 1.0}
    assert agent["resources"] == {"cpu": 0.5, "gpu": 1.0, "memory": 256.0, "fpga": 1.0}
    assert row_of(agent).max_restarts == 5
    assert agent["handle"]._ray_max_task_retries == 2


def test_a_label_selector_is_obeyed_and_memory_in_mb_arrives_at_ray_in_bytes(scheduler: Scheduler, pool: str) -> None:
    other = next(n["NodeID"] for n in ray.nodes() if n["NodeID"] != ray.get_runtime_context().get_node_id())
    selector = {"label_selector": {"ray.io/node-id": other}}
    agent = made(scheduler, pool, resources={"cpu": 0.1, "memory": 512}, ray_options=selector)
    assert row_of(agent).node_id.hex() == other
    assert dict(row_of(agent).required_resources)["memory"] == 512 * 1024 * 1024
    assert call(agent, "about")["resources"]["memory"] == 512 * 1024 * 1024


def test_resources_win_over_ray_options_and_pool_defaults(scheduler: Scheduler) -> None:
    scheduler.create_pool("defaults", resources={"cpu": 1, "memory": 512}, target_agents=3)
    by_default = made(scheduler, "defaults", name="a", resources=None)
    on_top = made(scheduler, "defaults", name="b", resources=None, ray_options={"num_cpus": 0.5})
    whole = made(scheduler, "defaults", name="c", resources={"cpu": 0.25}, ray_options={"num_cpus": 7, "memory": 2**20})
    assert by_default["resources"] == {"cpu": 1.0, "memory": 512.0, "gpu": 0.0}
    assert on_top["resources"] == {"cpu": 0.5, "memory": 512.0, "gpu": 0.0}
    assert whole["resources"] == {"cpu": 0.25, "memory": 1.0, "gpu": 0.0}
    assert dict(row_of(whole).required_resources) == {"CPU": 0.25, "memory": 2**20}


def test_a_decorators_options_are_the_lowest_layer(scheduler: Scheduler, pool: str) -> None:
    agent = made(scheduler, pool, actor_class=Decorated, resources=None, ray_options={"max_task_retries": 1})
    assert row_of(agent).max_restarts == 7
    assert agent["handle"]._ray_max_task_retries == 1
    assert dict(row_of(agent).required_resources) == {"CPU": 0.5}


def test_get_if_exists_hands_out_the_same_agent_and_refuses_another(scheduler: Scheduler, pool: str) -> None:
    first = scheduler.create_agent("one", pool, Plain, resources={"cpu": 0.1}, ray_options={"get_if_exists": True})
    again = scheduler.create_agent("one", pool, Plain, resources={"cpu": 0.1}, ray_options={"get_if_exists": True})
    assert (first["created"], again["created"]) == (True, False)
    assert first["agent"]["actor_id"] == again["agent"]["actor_id"]
    with pytest.raises(schedulemesh.AgentExistsError) as other:
        scheduler.create_agent("one", pool, Plain, resources={"cpu": 0.2}, ray_options={"get_if_exists": True})
    assert list(other.value.differs) == ["resources"]
    with pytest.raises(schedulemesh.AgentExistsError):
        scheduler.create_agent("one", pool, Plain, resources={"cpu": 0.1})


def test_an_unknown_option_is_refused_with_the_nearest_name(scheduler: Scheduler, pool: str) -> None:
    with pytest.raises(InvalidRequestError, match="max_restarts"):
        made(scheduler, pool, ray_options={"max_restart": 3})


def test_every_option_that_ray_knows_is_known(scheduler: Scheduler) -> None:
    from ray._common.ray_option_utils import actor_options

    assert set(KNOWN) == set(actor_options)


def test_labels_of_the_agent_are_the_pools_with_its_own_on_top(scheduler: Scheduler) -> None:
    scheduler.create_pool("labelled", labels={"team": "ml", "tier": "gold"}, resources={"cpu": 1})
    agent = made(scheduler, "labelled", labels={"tier": "silver"})
    assert agent["labels"] == {"team": "ml", "tier": "silver", "pool": "labelled"} == call(agent, "about")["labels"]
    assert [a["name"] for a in scheduler.list_agents(labels={"tier": "silver"})["agents"]] == ["one"]
    assert scheduler.list_agents(labels={"tier": "gold"})["agents"] == []
