"""Isolation on a real cluster: each agent sees its own driver's code and variables, and nothing of anyone else's."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import ray
from drivers import MESH, DriverRunner, start_supervisor
from raycluster import RealCluster, eventually
from rayview import launchers, living_actors

import schedulemesh
from schedulemesh import AgentActor, Scheduler
from schedulemesh.core.messages import Request, decode_reply, encode_request

AGENTS = """
import os
from schedulemesh import AgentActor
WHOSE = {whose!r}
class Speaker(AgentActor):
    def whose(self):
        secrets = {{name: value for name, value in os.environ.items() if name.startswith("SM_SECRET")}}
        return {{"whose": WHOSE, "env": secrets, "cwd": os.getcwd(), "file": __file__}}
    def twice(self, number):
        return 2 * number
"""

DRIVER = """
import json, sys
import ray, schedulemesh
{init}
from agents import Speaker
scheduler = schedulemesh.connect({mesh!r})
agent = scheduler.create_agent({name!r}, "iso", Speaker, resources={{"cpu": 0.1}})["agent"]
print(json.dumps(ray.get(agent["handle"].whose.remote())))
"""


def drive(driver: DriverRunner, name: str, *, mesh: str = MESH, init: str = "") -> dict[str, object]:
    folder = driver.folder / name
    folder.mkdir()
    (folder / "agents.py").write_text(AGENTS.format(whose=name))
    printed = driver.run(DRIVER.format(mesh=mesh, name=name, init=init), folder=name)
    result: dict[str, object] = json.loads(printed.splitlines()[-1])
    return result


CALLS = f"""
import ray, schedulemesh
handle = schedulemesh.connect({MESH!r}).get_agent("alice")["agent"]["handle"]
print(ray.get(handle.twice.remote(21)), ray.get(handle.twice.remote(number=4)))
"""


def test_two_modules_of_one_name_beside_two_scripts_do_not_meet(scheduler: Scheduler, driver: DriverRunner) -> None:
    """The supervisor imports neither, and a driver that lacks them calls their agents all the same."""
    scheduler.create_pool("iso", resources={"cpu": 1})
    for name in ("alice", "bob"):
        told = drive(driver, name)
        assert told["whose"] == name
        assert Path(str(told["file"])).parent == driver.folder / name
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    loaded = ray.get(supervisor.__ray_call__.remote(_loaded_modules))
    assert "schedulemesh.supervisor.mesh" in loaded
    assert "agents" not in loaded
    assert not any(path.startswith(str(driver.folder)) for path in ray.get(supervisor.__ray_call__.remote(_sys_path)))
    assert driver.run(CALLS, folder="elsewhere").splitlines()[-1] == "42 8"


def test_two_working_dirs_and_their_variables_do_not_meet(cluster: object, driver: DriverRunner) -> None:
    """The supervisor itself is started by the first of them, and keeps nothing of it either."""
    results = {}
    for name in ("carol", "dave"):
        folder = driver.folder / f"{name}-package"
        folder.mkdir()
        (folder / "agents.py").write_text(AGENTS.format(whose=f"{name}'s package"))
        env = {"working_dir": str(folder), "env_vars": {f"SM_SECRET_{name.upper()}": name}}
        init = f"ray.init(runtime_env={env!r}, log_to_driver=False)\nsys.path.insert(0, {str(folder)!r})\n"
        init += "import agents\n" + "s = schedulemesh.connect('iso-mesh'); s.create_pool('iso', resources={'cpu': 1})"
        results[name] = drive(driver, name, mesh="iso-mesh", init=init)
    for name, result in results.items():
        assert result["whose"] == f"{name}'s package"
        assert result["env"] == {f"SM_SECRET_{name.upper()}": name}
    scheduler = schedulemesh.connect("iso-mesh", start=False)
    environ = Path(f"/proc/{scheduler.status()['pid']}/environ").read_bytes()
    assert b"SM_SECRET" not in environ
    scheduler.stop(force=True)


class Plain(AgentActor):
    pass


def test_a_killed_launcher_is_made_again_where_its_driver_is(scheduler: Scheduler) -> None:
    scheduler.create_pool("idle", resources={"cpu": 1})
    scheduler.create_agent("one", "idle", Plain, resources={"cpu": 0.1})
    (before,) = mine(MESH)
    os.kill(before.pid, signal.SIGKILL)
    scheduler.create_agent("two", "idle", Plain, resources={"cpu": 0.1})
    scheduler.delete_agent("one")
    assert [agent["name"] for agent in scheduler.list_agents()["agents"]] == ["two"]
    (after,) = mine(MESH)
    assert after.pid != before.pid
    assert (after.actor_id, after.node_id) == (before.actor_id, before.node_id), "Ray started it again"
    assert after.node_id.hex() == ray.get_runtime_context().get_node_id()


def test_an_agent_whose_drivers_node_is_gone_is_launched_elsewhere(scheduler: Scheduler) -> None:
    scheduler.create_pool("far", resources={"cpu": 1})
    body = scheduler._body(schedulemesh.AgentRequest("far", "far", Plain, resources={"cpu": 0.1}))
    body = msgspec.structs.replace(body, environment=msgspec.structs.replace(body.environment, node_id="a" * 56))
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    reply = decode_reply(ray.get(supervisor.call.remote(encode_request(Request(body.request_id, body))), timeout=60))
    assert reply.refusal is None
    assert [row.name for row in living_actors()] == ["far"]


IDLE = """
import schedulemesh
class Plain(schedulemesh.AgentActor):
    pass
mesh = schedulemesh.connect("thrifty", start=False)
mesh.create_agent("one", "p", Plain)
print("launchers", mesh.status()["launchers"])
"""


def test_a_launcher_ends_with_its_driver_and_its_agents_can_still_be_stopped(
    cluster: RealCluster, driver: DriverRunner
) -> None:
    start_supervisor(cluster, "thrifty", launcher_idle_s=0)
    thrifty = schedulemesh.connect("thrifty", start=False)
    thrifty.create_pool("p", resources={"cpu": 0.1}, target_agents=1)
    assert not launchers("thrifty"), "a driver that has created no agent has no launcher"
    assert "launchers {'living': 1, 'own': 0}" in driver.run(IDLE)
    assert eventually(lambda: not launchers("thrifty"))
    assert eventually(lambda: thrifty.status()["launchers"] == {"living": 0, "own": 0})
    assert thrifty.delete_agent("one")["agent"]["state"] == "stopped"
    thrifty.stop()
    assert not launchers("thrifty")


def mine(mesh: str) -> list[Any]:
    """The launcher of this process; tasks of its job on another node have one there."""
    context = ray.get_runtime_context()
    own = (context.get_job_id(), context.get_node_id())
    return [row for row in launchers(mesh) if (row.job_id.hex(), row.node_id.hex()) == own]


def _loaded_modules(_: object) -> list[str]:
    return list(sys.modules)


def _sys_path(_: object) -> list[str]:
    return list(sys.path)
