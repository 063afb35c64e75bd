"""Warm pools: the next agent takes a process that is there, another one takes its place, and all go with the pool."""

from __future__ import annotations

from raycluster import RealCluster, eventually, processes_of
from rayview import call, kill_supervisor

import schedulemesh
from schedulemesh import AgentActor, Scheduler

WARM = 2
UP_S = 60


class Plain(AgentActor):
    def who(self) -> str:
        return self.name


def idle(cluster: RealCluster) -> set[int]:
    """The cluster's processes that run nothing."""
    return {pid for pid, command in processes_of(cluster.folder).items() if "ray::IDLE" in command}


def ready(scheduler: Scheduler) -> int:
    return scheduler.get_pool("warm")["pool"]["warm_ready"]


def test_an_agent_takes_a_ready_process_and_another_takes_its_place(cluster: RealCluster, scheduler: Scheduler) -> None:
    pool = scheduler.create_pool("warm", resources={"cpu": 0.1}, target_agents=4, warm_agents=WARM)["pool"]
    assert pool["warm_agents"] == WARM
    assert eventually(lambda: ready(scheduler) == WARM, timeout_s=UP_S)
    assert scheduler.status()["warm_agents"] == {"wanted": WARM, "ready": WARM}
    there = idle(cluster)
    agent = scheduler.create_agent("quick", "warm", Plain)["agent"]
    assert call(agent, "who") == "quick"
    assert agent["pid"] in there, "it was not started in a process that stood ready"
    assert eventually(lambda: ready(scheduler) == WARM and len(idle(cluster) - there) > 0, timeout_s=UP_S)

    kill_supervisor(scheduler)
    assert eventually(lambda: ready(scheduler) == WARM, timeout_s=UP_S), "they are not wanted any more after a restart"

    before = idle(cluster)
    scheduler.resize_pool("warm", warm_agents=0)
    assert eventually(lambda: ready(scheduler) == 0, timeout_s=UP_S)
    assert eventually(lambda: len(idle(cluster)) <= len(before) - WARM, timeout_s=UP_S), "they were not given back"
    assert call(agent, "who") == "quick"


def test_a_stopped_mesh_gives_its_ready_processes_back(cluster: RealCluster) -> None:
    mesh = schedulemesh.connect("warm-mesh", log_to_driver=False)
    before = idle(cluster)
    mesh.create_pool("warm", resources={"cpu": 0.1}, target_agents=4, warm_agents=WARM)
    try:
        assert eventually(lambda: ready(mesh) == WARM, timeout_s=UP_S)
        there = idle(cluster) - before
        assert len(there) >= WARM
    finally:
        mesh.stop(force=True)
    assert eventually(lambda: not there & idle(cluster), timeout_s=UP_S), "they were not given back"
