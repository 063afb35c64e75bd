"""SIGKILL of the supervisor on a real cluster: nothing lost, nothing twice, and nobody who called notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from drivers import MESH
from kvstore import keys_of
from ray import ActorID
from raycluster import eventually
from rayview import DEAD, kill_supervisor, living_actors, table

import schedulemesh
from schedulemesh import AgentActor, Scheduler
from schedulemesh.core.messages import Request, decode_reply, encode_request
from schedulemesh.raycompat.deaths import was_never_created


class Plain(AgentActor):
    def ping(self) -> str:
        return "pong"


class Slow(AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, gate: str) -> None:
        super().__init__(name, labels, supervisor)
        while not Path(gate).exists():
            time.sleep(0.02)


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("crash", labels={"kind": "test"}, resources={"cpu": 0.1}, target_agents=8)
    return "crash"


@contextmanager
def calling(agent: Any) -> Iterator[list[str]]:
    """Calls the agent without pause; yields the list of failures, which must stay empty."""
    failures: list[str] = []
    done = threading.Event()
    handle, calls = agent["handle"], 0

    def run() -> None:
        nonlocal calls
        while not done.is_set():
            try:
                assert ray.get(handle.ping.remote(), timeout=10) == "pong"
                calls += 1
            except Exception as error:
                failures.append(repr(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield failures
    finally:
        done.set()
        thread.join(30)
    assert calls > 10


def books(scheduler: Scheduler) -> Any:
    """All that must be the same after a crash."""
    agents = [{**agent, "handle": None} for agent in scheduler.list_agents()["agents"]]
    return scheduler.list_pools()["pools"], sorted(agents, key=lambda agent: str(agent["name"]))


def test_an_idle_mesh_comes_back_whole_while_its_agents_answer(scheduler: Scheduler, pool: str) -> None:
    first = scheduler.create_agent("a", pool, Plain)["agent"]
    theirs = {"name": "theirs", "namespace": "elsewhere"}
    scheduler.create_agent("b", pool, Plain, labels={"own": "label"}, ray_options=theirs)
    before = books(scheduler)
    with calling(first) as failures:
        pid = kill_supervisor(scheduler)
        assert scheduler.status()["pid"] != pid
        assert eventually(lambda: books(scheduler) == before), books(scheduler)
    assert failures == []
    scheduler.create_agent("c", pool, Plain)
    scheduler.delete_agent("a")
    assert {row.name for row in living_actors()} == {"theirs", "c"}
    assert ray.get(ray.get_actor("theirs", namespace="elsewhere").ping.remote()) == "pong"
    scheduler.delete_agent("b")
    assert {row.name for row in living_actors()} == {"c"}


class Lingers(AgentActor):
    """Ends when the gate is there, and notes when its hook begins and ends."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, gate: str) -> None:
        super().__init__(name, labels, supervisor)
        self.gate = Path(gate)

    def on_stop(self) -> None:
        self.note("begins")
        while not self.gate.exists():
            time.sleep(0.02)
        self.note("ends")

    def note(self, what: str) -> None:
        with self.gate.with_suffix(".hook").open("a") as story:
            story.write(f"{what}\n")


def test_creates_and_a_delete_under_way_are_finished_without_being_repeated(
    scheduler: Scheduler, pool: str, tmp_path: Path
) -> None:
    coming, going = tmp_path / "coming", tmp_path / "going"
    witness = scheduler.create_agent("witness", pool, Plain)["agent"]
    scheduler.create_agent("going", pool, Lingers, actor_kwargs={"gate": str(going)})
    replies: dict[str, Any] = {}

    def create(name: str) -> None:
        replies[name] = scheduler.create_agent(name, pool, Slow, actor_kwargs={"gate": str(coming)})

    def delete() -> None:
        replies["going"] = scheduler.delete_agent("going")

    threads = [threading.Thread(target=create, args=(f"s{n}",)) for n in range(3)]
    threads.append(threading.Thread(target=delete))
    for thread in threads:
        thread.start()
    assert eventually(lambda: len([row for row in living_actors() if row.pid]) == 5, timeout_s=60)
    assert eventually(going.with_suffix(".hook").exists)
    with calling(witness) as failures:
        kill_supervisor(scheduler)
        assert eventually(lambda: scheduler.status()["agents"]["starting"] == 3)
        assert scheduler.get_agent("going")["agent"]["state"] == "stopping"
        assert scheduler.get_pool(pool)["pool"]["agents"] == 5, "capacity is held until the end was seen"
        for gate in (coming, going):
            gate.write_text("go")
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert replies.pop("going")["agent"]["state"] == "stopped"
    assert going.with_suffix(".hook").read_text() == "begins\nends\n", "the hook ran once, to its end"
    assert {name: reply["created"] for name, reply in replies.items()} == {"s0": True, "s1": True, "s2": True}
    assert sorted(row.name for row in living_actors()) == ["s0", "s1", "s2", "witness"]
    assert scheduler.get_pool(pool)["pool"]["agents"] == 4


def test_creates_that_had_just_been_admitted_are_carried_out(scheduler: Scheduler, pool: str) -> None:
    replies: list[Any] = []
    requests = [schedulemesh.AgentRequest(f"r{n}", pool, Plain) for n in range(3)]
    creator = threading.Thread(target=lambda: replies.extend(scheduler.create_agents(requests)))
    creator.start()
    assert eventually(lambda: scheduler.get_pool(pool)["pool"]["agents"] == 3)
    kill_supervisor(scheduler)
    creator.join(120)
    assert [reply["agent"]["state"] for reply in replies] == ["running"] * 3
    assert sorted(row.name for row in living_actors()) == [f"r{n}" for n in range(3)]


def test_an_agent_that_died_while_the_supervisor_was_down_is_found_out(scheduler: Scheduler, pool: str) -> None:
    import os
    import signal

    agent = scheduler.create_agent("unseen", pool, Plain, ray_options={"max_restarts": 0})["agent"]
    pid = scheduler.status()["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert agent["pid"] is not None
    os.kill(agent["pid"], signal.SIGKILL)
    assert eventually(lambda: living_actors("unseen") == [])
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: scheduler.get_agent("unseen")["agent"]["state"] == "failed")
    assert "died" in str(scheduler.get_agent("unseen")["agent"]["cause"])
    assert scheduler.get_pool(pool)["pool"]["agents"] == 0


def test_a_thousand_waiting_creators_do_not_delay_a_look_up(scheduler: Scheduler) -> None:
    """A thousand calls wait; their agents ask for something that one other agent holds, so Ray lets them wait too."""
    scheduler.create_pool("crowd", resources={"worker_only": 2000}, overcommit=True)
    need = {"worker_only": 1.0}
    scheduler.create_pool("holds-it", resources=need, overcommit=True)
    scheduler.create_agent("holder", "holds-it", Plain, resources=need)
    bodies = [scheduler._body(schedulemesh.AgentRequest(f"w{n}", "crowd", Plain, resources=need)) for n in range(1000)]
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    waiting = [supervisor.call.remote(encode_request(Request(body.request_id, body))) for body in bodies]
    assert eventually(lambda: scheduler.status()["agents"]["starting"] == 1000, timeout_s=60)
    for _ in range(20):
        assert scheduler.get_pool("crowd")["pool"]["agents"] == 1000
    assert ray.wait(waiting, num_returns=1, timeout=0)[0] == [], "they were all still waiting"
    scheduler.delete_pool("crowd", force=True)
    replies = [decode_reply(reply) for reply in ray.get(waiting, timeout=120)]
    assert {reply.refusal.error for reply in replies if reply.refusal} == {"AgentStartError"}
    assert [row.name for row in living_actors()] == ["holder"]


def test_a_mesh_with_a_colon_in_its_name_comes_back_whole_and_leaves_nothing(cluster: object) -> None:
    """Ray cuts its keys at the first colon."""
    mesh = schedulemesh.connect("team:ml", namespace="prod:eu", log_to_driver=False)
    mesh.create_pool("p", resources={"cpu": 0.1}, target_agents=1)
    mesh.create_agent("x", "p", Plain)
    assert keys_of("team:ml", "prod:eu")
    assert not keys_of("team", "prod:eu")
    kill_supervisor(mesh)
    assert [pool["name"] for pool in mesh.list_pools()["pools"]] == ["p"]
    with pytest.raises(schedulemesh.MeshNotEmptyError):
        mesh.stop()
    mesh.stop(force=True)
    assert not keys_of("team:ml", "prod:eu")
    with pytest.raises(schedulemesh.SupervisorNotRunningError):
        mesh.status()
    named = ray.util.list_named_actors(all_namespaces=True)
    assert not [actor["name"] for actor in named if actor["namespace"] == "prod:eu"]


def test_the_supervisor_is_what_a_control_plane_should_be(scheduler: Scheduler) -> None:
    (row,) = [row for row in table().values() if row.name == MESH and row.state != DEAD]
    assert row.is_detached
    assert row.max_restarts == -1
    assert dict(row.required_resources) == {"node:__internal_head__": 0.001}
    head = next(n["NodeID"] for n in ray.nodes() if "node:__internal_head__" in n["Resources"])
    assert row.node_id.hex() == head
    assert row.serialized_runtime_env in ("", "{}")
    assert ray.get_actor(MESH, namespace="schedulemesh")._ray_max_task_retries == -1


def test_an_actor_that_ray_drops_with_its_maker_is_told_from_one_that_ended(cluster: object) -> None:
    made: Any = ray.remote(Plain)

    class Maker:
        def make(self, name: str, after: list[Any]) -> str:
            return str(
                made.options(name=name, lifetime="detached", num_cpus=0).remote(name, {}, *after)._actor_id.hex()
            )

    class Other:
        def never(self) -> None:
            threading.Event().wait()

    maker_class: Any = ray.remote(Maker)
    other_class: Any = ray.remote(Other)
    maker = maker_class.options(num_cpus=0).remote()
    # What `asked` waits for is not the maker's: Ray would say it had failed while the dying maker can still hear it.
    other = other_class.options(num_cpus=0).remote()
    begun = ray.get(maker.make.remote("begun", []))
    ray.get(ray.get_actor("begun").__ray_ready__.remote(), timeout=60)
    asked = ray.get(maker.make.remote("asked", [other.never.remote()]))
    ray.kill(maker)
    assert eventually(lambda: was_never_created(table()[ActorID.from_hex(asked)]))
    assert not was_never_created(table()[ActorID.from_hex(begun)]), "it lives"
    ray.kill(ray.get_actor("begun"))
    assert eventually(lambda: table()[ActorID.from_hex(begun)].state == DEAD)
    assert not was_never_created(table()[ActorID.from_hex(begun)]), "it was ended"
