"""Isolation on a real cluster: each agent sees its own driver's code and variables, and nothing of anyone else's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import ray
from drivers import MESH, DriverRunner
from raycluster import RealCluster, eventually
from rayview import table

import schedulemesh
from schedulemesh import AgentActor, Scheduler

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


def test_two_modules_of_one_name_beside_two_scripts_do_not_meet(scheduler: Scheduler, driver: DriverRunner) -> None:
    scheduler.create_pool("iso", resources={"cpu": 1})
    assert drive(driver, "alice")["whose"] == "alice"
    assert drive(driver, "bob")["whose"] == "bob"


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


def test_a_driver_that_lacks_the_module_calls_with_positional_arguments(
    scheduler: Scheduler, driver: DriverRunner
) -> None:
    scheduler.create_pool("iso", resources={"cpu": 1})
    drive(driver, "frank")
    code = f"""
import ray, schedulemesh
handle = schedulemesh.connect({MESH!r}).get_agent("frank")["agent"]["handle"]
print(ray.get(handle.twice.remote(21)), ray.get(handle.twice.remote(number=4)))
"""
    assert driver.run(code, folder="elsewhere").splitlines()[-1] == "42 8"


class ByValue(AgentActor):
    pass


def test_a_module_that_the_supervisor_lacks_is_imported_by_the_agent_only(
    scheduler: Scheduler, driver: DriverRunner
) -> None:
    scheduler.create_pool("iso", resources={"cpu": 1})
    result = drive(driver, "erin")
    assert Path(str(result["file"])).parent == driver.folder / "erin"
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    loaded = ray.get(supervisor.__ray_call__.remote(_loaded_modules))
    assert "schedulemesh.supervisor.mesh" in loaded
    assert "agents" not in loaded
    assert not any(path.startswith(str(driver.folder)) for path in ray.get(supervisor.__ray_call__.remote(_sys_path)))


def test_thirty_agents_of_one_by_value_class_leave_one_export(scheduler: Scheduler, driver: DriverRunner) -> None:
    scheduler.create_pool("many", resources={"cpu": 3})
    assert eventually(launcher_pids), "the class of launchers is there"
    before = exports()
    code = f"""
import schedulemesh
class Local(schedulemesh.AgentActor):
    pass
scheduler = schedulemesh.connect({MESH!r})
one = {{"max_concurrency": 1}}  # the default is a thousand threads, and a machine has some 32,000 in all
requests = [schedulemesh.AgentRequest(f"m{{n}}", "many", Local, {{"cpu": 0.1}}, one) for n in range(30)]
print(sum(isinstance(reply, dict) for reply in scheduler.create_agents(requests)))
"""
    assert "30" in driver.run(code).splitlines()
    assert len(exports() - before) == 1


def test_a_killed_launcher_is_made_again(scheduler: Scheduler) -> None:
    scheduler.create_pool("idle", resources={"cpu": 1})
    scheduler.create_agent("one", "idle", ByValue, resources={"cpu": 0.1})
    launchers = launcher_pids()
    assert launchers
    for pid in launchers:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in launchers))
    scheduler.create_agent("two", "idle", ByValue, resources={"cpu": 0.1})
    scheduler.delete_agent("one")
    assert [agent["name"] for agent in scheduler.list_agents()["agents"]] == ["two"]


def test_an_idle_launcher_is_ended_and_its_agents_can_still_be_ended(cluster: RealCluster) -> None:
    command = [sys.executable, "-m", "schedulemesh.supervisor", "--address", cluster.address, "--name", "thrifty"]
    subprocess.run([*command, "--namespace", "schedulemesh", "--launcher-idle", "1"], env=cluster.env, check=True)
    thrifty = schedulemesh.connect("thrifty", start=False, log_to_driver=False)
    thrifty.create_pool("p", resources={"cpu": 0.1}, target_agents=1)
    thrifty.create_agent("one", "p", ByValue)
    assert launcher_pids("thrifty")
    assert eventually(lambda: not launcher_pids("thrifty"))
    assert thrifty.delete_agent("one")["agent"]["state"] == "stopped"
    thrifty.stop()


def launcher_pids(mesh: str = MESH) -> list[int]:
    rows = table(actor_state_name="ALIVE").values()
    return [row.pid for row in rows if row.class_name == "Launcher" and row.name.startswith(f"{mesh}:")]


def exports() -> set[bytes]:
    """The keys of all actor classes in Ray's function table."""
    from ray.experimental.internal_kv import _internal_kv_list

    return set(_internal_kv_list(b"ActorClass", namespace=b"fun"))


def _loaded_modules(_: object) -> list[str]:
    return list(sys.modules)


def _sys_path(_: object) -> list[str]:
    return list(sys.path)
