"""Bad luck and bad code on a real cluster: hung imports, strangers with the same name, a supervisor killed for good."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import ray
from drivers import MESH, DriverRunner
from raycluster import eventually
from rayview import call, living_actors

import schedulemesh
from schedulemesh import AgentActor, Scheduler


class Plain(AgentActor):
    def ping(self) -> str:
        return "pong"


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("adversity", resources={"cpu": 0.1}, target_agents=4)
    return "adversity"


def test_a_class_whose_import_hangs_is_given_up(scheduler: Scheduler, pool: str, driver: DriverRunner) -> None:
    """The driver has the module; in the launcher its import never ends. The start is given up all the same."""
    folder = driver.folder / "hanging"
    folder.mkdir()
    (folder / "hangs.py").write_text(
        "import os, threading\n"
        "if 'HERE' not in os.environ:\n    threading.Event().wait()\n"
        "from schedulemesh import AgentActor\nclass Hangs(AgentActor):\n    pass\n"
    )
    code = f"""
import os
os.environ["HERE"] = "1"
import schedulemesh
from hangs import Hangs
try:
    schedulemesh.connect({MESH!r}).create_agent("hangs", "adversity", Hangs, timeout_s=4)
except schedulemesh.AgentStartTimeoutError as error:
    print("given up:", error)
"""
    assert "class loaded" in driver.run(code, folder="hanging")
    assert scheduler.get_pool(pool)["pool"]["agents"] == 0


def test_a_stranger_is_not_killed_in_an_agents_place(scheduler: Scheduler, pool: str) -> None:
    @ray.remote(num_cpus=0)
    class Stranger:
        def who(self) -> str:
            return "stranger"

    actor_class: Any = Stranger
    stranger = actor_class.options(name="theirs").remote()
    assert ray.get(stranger.who.remote()) == "stranger"
    with pytest.raises(schedulemesh.AgentStartError, match="is taken"):
        scheduler.create_agent("mine", pool, Plain, ray_options={"name": "theirs"})
    assert scheduler.get_pool(pool)["pool"]["agents"] == 0
    with pytest.raises(schedulemesh.AgentStartTimeoutError):
        scheduler.create_agent("mine", pool, Plain, ray_options={"name": "theirs"}, timeout_s=2)
    assert ray.get(stranger.who.remote()) == "stranger"
    with pytest.raises(schedulemesh.InvalidRequestError, match="the mesh's own"):
        scheduler.create_agent(MESH, pool, Plain)
    ray.kill(stranger)


def test_creates_that_are_deleted_at_once_leave_nothing(scheduler: Scheduler, pool: str) -> None:
    pid = scheduler.status()["pid"]
    for number in range(3):
        name = f"brief-{number}"
        creator = threading.Thread(target=_create_in_vain, args=(scheduler, pool, name))
        creator.start()
        assert eventually(lambda: scheduler.get_pool(pool)["pool"]["agents"] == 1)
        scheduler.delete_agent(name, force=True)
        creator.join(60)
        assert scheduler.get_pool(pool)["pool"]["agents"] == 0
    assert living_actors() == []
    assert scheduler.status()["pid"] == pid, "the supervisor has not ended over it"


def test_a_supervisor_killed_for_good_is_succeeded_by_the_next(cluster: object) -> None:
    """The records and the agents are still there; whoever connects next starts a supervisor that takes them up."""
    first = schedulemesh.connect("heir")
    first.create_pool("p", resources={"cpu": 0.1}, target_agents=2)
    agent = first.create_agent("orphan", "p", Plain)["agent"]
    ray.kill(ray.get_actor("heir", namespace="schedulemesh"), no_restart=True)
    assert call(agent, "ping") == "pong"
    second = schedulemesh.connect("heir")
    assert eventually(lambda: second.get_agent("orphan")["agent"]["state"] == "running")
    found = second.get_agent("orphan")["agent"]
    assert (found["actor_id"], found["pid"]) == (agent["actor_id"], agent["pid"])
    second.create_agent("sibling", "p", Plain)
    assert second.delete_agent("orphan")["agent"]["state"] == "stopped"
    assert {row.name for row in living_actors()} == {"sibling"}
    second.stop(force=True)
    assert living_actors() == []


def _create_in_vain(scheduler: Scheduler, pool: str, name: str) -> None:
    with pytest.raises(schedulemesh.AgentStartError):
        scheduler.create_agent(name, pool, Plain)
