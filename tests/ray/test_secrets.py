"""Secrets in env_vars: the agent has them, and they stand in no reply, no line and no file of Ray's whole session."""

from __future__ import annotations

import subprocess
import sys

import pytest
import ray
from drivers import MESH, DriverRunner
from raycluster import RealCluster, eventually
from rayview import kill_agent, kill_supervisor

from schedulemesh import Scheduler

SECRET = "hunter2-of-the-agent"
DRIVERS = "hunter3-of-the-driver"
CLASS = """
import os
import schedulemesh

AT_IMPORT = os.environ.get("TOKEN")

class Keeper(schedulemesh.AgentActor):
    def __init__(self, name, labels, supervisor=None, fails=False):
        super().__init__(name, labels, supervisor)
        self.seen = [AT_IMPORT, os.environ.get("TOKEN")]
        if fails:
            raise RuntimeError("no start today")

    def tell(self):
        other = ray_child.options(runtime_env={"env_vars": {"TOKEN": "the child's own"}})
        children = ray.get([ray_child.remote(), other.remote()])
        return [*self.seen, os.environ["GREETING"], os.environ["PYTHONHASHSEED"], *children]

import ray

@ray.remote(num_cpus=0)
def ray_child():
    return os.environ.get("TOKEN")
"""
DRIVER = f"""
import ray, schedulemesh
from keeping import Keeper

ray.init(runtime_env={{"env_vars": {{"DRIVERS_TOKEN": {DRIVERS!r}}}}})
scheduler = schedulemesh.connect({MESH!r})
variables = {{"TOKEN": {SECRET!r}, "LANGCHAIN_API_KEY": {SECRET!r}, "GREETING": "hello ${{HOME_OF_NOBODY}}from ${{RAY_TMPDIR}}", "PYTHONHASHSEED": "7"}}
options = {{"runtime_env": {{"env_vars": variables}}, "max_concurrency": 2}}
reply = scheduler.create_agent("keeper", "safe", Keeper, resources={{"cpu": 0.1}}, ray_options=options)
print(reply, scheduler.get_agent("keeper"), scheduler.list_agents(), scheduler.list_pools(), scheduler.status())
try:
    scheduler.create_agent("fails", "safe", Keeper, resources={{"cpu": 0.1}}, ray_options=options, actor_args=[True])
except schedulemesh.AgentStartError as error:
    print(error, error.cause)
try:
    scheduler.create_agent("keeper", "safe", Keeper, resources={{"cpu": 0.2}}, ray_options={{**options, "get_if_exists": True}})
except schedulemesh.AgentExistsError as error:
    print("refused:", error)
"""
COMMANDS = f"""
from schedulemesh.client.cli import main
for command in ("status", "agents", "pools"):
    for further in ([], ["--json"]):
        main([command, "--name", {MESH!r}, *further], standalone_mode=False)
"""


@pytest.fixture
def printed(scheduler: Scheduler, driver: DriverRunner, cluster: RealCluster) -> str:
    """Everything a terminal showed while agents with a secret were made, killed, refused and listed."""
    scheduler.create_pool("safe", resources={"cpu": 1})
    home = driver.folder / "safe"
    home.mkdir()
    (home / "keeping.py").write_text(CLASS)
    shown = driver.run(DRIVER, folder="safe")
    done = subprocess.run([sys.executable, "-c", COMMANDS], env=cluster.env, capture_output=True, text=True, check=True)
    assert done.stdout.count("keeper") >= 4
    return shown + done.stdout + done.stderr


def test_an_agent_has_its_secret_from_the_first_line_on_and_nobody_else_sees_it(
    scheduler: Scheduler, cluster: RealCluster, printed: str
) -> None:
    agent = scheduler.get_agent("keeper")["agent"]
    told = [SECRET, SECRET, f"hello from {cluster.folder}", "7", SECRET, "the child's own"]
    assert ray.get(agent["handle"].tell.remote()) == told
    assert "'TOKEN': '<hidden>'" in printed
    assert "no start today" in printed
    assert "refused:" in printed

    kill_agent(agent)
    assert eventually(lambda: scheduler.get_agent("keeper")["agent"]["restarts"] == 1)
    assert ray.get(agent["handle"].tell.remote()) == told, "a restart has them too"

    kill_supervisor(scheduler)
    assert scheduler.delete_agent("keeper")["agent"]["state"] == "stopped"

    assert SECRET not in printed
    assert DRIVERS not in printed
    files = {path: path.read_bytes() for path in (cluster.folder / "session_latest").rglob("*") if path.is_file()}
    assert any(b"mesh_restored" in text for text in files.values())
    assert any(b"SCHEDULEMESH_RECORD" in text for text in files.values()), "Ray does write the runtime_env somewhere"
    assert [str(path) for path, text in files.items() if SECRET.encode() in text] == []
    # Ray itself writes down what a driver gives to ray.init(); the supervisor, launchers and agents do not.
    telling = [path.name for path, text in files.items() if DRIVERS.encode() in text]
    assert [name for name in telling if name.startswith("worker-")] == []
