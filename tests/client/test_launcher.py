"""The launcher of a driver's job: asked for before what needs one, and never a reason to fail."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RaySystemError

from schedulemesh.client import launcher as module
from schedulemesh.client.launcher import JobLauncher, given_variables
from schedulemesh.core.environments import Environment, environment_key


class Job:
    """The driver's connection to Ray."""

    def __init__(self) -> None:
        self.session = ("01", "n1")
        self.environment = Environment(paths=["/code"], node_id="n1")
        self.looks = 0
        self.created: list[tuple[str, str, str, str]] = []
        self.problem: Exception | None = None

    def look(self) -> Environment:
        self.looks += 1
        return self.environment

    def create(self, mesh: str, namespace: str, key: str, *, node_id: str) -> None:
        self.created.append((mesh, namespace, key, node_id))
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    one = Job()
    monkeypatch.setattr(module, "session", lambda: one.session)
    monkeypatch.setattr(module, "current_environment", one.look)
    monkeypatch.setattr(module, "create_launcher", one.create)
    return one


def test_a_launcher_is_asked_for_each_time_as_the_last_one_may_have_gone(job: Job) -> None:
    launcher = JobLauncher("mesh", "ns")
    for _ in range(2):
        launcher.ensure()
    assert job.created == [("mesh", "ns", environment_key(job.environment), "n1")] * 2


def test_looking_at_the_environment_asks_for_no_launcher(job: Job) -> None:
    assert JobLauncher("mesh", "ns").environment() == job.environment
    assert job.created == []


def test_the_environment_is_read_once_for_each_connection_to_ray(job: Job) -> None:
    launcher = JobLauncher("mesh", "ns")
    for _ in range(3):
        launcher.ensure()
    assert job.looks == 1
    job.session, job.environment = ("02", "n2"), Environment(node_id="n2")
    launcher.ensure()
    assert launcher.environment() == Environment(node_id="n2")
    assert (job.looks, job.created[-1]) == (2, ("mesh", "ns", environment_key(job.environment), "n2"))


@pytest.mark.parametrize("problem", [ValueError("no such node"), RaySystemError("the GCS is away")], ids=repr)
def test_where_ray_cannot_create_one_the_supervisor_does(job: Job, problem: Exception) -> None:
    job.problem = problem
    JobLauncher("mesh", "ns").ensure()
    assert len(job.created) == 1


@pytest.mark.parametrize(
    ("loaded", "variables"),
    [(None, {}), (SimpleNamespace(given=lambda: {"TOKEN": "secret"}), {"TOKEN": "secret"})],
    ids=["driver", "agent"],
)
def test_only_an_agents_process_has_variables_to_hand_on(
    monkeypatch: pytest.MonkeyPatch, loaded: Any, variables: dict[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "schedulemesh.runtime.env_vars", loaded)
    assert given_variables() == variables
