"""Every kind of driver: scripts that come again, that die, jobs, tasks and actors, prompts, and Ray Client."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import ray
from drivers import MESH, DriverRunner
from raycluster import RealCluster, eventually
from rayview import living_actors, state_of

import schedulemesh
from schedulemesh import AgentActor, Scheduler

CREATES = f"""
import ray, schedulemesh
{{init}}
class Tally(schedulemesh.AgentActor):
    def __init__(self, name, labels, supervisor=None, *, start=0):
        super().__init__(name, labels, supervisor)
        self.count = start
    def add(self):
        self.count += 1
        return self.count
scheduler = schedulemesh.connect({MESH!r})
agent = scheduler.create_agent("tally", "drivers", Tally, actor_kwargs={{{{"start": 40}}}}, ray_options={{options}})
print("count", ray.get(agent["agent"]["handle"].add.remote()))
"""
FINDS = f"""
import ray, schedulemesh
{{init}}
scheduler = schedulemesh.connect({MESH!r}, start=False)
print("count", ray.get(scheduler.get_agent("tally")["agent"]["handle"].add.remote()))
{{more}}
"""


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("drivers", resources={"cpu": 0.1}, target_agents=5)
    return "drivers"


def last(printed: str) -> str:
    return printed.strip().splitlines()[-1]


def test_a_driver_comes_again_and_finds_its_agent_by_both_its_names(pool: str, driver: DriverRunner) -> None:
    init = "ray.init(namespace='team-a', log_to_driver=False)"
    assert last(driver.run(CREATES.format(init=init, options={"name": "tally-actor"}))) == "count 41"
    more = "print('count', ray.get(ray.get_actor('tally-actor').add.remote()))"
    printed = driver.run(FINDS.format(init=init, more=more), folder="another")
    assert [line for line in printed.splitlines() if line.startswith("count")] == ["count 42", "count 43"]


def test_a_scheduler_goes_on_after_its_driver_connected_to_ray_anew(pool: str, driver: DriverRunner) -> None:
    code = f"""
import os, ray, schedulemesh
class Tells(schedulemesh.AgentActor):
    def tell(self):
        return os.environ.get("TURN")
scheduler = schedulemesh.connect({MESH!r})
for turn in ("first", "second"):
    ray.shutdown()
    ray.init(runtime_env={{"env_vars": {{"TURN": turn}}}})
    agent = scheduler.create_agent(turn, {pool!r}, Tells)["agent"]
    print(turn, ray.get(agent["handle"].tell.remote()))
"""
    printed = [line for line in driver.run(code).splitlines() if " pid=" not in line]
    assert printed == ["first first", "second second"]


def test_a_killed_drivers_agents_run_on(scheduler: Scheduler, pool: str, driver: DriverRunner) -> None:
    code = CREATES.format(init="", options={}) + "\nprint('up', flush=True)\nimport time\ntime.sleep(600)\n"
    process = driver.start(code)
    assert process.stdout is not None
    assert eventually(lambda: process.stdout is not None and process.stdout.readline() == "up\n", timeout_s=60)
    process.kill()
    process.wait()
    process.communicate()
    handle = scheduler.get_agent("tally")["agent"]["handle"]
    assert ray.get(handle.add.remote()) == 42


def test_a_driver_killed_in_the_middle_of_a_create_leaves_books_and_ray_agreed(
    scheduler: Scheduler, pool: str, driver: DriverRunner, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    code = f"""
import pathlib, time, schedulemesh
class Slow(schedulemesh.AgentActor):
    def __init__(self, name, labels, supervisor=None):
        super().__init__(name, labels, supervisor)
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.02)
schedulemesh.connect({MESH!r}).create_agent("orphan", "drivers", Slow)
"""
    process = driver.start(code)
    assert eventually(lambda: bool([row for row in living_actors("orphan") if row.pid]), timeout_s=60)
    process.kill()
    process.communicate()
    gate.write_text("go")
    assert eventually(lambda: state_of(scheduler, "orphan") == "running")
    assert scheduler.get_pool("drivers")["pool"]["agents"] == len(living_actors("orphan")) == 1


def test_a_driver_killed_as_soon_as_it_was_admitted_leaves_books_and_ray_agreed(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    process = driver.start(CREATES.format(init="", options={}))
    assert eventually(lambda: scheduler.get_pool("drivers")["pool"]["agents"] == 1, timeout_s=60)
    process.kill()
    process.communicate()
    assert eventually(lambda: state_of(scheduler, "tally") in ("running", "failed"))
    held = scheduler.get_pool("drivers")["pool"]["agents"]
    assert held == len(living_actors("tally")) == (state_of(scheduler, "tally") == "running")


class Answers(AgentActor):
    def who(self) -> str:
        return self.name


def test_a_task_and_an_actor_can_use_the_mesh(scheduler: Scheduler, pool: str) -> None:
    @ray.remote(num_cpus=0)
    def task(mesh: Scheduler) -> str:
        agent = mesh.create_agent("from-task", "drivers", Answers)["agent"]
        return str(ray.get(agent["handle"].who.remote()))

    @ray.remote(num_cpus=0)
    class User:
        def use(self) -> str:
            mesh = schedulemesh.connect(MESH, start=False)
            agent = mesh.create_agent("from-actor", "drivers", Answers)["agent"]
            return str(ray.get(agent["handle"].who.remote()))

    assert ray.get(task.remote(scheduler), timeout=60) == "from-task"
    actor_class: Any = User
    user = actor_class.remote()
    assert ray.get(user.use.remote(), timeout=60) == "from-actor"
    ray.kill(user)


def test_one_scheduler_serves_many_threads(scheduler: Scheduler, pool: str) -> None:
    scheduler.create_agent("shared", pool, Answers)
    seen: list[str] = []

    def look() -> None:
        handle = scheduler.get_agent("shared")["agent"]["handle"]
        seen.append(ray.get(handle.who.remote()))

    threads = [threading.Thread(target=look) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == ["shared"] * 16


def test_ray_client_starts_a_mesh_and_uses_it(cluster: RealCluster, driver: DriverRunner) -> None:
    code = f"""
import ray, schedulemesh
ray.init({cluster.client_address!r}, namespace="far-away")
class Far(schedulemesh.AgentActor):
    def __init__(self, name, labels, supervisor=None, data=None):
        super().__init__(name, labels, supervisor)
    def hi(self):
        return f"far {{self.name}}"
scheduler = schedulemesh.connect("client-mesh")
scheduler.create_pool("far", resources={{"cpu": 0.5}}, target_agents=2)
agent = scheduler.create_agent("f1", "far", Far, ray_options={{"name": "far-actor"}})["agent"]
print(ray.get(agent["handle"].hi.remote()))
print(agent["namespace"], ray.get(ray.get_actor("far-actor").hi.remote()))
try:
    scheduler.create_agent("f2", "far", Far, actor_args=[ray.put(1)])
except schedulemesh.InvalidRequestError as error:
    print("refused", error)
scheduler.stop(force=True)
print("stopped")
"""
    lines = driver.run(code, env={"RAY_ADDRESS": ""}).splitlines()
    assert "far f1" in lines
    assert "far-away far f1" in lines
    assert any(line.startswith("refused actor_args") for line in lines)
    assert lines[-1] == "stopped"


def test_a_prompt_is_a_driver_too(pool: str, cluster: RealCluster, tmp_path: Path) -> None:
    session = f"""import ray, schedulemesh
class Typed(schedulemesh.AgentActor):
    def hi(self): return "typed"

agent = schedulemesh.connect({MESH!r}).create_agent("typed", "drivers", Typed)["agent"]
print("answer", ray.get(agent["handle"].hi.remote()))
"""
    prompt = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=session,
        env=cluster.env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "answer typed" in prompt.stdout, prompt.stderr


TALKS = f"""
import sys, time, ray, schedulemesh
class Talks(schedulemesh.AgentActor):
    def __init__(self, name, labels, supervisor=None):
        super().__init__(name, labels, supervisor)
        print("loading the model")
    def say(self, text):
        print(text)
class Signs(Talks):
    def __repr__(self):
        return "my own repr"
scheduler = schedulemesh.connect({MESH!r}, log_to_driver={{shown}})
agent = scheduler.create_agent("talks", "drivers", {{cls}})["agent"]
ray.get(agent["handle"].say.remote("hello there"))
print("said", agent["pid"], flush=True)
input()
"""


def test_what_an_agent_prints_reaches_its_driver_with_its_name(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    pid, shown = heard(driver, TALKS.format(shown=True, cls="Talks"), until="hello there")
    assert shown == [f"(talks pid={pid}) loading the model", f"(talks pid={pid}) hello there"]
    scheduler.delete_agent("talks")
    _, silent = heard(driver, TALKS.format(shown=False, cls="Talks"), until="said")
    assert silent == []


def test_the_repr_that_a_class_has_itself_stands_before_what_its_agents_print(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    pid, shown = heard(driver, TALKS.format(shown=True, cls="Signs"), until="hello there")
    assert shown == [f"(talks pid={pid}) loading the model", f"(my own repr pid={pid}) hello there"]


def heard(driver: DriverRunner, code: str, *, until: str) -> tuple[str, list[str]]:
    """The pid that a driver printed, and the lines that its agents did, once a line with `until` has come."""
    process = driver.start(code, stdin=True)
    assert process.stdin is not None
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    assert eventually(lambda: any(until in line for line in lines), timeout_s=60)
    process.stdin.write("\n")
    process.stdin.close()
    process.wait(30)
    reader.join(30)
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
    assert process.returncode == 0
    pid = next(line.split()[1] for line in lines if line.startswith("said"))
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip("\n") for line in lines]
    return pid, [line for line in plain if line.startswith(("(talks", "(my own"))]
