"""Resources, Ray options and constructor arguments of an agent, one after the other, and what becomes of each.

Run it with `python examples/agent_advanced_options_demo.py`: on the cluster of RAY_ADDRESS, on one that runs on this
machine, or on a local one of its own. It takes half a cpu and cleans up after itself.
"""

from __future__ import annotations

import os
from typing import Any

import ray

import schedulemesh
from schedulemesh.core.agent_actor import AgentActor

POOL = "demo-pool"


@ray.remote
class ModelServer(AgentActor):
    """Stands for a model server: keeps its parameters and tells about itself."""

    def __init__(
        self,
        name: str,
        labels: dict[str, str],
        supervisor: Any,
        model: str,
        *,
        batch_size: int = 32,
        cache: bool = True,
    ) -> None:
        super().__init__(name, labels, supervisor)
        self.model, self.batch_size, self.cache = model, batch_size, cache

    def about(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "batch_size": self.batch_size,
            "cache": self.cache,
            "labels": self.labels,
            "MODEL_PATH": os.environ.get("MODEL_PATH"),
        }

    def free_places(self) -> float:
        """An agent may ask the mesh that it lives in."""
        return float(self.supervisor.get_pool(self.labels["pool"])["pool"]["available_resources"]["cpu"])

    def on_stop(self) -> None:
        print("on_stop: saving the cache")


def main() -> None:
    ray.init(namespace="demo")
    scheduler = schedulemesh.connect()
    scheduler.create_pool(name=POOL, labels={"team": "demo"}, resources={"cpu": 0.1, "memory": 128}, target_agents=5)
    try:
        show(scheduler)
    finally:
        scheduler.delete_pool(POOL, force=True)


def show(scheduler: schedulemesh.Scheduler) -> None:
    print("\n1. The pool's default, and every option at its own default")
    plain = scheduler.create_agent("plain", POOL, ModelServer, actor_args=["small"])["agent"]
    print("   resources:", plain["resources"])
    print("   options:  ", {name: plain["options"][name] for name in ("max_restarts", "max_concurrency", "lifetime")})

    print("\n2. Resources, Ray options and arguments together")
    rich = scheduler.create_agent(
        name="rich",
        pool=POOL,
        actor_class=ModelServer,
        resources={"cpu": 0.2, "memory": 256},  # MB; overrides the pool's default as a whole
        ray_options={
            "max_restarts": 5,
            "max_task_retries": 1,
            "max_concurrency": 20,
            "name": "rich-actor",
            "runtime_env": {"env_vars": {"MODEL_PATH": "/models"}},
            "scheduling_strategy": "SPREAD",
        },
        actor_args=["large"],
        actor_kwargs={"batch_size": 64, "cache": False},
        labels={"tier": "gold"},
    )["agent"]
    for key, value in ray.get(rich["handle"].about.remote()).items():
        print(f"   {key}: {value}")
    print("   resources:", rich["resources"])
    print("   env_vars are not shown to others:", rich["options"]["runtime_env"])

    print("\n3. By Ray's own name, from the same namespace")
    print("   cpus left in the pool, as the agent sees it:", ray.get(ray.get_actor("rich-actor").free_places.remote()))

    print("\n4. get_if_exists")
    again: dict[str, Any] = {
        "name": "plain",
        "pool": POOL,
        "actor_class": ModelServer,
        "ray_options": {"get_if_exists": True},
    }
    print("   same request, created:", scheduler.create_agent(**again, actor_args=["small"])["created"])
    try:
        scheduler.create_agent(**again, actor_args=["medium"])
    except schedulemesh.AgentExistsError as error:
        print("   another request:", error)

    print("\n5. What is refused, before anything is started")
    try:
        scheduler.create_agent("greedy", POOL, ModelServer, resources={"cpu": 0.3}, actor_args=["large"])
    except ValueError as error:
        print("  ", error)
    try:
        scheduler.create_agent("typo", POOL, ModelServer, actor_args=["large"], actor_kwargs={"batchsize": 1})
    except TypeError as error:
        print("  ", error)

    print("\n6. The end: on_stop, and the capacity is back")
    print("   state:", scheduler.delete_agent("rich")["agent"]["state"])
    print("   available:", scheduler.get_pool(POOL)["pool"]["available_resources"])


if __name__ == "__main__":
    main()
