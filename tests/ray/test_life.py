"""An agent's life on a real cluster: its start, its crashes, its end, and what each does to the books."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray
from raycluster import eventually
from rayview import call, kill_agent, living_actors, row_of, state_of

import schedulemesh
from schedulemesh import AgentActor, Scheduler


class Plain(AgentActor):
    def ping(self) -> str:
        return "pong"


class Raises(AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None) -> None:
        raise RuntimeError("the model file is not there")


class Slow(AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, gate: str) -> None:
        super().__init__(name, labels, supervisor)
        while not Path(gate).exists():
            time.sleep(0.05)


@ray.remote
class Decorated(AgentActor):
    def ping(self) -> str:
        return "decorated pong"


class Unrelated:
    """Any class with the constructor is an agent."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any, greeting: str, *, times: int) -> None:
        self.said = f"{greeting} {name}" * times

    def say(self) -> str:
        return self.said


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("life", resources={"cpu": 0.5}, target_agents=2)
    return "life"


def free_cpu(scheduler: Scheduler, pool: str) -> float:
    return scheduler.get_pool(pool)["pool"]["available_resources"]["cpu"]


def test_a_decorated_class_and_a_stranger_are_agents_too(scheduler: Scheduler, pool: str) -> None:
    decorated = scheduler.create_agent("d", pool, Decorated)["agent"]
    stranger = scheduler.create_agent("s", pool, Unrelated, actor_args=["hi"], actor_kwargs={"times": 2})["agent"]
    assert call(decorated, "ping") == "decorated pong"
    assert call(stranger, "say") == "hi shi s"


def test_a_constructor_that_raises_shows_the_users_own_line(scheduler: Scheduler, pool: str) -> None:
    with pytest.raises(schedulemesh.AgentStartError) as failure:
        scheduler.create_agent("raises", pool, Raises)
    assert 'raise RuntimeError("the model file is not there")' in str(failure.value)
    assert "test_life.py" in failure.value.cause
    assert free_cpu(scheduler, pool) == 1.0
    assert state_of(scheduler, "raises") == "failed"
    scheduler.create_agent("raises", pool, Plain)


def test_a_constructor_that_is_too_slow_is_ended(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
    with pytest.raises(schedulemesh.AgentStartTimeoutError, match="constructor was still running"):
        scheduler.create_agent("slow", pool, Slow, actor_kwargs={"gate": str(tmp_path / "never")}, timeout_s=15)
    assert free_cpu(scheduler, pool) == 1.0
    assert living_actors("slow") == []


def test_a_wrong_parameter_is_a_type_error_before_anything_starts(scheduler: Scheduler, pool: str) -> None:
    before = scheduler.status()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
        scheduler.create_agent("wrong", pool, Plain, actor_kwargs={"nope": 1})
    with pytest.raises(TypeError, match="missing a required argument"):
        scheduler.create_agent("wrong", pool, Unrelated, actor_args=["hi"])
    assert scheduler.status() == before


def test_a_killed_agent_restarts_and_holds_its_capacity_throughout(
    scheduler: Scheduler, pool: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.write_text("open")
    agent = scheduler.create_agent("phoenix", pool, Slow, actor_kwargs={"gate": str(gate)})["agent"]
    gate.unlink()
    kill_agent(agent)
    assert eventually(lambda: state_of(scheduler, "phoenix") == "restarting")
    assert free_cpu(scheduler, pool) == 0.5
    gate.write_text("open")
    assert eventually(lambda: state_of(scheduler, "phoenix") == "running")
    assert free_cpu(scheduler, pool) == 0.5
    again = scheduler.get_agent("phoenix")["agent"]
    assert again["restarts"] == 1
    assert again["pid"] != agent["pid"]
    assert again["actor_id"] == agent["actor_id"]


def test_an_agent_without_restarts_fails_and_gives_its_capacity_back(scheduler: Scheduler, pool: str) -> None:
    agent = scheduler.create_agent("mortal", pool, Plain, ray_options={"max_restarts": 0})["agent"]
    assert row_of(agent).max_restarts == 0
    kill_agent(agent)
    assert eventually(lambda: state_of(scheduler, "mortal") == "failed")
    ended = scheduler.get_agent("mortal")["agent"]
    assert "worker process has died" in str(ended["cause"])
    assert ended["handle"] is None
    assert free_cpu(scheduler, pool) == 1.0


def test_arguments_larger_than_rays_inline_limit_survive_a_restart(scheduler: Scheduler, pool: str) -> None:
    text = "x" * 3_000_000
    kwargs = {"greeting": text, "times": 1}
    agent = scheduler.create_agent("large", pool, Unrelated, actor_kwargs=kwargs)["agent"]
    kill_agent(agent)
    assert eventually(lambda: scheduler.get_agent("large")["agent"]["restarts"] == 1)
    assert eventually(lambda: state_of(scheduler, "large") == "running")
    assert len(call(agent, "say")) == len(text) + len(" large")


def test_an_agent_can_be_deleted_while_it_starts(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
    import threading

    failures: list[Exception] = []

    def create() -> None:
        try:
            scheduler.create_agent("early", pool, Slow, actor_kwargs={"gate": str(tmp_path / "never")})
        except schedulemesh.AgentStartError as error:
            failures.append(error)

    creator = threading.Thread(target=create)
    creator.start()
    assert eventually(lambda: [row.pid for row in living_actors("early") if row.pid])
    assert scheduler.delete_agent("early")["agent"]["state"] == "stopped"
    creator.join(30)
    assert "deleted while it was starting" in str(failures[0])
    assert free_cpu(scheduler, pool) == 1.0


def test_a_name_comes_back_after_a_delete(scheduler: Scheduler, pool: str) -> None:
    first = scheduler.create_agent("again", pool, Plain)["agent"]
    scheduler.delete_agent("again", force=True)
    second = scheduler.create_agent("again", pool, Plain)["agent"]
    assert first["actor_id"] != second["actor_id"]
    assert len(living_actors("again")) == 1


def test_a_strangers_actor_of_the_same_name_is_left_alone(scheduler: Scheduler, pool: str) -> None:
    @ray.remote(num_cpus=0)
    class Stranger:
        def who(self) -> str:
            return "stranger"

    actor_class: Any = Stranger
    stranger = actor_class.options(name="taken").remote()
    assert ray.get(stranger.who.remote()) == "stranger"
    with pytest.raises(schedulemesh.AgentStartError, match="is taken"):
        scheduler.create_agent("mine", pool, Plain, ray_options={"name": "taken"})
    assert ray.get(stranger.who.remote()) == "stranger"
    assert free_cpu(scheduler, pool) == 1.0
    ray.kill(stranger)
