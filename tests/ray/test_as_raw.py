"""An agent differs from a raw actor of its driver in nothing that the user did not ask for."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from drivers import MESH, DriverRunner
from raycluster import RealCluster

from schedulemesh import Scheduler

BESIDE = """
import json, logging, multiprocessing, os, signal, subprocess, sys
import ray
from schedulemesh import AgentActor

signal.signal(signal.SIGUSR2, signal.SIG_DFL)  # as a module may that expects to be imported on the main thread

def seen():
    context = ray.get_runtime_context()
    ours = ("SCHEDULEMESH", "RAY_", "OMP_NUM_THREADS", "__RAY", "SPT_")
    env_vars = {name: value for name, value in context.runtime_env.get("env_vars", {}).items()}
    return {
        "path": [p for p in sys.path],
        "cwd": os.getcwd(),
        "env": {name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "runtime_env": {
            name: value for name, value in context.runtime_env.items() if name != "env_vars" and not name.startswith("_")
        },
        "env_vars": env_vars,
        "job": context.get_job_id(),
        "namespace": context.namespace,
        "log_level": logging.getLogger().level,
        "handlers": [type(one.formatter).__name__ for one in logging.getLogger().handlers],
    }

def told(queue):
    import beside  # the module of the driver's, in a process that this one starts
    queue.put({"path": [p for p in sys.path if p], "secret": os.environ.get("SECRET")})

class Looks(AgentActor):
    def look(self):
        return seen()
    def task(self):
        return ray.get(ray.remote(seen).options(num_cpus=0).remote())
    def child(self):
        class Child:
            def look(self):
                return seen()
        return ray.get(ray.remote(Child).options(num_cpus=0).remote().look.remote())
    def process(self):
        spawn = multiprocessing.get_context("spawn")
        queue = spawn.Queue()
        process = spawn.Process(target=told, args=(queue,))
        process.start()
        answer = queue.get(timeout=60)
        process.join()
        return answer
    def command(self):
        return subprocess.run(["sh", "-c", "echo $SECRET"], capture_output=True, text=True).stdout.strip()
    def get_named(self, name):
        return ray.get(ray.get_actor(name).look.remote())["job"]
"""

COMPARE = f"""
import json, os, sys
import ray, schedulemesh
{{init}}
from beside import Looks
scheduler = schedulemesh.connect({MESH!r})
raw = ray.remote(Looks).options(num_cpus=0.1, name="raw-{{name}}").remote("raw", {{{{}}}})
agent = scheduler.create_agent("{{name}}", "raw", Looks, resources={{{{"cpu": 0.1}}}})["agent"]["handle"]
result = {{{{}}}}
for method in ("look", "task", "child", "process", "command"):
    result[method] = [ray.get(getattr(one, method).remote()) for one in (raw, agent)]
result["named"] = ray.get(agent.get_named.remote("raw-{{name}}"))
print("RESULT", json.dumps(result))
"""


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("raw", resources={"cpu": 2})
    return "raw"


def result_of(printed: str) -> Any:
    return json.loads(next(line for line in printed.splitlines() if line.startswith("RESULT")).removeprefix("RESULT"))


def check_alike(result: Any) -> None:
    named = result.pop("named")
    for method, (raw, agent) in result.items():
        assert agent == raw, method
    assert named == result["look"][0]["job"], "the agent does not find a named actor of its driver's namespace"


def folder_with(driver: DriverRunner, name: str, **modules: str) -> Path:
    folder = driver.folder / name
    folder.mkdir()
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


ODD = "odd:folder ${HOME} $X"


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("beside the script", ""),
        (ODD, "ray.init(namespace='team', log_to_driver=False)"),
        ("variables", "ray.init(runtime_env={'env_vars': {'SECRET': 's', 'A': '/opt', 'B': '${A}/lib'}})"),
        ("logging", "ray.init(logging_config=ray.LoggingConfig(encoding='JSON', log_level='DEBUG'))"),
    ],
    ids=["beside", "odd folder", "env_vars", "logging_config"],
)
def test_an_agent_sees_what_a_raw_actor_of_the_same_driver_sees(
    pool: str, driver: DriverRunner, name: str, init: str
) -> None:
    folder_with(driver, name, beside=BESIDE)
    check_alike(result_of(driver.run(COMPARE.format(init=init, name="alike"), folder=name)))


def test_a_working_dir_and_py_modules_reach_agents_as_they_reach_raw_actors(pool: str, driver: DriverRunner) -> None:
    package = folder_with(driver, "package", beside=BESIDE)
    extra = folder_with(driver, "extra")
    (extra / "further").mkdir()
    (extra / "further" / "__init__.py").write_text("")
    env = {"working_dir": str(package), "py_modules": [str(extra / "further")], "env_vars": {"SECRET": "s"}}
    init = f"ray.init(runtime_env={env!r})\nsys.path.insert(0, {str(package)!r})"
    check_alike(result_of(driver.run(COMPARE.format(init=init, name="packed"), folder="elsewhere")))


def test_a_module_run_with_m_finds_its_package(pool: str, driver: DriverRunner, cluster: RealCluster) -> None:
    folder = folder_with(driver, "as-module", beside=BESIDE)
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "main.py").write_text(COMPARE.format(init="", name="module"))
    done = subprocess.run(
        [sys.executable, "-m", "app.main"], cwd=folder, env=cluster.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    check_alike(result_of(done.stdout))


def test_a_driver_inside_a_task_and_inside_an_actor_is_like_one_outside(pool: str, driver: DriverRunner) -> None:
    folder_with(driver, "inside", beside=BESIDE)
    code = f"""
import json
import ray, schedulemesh
ray.init(namespace="inside", log_to_driver=False)
from beside import Looks, seen

def drive(name):
    raw = ray.remote(Looks).options(num_cpus=0.1).remote("raw", {{}})
    scheduler = schedulemesh.connect({MESH!r})
    agent = scheduler.create_agent(name, "raw", Looks, resources={{"cpu": 0.1}})["agent"]["handle"]
    return [ray.get(one.look.remote()) for one in (raw, agent)]

class Driver:
    def drive(self, name):
        return drive(name)

in_task = ray.get(ray.remote(drive).options(num_cpus=0).remote("from-task"))
in_actor = ray.get(ray.remote(Driver).options(num_cpus=0).remote().drive.remote("from-actor"))
env = {{"env_vars": {{"NESTED": "yes"}}}}
nested = ray.get(ray.remote(drive).options(num_cpus=0, runtime_env=env).remote("nested"))
print("RESULT", json.dumps({{"task": in_task, "actor": in_actor, "nested": nested}}))
"""
    result = result_of(driver.run(code, folder="inside"))
    for raw, agent in result.values():
        assert agent == raw
    assert result["nested"][1]["env"]["NESTED"] == "yes"


def test_an_offline_wheel_is_installed_for_agents_too(pool: str, driver: DriverRunner, cluster: RealCluster) -> None:
    folder = folder_with(driver, "wheel")
    wheel = folder / "tinywheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tinywheel.py", "ANSWER = 42\n")
        packed.writestr("tinywheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinywheel\nVersion: 1.0\n")
        packed.writestr(
            "tinywheel-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        packed.writestr("tinywheel-1.0.dist-info/RECORD", "")
    (folder / "requirements.txt").write_text(f"{wheel}\n")
    code = f"""
import ray, schedulemesh
ray.init(log_to_driver=False)
class Uses(schedulemesh.AgentActor):
    def answer(self):
        import tinywheel
        return tinywheel.ANSWER
options = {{"runtime_env": {{"pip": "requirements.txt"}}}}
raw = ray.remote(Uses).options(num_cpus=0.1, **options).remote("raw", {{}})
scheduler = schedulemesh.connect({MESH!r})
try:
    scheduler.create_agent("bad", "raw", Uses, resources={{"cpu": 0.1}}, ray_options={{"runtime_env": {{"pip": "no.txt"}}}})
except schedulemesh.InvalidRequestError as error:
    print("refused", error)
agent = scheduler.create_agent("uses", "raw", Uses, resources={{"cpu": 0.1}}, ray_options=options)["agent"]["handle"]
print("answers", [ray.get(one.answer.remote()) for one in (raw, agent)])
"""
    printed = driver.run(code, folder="wheel")
    assert "answers [42, 42]" in printed
    assert "refused ray_options['runtime_env']" in printed
    assert "no.txt" in printed
