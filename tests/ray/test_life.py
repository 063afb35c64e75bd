"""An agent's life on a real cluster: its start, its crashes, its end, and what each does to the books."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
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
    def __init__(
        self, name: str, labels: dict[str, str], supervisor: Any = None, *, gate: str, cargo: str = ""
    ) -> None:
        super().__init__(name, labels, supervisor)
        self.cargo = cargo
        while not Path(gate).exists():
            time.sleep(0.05)

    def weight(self) -> int:
        return len(self.cargo)


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


def test_a_constructor_that_raises_shows_the_users_own_line_and_one_that_is_too_slow_is_ended(
    scheduler: Scheduler, pool: str, tmp_path: Path
) -> None:
    gate = {"gate": str(tmp_path / "never")}
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(scheduler.create_agent, "slow", pool, Slow, actor_kwargs=gate, timeout_s=15)
        assert eventually(lambda: free_cpu(scheduler, pool) == 0.5)
        with pytest.raises(schedulemesh.AgentStartError) as failure:
            scheduler.create_agent("raises", pool, Raises)
        assert 'raise RuntimeError("the model file is not there")' in str(failure.value)
        assert "test_life.py" in failure.value.cause
        assert state_of(scheduler, "raises") == "failed"
        scheduler.create_agent("raises", pool, Plain)  # there is room: what failed holds nothing
        with pytest.raises(schedulemesh.AgentStartTimeoutError, match="constructor was still running"):
            slow.result(60)
    assert free_cpu(scheduler, pool) == 0.5
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
    """Its arguments, far larger than what Ray passes on inline, are there again too."""
    gate = tmp_path / "gate"
    gate.write_text("open")
    kwargs = {"gate": str(gate), "cargo": "x" * 3_000_000}
    agent = scheduler.create_agent("phoenix", pool, Slow, actor_kwargs=kwargs)["agent"]
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
    assert call(again, "weight") == 3_000_000


def test_an_agent_without_restarts_fails_and_gives_its_capacity_back(scheduler: Scheduler, pool: str) -> None:
    agent = scheduler.create_agent("mortal", pool, Plain, ray_options={"max_restarts": 0})["agent"]
    assert row_of(agent).max_restarts == 0
    kill_agent(agent)
    assert eventually(lambda: state_of(scheduler, "mortal") == "failed")
    ended = scheduler.get_agent("mortal")["agent"]
    assert "worker process has died" in str(ended["cause"])
    assert ended["handle"] is None
    assert free_cpu(scheduler, pool) == 1.0


def test_an_agent_can_be_deleted_while_it_starts(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
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
