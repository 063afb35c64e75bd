"""Launchers on a real cluster: each in its driver's own job, killed at every step, mended environments, two at once."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from drivers import MESH, DriverRunner
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import In, NodeLabelSchedulingStrategy, PlacementGroupSchedulingStrategy
from raycluster import RealCluster, eventually
from rayview import call, kill_agent, kill_supervisor, launchers, living_actors, row_of, state_of

import schedulemesh
from schedulemesh import AgentActor, Scheduler
from schedulemesh.client.environment import current_environment
from schedulemesh.core.environments import environment_key
from schedulemesh.core.launch_protocol import LaunchReady, OrderDone
from schedulemesh.core.messages import ReportOrder, Request, TakeOrders, decode_reply, encode_request


class Plain(AgentActor):
    def who(self) -> str:
        return self.name


class Gated(AgentActor):
    """Its constructor waits for a file."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, gate: str, starts: str) -> None:
        super().__init__(name, labels, supervisor)
        with Path(starts).open("a") as file:
            file.write(f"{os.getpid()}\n")
        assert eventually(Path(gate).exists, timeout_s=120)

    def who(self) -> str:
        return self.name


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("jobs", resources={"cpu": 2})
    return "jobs"


def own_launcher() -> Any:
    """The launcher of this process; tasks of its job on another node have one there."""
    (own,) = own_launchers()
    return own


def own_launchers() -> list[Any]:
    context = ray.get_runtime_context()
    mine = (context.get_job_id(), context.get_node_id())
    return [row for row in launchers(MESH) if (row.job_id.hex(), row.node_id.hex()) == mine]


def test_agents_and_their_launcher_belong_to_the_drivers_job(scheduler: Scheduler, pool: str) -> None:
    agent = scheduler.create_agent("mine", pool, Plain, resources={"cpu": 0.1})["agent"]
    job_id = ray.get_runtime_context().get_job_id()
    assert row_of(agent).job_id.hex() == job_id
    assert row_of(agent).repr_name == "mine", "what Ray's dashboard and `ray list actors` show"
    launcher = own_launcher()
    assert launcher.is_detached
    assert launcher.max_restarts == -1
    assert scheduler.status()["launchers"]["living"] >= 1


@pytest.mark.parametrize("step", ["loading", "constructing"])
def test_a_launcher_killed_in_the_middle_of_a_launch_loses_nothing_and_starts_nothing_twice(
    scheduler: Scheduler, pool: str, driver: DriverRunner, tmp_path: Path, step: str
) -> None:
    """The driver has gone by then: Ray starts the launcher again, and the launch goes on in it."""
    gate, starts, loads = tmp_path / "gate", tmp_path / "starts", tmp_path / "loads"
    folder = driver.folder / "killed"
    folder.mkdir()
    (folder / "gated.py").write_text(
        f"""
import os, pathlib, time
with open({str(loads)!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
while {step == "loading"} and "HERE" not in os.environ and not pathlib.Path({str(gate)!r}).exists():
    time.sleep(0.02)
from schedulemesh import AgentActor
class Gated(AgentActor):
    def __init__(self, name, labels, supervisor=None):
        super().__init__(name, labels, supervisor)
        with open({str(starts)!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.02)
    def who(self):
        return self.name
"""
    )
    code = f"""
import os
os.environ["HERE"] = "1"
import schedulemesh
from gated import Gated
schedulemesh.connect({MESH!r}).create_agent("gated", "jobs", Gated, resources={{"cpu": 0.1}})
"""
    process = driver.start(code, folder="killed")
    mark = loads if step == "loading" else starts
    enough = 2 if step == "loading" else 1  # the driver itself loads the module first
    assert eventually(lambda: mark.exists() and len(mark.read_text().split()) >= enough, timeout_s=60)
    process.kill()
    process.communicate()
    killed = [row for row in launchers(MESH) if row.name.endswith(":own") is False and row.pid]
    for row in killed:
        os.kill(row.pid, signal.SIGKILL)
    assert eventually(lambda: not any(Path(f"/proc/{row.pid}/stat").exists() for row in killed))
    gate.write_text("go")
    assert eventually(lambda: state_of(scheduler, "gated") == "running", timeout_s=90)
    agent = scheduler.get_agent("gated")["agent"]
    assert call(agent, "who") == "gated"
    assert len(living_actors("gated")) == 1
    assert len(starts.read_text().split()) == 1, "its constructor ran more than once"


def test_a_launch_goes_on_while_the_supervisor_is_killed(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
    gate, starts = tmp_path / "gate", tmp_path / "starts"
    request = schedulemesh.AgentRequest(
        "going", pool, Gated, resources={"cpu": 0.1}, actor_kwargs={"gate": str(gate), "starts": str(starts)}
    )
    body = scheduler._body(request)
    scheduler._launcher.ensure()
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    asked = supervisor.call.remote(encode_request(Request(body.request_id, body)))
    assert eventually(starts.exists, timeout_s=60)
    kill_supervisor(scheduler)
    gate.write_text("go")
    assert decode_reply(ray.get(asked, timeout=60)).refusal is None
    assert state_of(scheduler, "going") == "running"
    assert len(starts.read_text().split()) == len(living_actors("going")) == 1


def test_an_agent_is_restarted_by_ray_where_its_driver_and_launcher_have_gone(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    folder = driver.folder / "gone"
    folder.mkdir()
    (folder / "beside.py").write_text(
        "from schedulemesh import AgentActor\nclass Stays(AgentActor):\n    def who(self):\n        return __file__\n"
    )
    code = f"""
import schedulemesh
from beside import Stays
schedulemesh.connect({MESH!r}).create_agent("stays", "jobs", Stays, resources={{"cpu": 0.1}})
"""
    driver.run(code, folder="gone")
    agent = scheduler.get_agent("stays")["agent"]
    job_id = row_of(agent).job_id
    assert eventually(lambda: job_id not in {row.job_id for row in launchers(MESH)}, timeout_s=60)
    kill_agent(agent)
    assert eventually(lambda: scheduler.get_agent("stays")["agent"]["restarts"] == 1)
    assert call(scheduler.get_agent("stays")["agent"], "who") == str(folder / "beside.py")


def test_where_the_drivers_launcher_has_gone_the_mesh_starts_one_that_sees_the_same(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    """The driver's environment is asked for by a driver that has gone; its code paths hold a colon."""
    folder = driver.folder / "lost: one"
    folder.mkdir()
    (folder / "beside.py").write_text(
        "import ray\nfrom schedulemesh import AgentActor\nclass Lost(AgentActor):\n    def who(self):\n"
        "        return [__file__, ray.get_runtime_context().namespace]\n"
    )
    code = f"""
import pathlib
import ray, schedulemesh
from beside import Lost
from schedulemesh.core.messages import Request, encode_request
ray.init(namespace="lost-space")
scheduler = schedulemesh.connect({MESH!r})
body = scheduler._body(schedulemesh.AgentRequest("lost", "jobs", Lost, resources={{"cpu": 0.1}}))
pathlib.Path("body").write_bytes(encode_request(Request(body.request_id, body)))
"""
    driver.run(code, folder="lost: one")
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    reply = decode_reply(ray.get(supervisor.call.remote((folder / "body").read_bytes()), timeout=90))
    assert reply.refusal is None
    assert scheduler.status()["launchers"]["own"] >= 1
    assert call(scheduler.get_agent("lost")["agent"], "who") == [str(folder / "beside.py"), "lost-space"]


def test_a_launcher_that_answers_for_others_or_nonsense_changes_nothing(scheduler: Scheduler, pool: str) -> None:
    scheduler.create_agent("safe", pool, Plain, resources={"cpu": 0.1})
    key = environment_key(current_environment())
    launcher = own_launcher()
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    before = scheduler.get_agent("safe")["agent"]
    for report in (
        LaunchReady("other", 1, "a" * 32),
        OrderDone("x"),
        LaunchReady("safe", 99, "b" * 32, handle=b"\xff"),
    ):
        for actor_id in (launcher.actor_id.hex(), "nobody"):
            body = ReportOrder(key, actor_id, "not its process", "no such lease", report)
            reply = decode_reply(ray.get(supervisor.call.remote(encode_request(Request("r", body))), timeout=30))
            assert reply.refusal is not None
    flood = [TakeOrders("f" * 64, f"actor-{number}", "i") for number in range(1500)]
    answers = [supervisor.call.remote(encode_request(Request(f"f{n}", body))) for n, body in enumerate(flood)]
    assert scheduler.get_pool(pool)["pool"]["agents"] == 1, "look-ups are answered beside a flood of polls"
    scheduler.create_agent("beside", pool, Plain, resources={"cpu": 0.1})
    del answers
    after = scheduler.get_agent("safe")["agent"]
    assert {**after, "handle": None} == {**before, "handle": None}
    assert call(after, "who") == "safe"


def test_an_agent_whose_placement_group_is_removed_ends_and_says_why(scheduler: Scheduler, pool: str) -> None:
    group = placement_group([{"CPU": 0.5}])
    assert group.wait(30)
    options = {"scheduling_strategy": PlacementGroupSchedulingStrategy(group)}
    scheduler.create_agent("grouped", pool, Plain, resources={"cpu": 0.1}, ray_options=options)
    remove_placement_group(group)
    assert eventually(lambda: state_of(scheduler, "grouped") == "failed")
    assert scheduler.get_agent("grouped")["agent"]["cause"] == "its placement group was removed"
    assert living_actors("grouped") == []
    assert scheduler.get_pool(pool)["pool"]["agents"] == 0


def test_a_strategy_object_given_twice_is_the_same_request(scheduler: Scheduler, pool: str) -> None:
    node = ray.get_runtime_context().get_node_id()
    answers = [
        scheduler.create_agent(
            "labelled",
            pool,
            Plain,
            resources={"cpu": 0.1},
            ray_options={
                "get_if_exists": True,
                "scheduling_strategy": NodeLabelSchedulingStrategy({"ray.io/node-id": In(node)}),
            },
        )
        for _ in range(2)
    ]
    assert [answer["created"] for answer in answers] == [True, False]


def test_an_agent_that_waits_for_a_place_for_its_next_process_is_deleted_at_once(
    scheduler: Scheduler, pool: str
) -> None:
    """It needs what another actor takes as soon as its process has gone."""
    scheduler.resize_pool(pool, resources={"cpu": 2, "head_only": 1})
    need = {"cpu": 0.1, "head_only": 1}
    agent = scheduler.create_agent("squeezed", pool, Plain, resources=need)["agent"]
    remote: Any = ray.remote
    taker = remote(Plain).options(num_cpus=0, resources={"head_only": 1}).remote("taker", {})
    kill_agent(agent)
    assert ray.get(taker.who.remote(), timeout=60) == "taker"
    assert eventually(lambda: scheduler.get_agent("squeezed")["agent"]["pid"] is None)
    last = scheduler.delete_agent("squeezed", grace_s=600)["agent"]
    assert last["state"] == "stopped"
    ray.kill(taker)


def test_the_threads_of_a_driver_share_one_launcher(scheduler: Scheduler, pool: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = [
            threads.submit(scheduler.create_agent, f"thread-{number}", pool, Plain, resources={"cpu": 0.1})
            for number in range(4)
        ]
        assert [one.result()["created"] for one in made] == [True] * 4
    assert len(own_launchers()) == 1


def test_an_environment_that_ray_cannot_set_up_fails_the_start_with_the_reason(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    code = f"""
import ray, schedulemesh
ray.init(runtime_env={{"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"}}, log_to_driver=False)
class Plain(schedulemesh.AgentActor):
    pass
try:
    schedulemesh.connect({MESH!r}).create_agent("nowhere", "jobs", Plain, resources={{"cpu": 0.1}})
except schedulemesh.AgentStartError as error:
    print("failed:", " ".join(str(error).split()))
"""
    printed = driver.run(code)
    assert "its environment could not be set up" in printed
    assert "_ray_pkg_0123456789abcdef" in printed
    assert scheduler.get_pool(pool)["pool"]["agents"] == 0


def test_a_module_that_was_broken_in_the_launcher_works_once_it_is_mended(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    folder = driver.folder / "broken"
    folder.mkdir()
    (folder / "fine.py").write_text("VALUE = 1\n")
    (folder / "shaky.py").write_text(
        "import os, fine\nassert 'HERE' in os.environ or fine.VALUE == 2, 'still broken'\n"
        "from schedulemesh import AgentActor\nclass Shaky(AgentActor):\n    def value(self):\n        return fine.VALUE\n"
    )
    code = f"""
import os, pathlib
os.environ["HERE"] = "1"
import ray, schedulemesh
from shaky import Shaky
scheduler = schedulemesh.connect({MESH!r})
try:
    scheduler.create_agent("shaky", "jobs", Shaky, resources={{"cpu": 0.1}})
except schedulemesh.AgentStartError as error:
    print("failed", "still broken" in str(error))
pathlib.Path("fine.py").write_text("VALUE = 2\\n")
agent = scheduler.create_agent("shaky", "jobs", Shaky, resources={{"cpu": 0.1}})["agent"]
print("value", ray.get(agent["handle"].value.remote()))
"""
    printed = driver.run(code, folder="broken")
    assert "failed True" in printed
    assert "value 2" in printed


def test_an_agent_hands_its_variables_on_to_the_agents_that_it_creates(
    scheduler: Scheduler, pool: str, driver: DriverRunner
) -> None:
    code = f"""
import os
import ray, schedulemesh
class Told(schedulemesh.AgentActor):
    def told(self):
        return {{name: os.environ.get(name) for name in ("A", "LD_LIBRARY_PATH", "B", "C", "HOOKED")}}
    def kin(self, name):
        env = {{"env_vars": {{"C": "of-" + name, "B": "${{A}}/child"}}}}
        agent = self.supervisor.create_agent(name, "jobs", Told, resources={{"cpu": 0.1}}, ray_options={{"runtime_env": env}})
        plain = self.supervisor.create_agent(name + "-plain", "jobs", Told, resources={{"cpu": 0.1}})
        return [ray.get(one["agent"]["handle"].told.remote()) for one in (agent, plain)]
scheduler = schedulemesh.connect({MESH!r})
env = {{"env_vars": {{"A": "/opt", "LD_LIBRARY_PATH": "${{A}}/lib64", "B": "b"}}}}
maker = scheduler.create_agent("maker", "jobs", Told, resources={{"cpu": 0.1}}, ray_options={{"runtime_env": env}})
maker = maker["agent"]["handle"]
print("TOLD", ray.get(maker.told.remote()))
print("KIN", ray.get(maker.kin.remote("kid")))
"""
    printed = driver.run(code).splitlines()
    own = {"A": "/opt", "LD_LIBRARY_PATH": "/opt/lib64", "B": "b", "C": None, "HOOKED": None}
    assert f"TOLD {own}" in printed
    kid = {**own, "B": "/opt/child", "C": "of-kid"}
    assert f"KIN {[kid, own]}" in printed
    scheduler.delete_agent("maker", force=True)
    for name, told in (("kid", kid), ("kid-plain", own)):
        kill_agent(scheduler.get_agent(name)["agent"])
        assert eventually(lambda name=name: scheduler.get_agent(name)["agent"]["restarts"] == 1)  # type: ignore[misc]
        assert call(scheduler.get_agent(name)["agent"], "told") == told, "a restart has its creator's variables too"


def test_under_ray_client_the_handle_of_one_agent_is_an_argument_of_another(
    scheduler: Scheduler, pool: str, driver: DriverRunner, cluster: RealCluster
) -> None:
    code = f"""
import ray, schedulemesh
ray.init({cluster.client_address!r})
class Answers(schedulemesh.AgentActor):
    def answer(self):
        return 42
class Asks(schedulemesh.AgentActor):
    def __init__(self, name, labels, supervisor=None, *, friend=None):
        super().__init__(name, labels, supervisor)
        self.friend = friend
    def ask(self, friend=None):
        return ray.get((friend or self.friend).answer.remote())
scheduler = schedulemesh.connect({MESH!r})
one = scheduler.create_agent("answers", "jobs", Answers, resources={{"cpu": 0.1}})["agent"]["handle"]
other = scheduler.create_agent("asks", "jobs", Asks, resources={{"cpu": 0.1}}, actor_kwargs={{"friend": one}})["agent"]
print("asked", ray.get(other["handle"].ask.remote()), ray.get(other["handle"].ask.remote(one)))
"""
    assert "asked 42 42" in driver.run(code)
