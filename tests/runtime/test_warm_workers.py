"""A launcher's warm processes: only those of its own environment count, and no more are asked for than are missing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import ray

from schedulemesh.core.launch_protocol import WarmWorkersSeen
from schedulemesh.runtime import raylet as raylet_module
from schedulemesh.runtime import warm_workers
from schedulemesh.runtime.raylet import NotOfferedError
from schedulemesh.runtime.warm_workers import WarmWorkers, _traits

CORES = 2
OURS = {"PYTHONPATH": "ours"}


class Raylet:
    """Starts what it is asked for, late."""

    def __init__(self) -> None:
        self.processes: list[int] = []
        self.asked: list[int] = []
        self.found = 0
        self.problem: Exception | None = None

    async def of_this_node(self) -> Raylet:
        self.found += 1
        if self.problem is not None:
            raise self.problem
        return self

    async def prestart(self, count: int, keep_alive_s: int) -> None:
        self.asked.append(count)

    async def idle(self) -> list[int]:
        return self.processes


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Raylet:
    one = Raylet()
    monkeypatch.setattr(raylet_module, "Raylet", one)
    monkeypatch.setattr(os, "cpu_count", lambda: CORES)
    monkeypatch.setattr(warm_workers, "_traits", lambda pid: "ours" if pid == "self" or int(pid) > 0 else "others")
    return one


def keep(workers: WarmWorkers, count: int) -> tuple[int, int]:
    seen = asyncio.run(workers.keep(count))
    assert seen.offered
    return seen.ready, seen.coming


def test_nobody_is_asked_before_some_are_wanted_and_the_raylet_is_looked_for_once(raylet: Raylet) -> None:
    workers = WarmWorkers()
    assert raylet.found == 0
    for _ in range(3):
        keep(workers, 1)
    assert raylet.found == 1


def test_a_ray_that_does_not_offer_it_is_reported_as_such(raylet: Raylet) -> None:
    raylet.problem = NotOfferedError("PrestartWorkers")
    assert asyncio.run(WarmWorkers().keep(1)) == WarmWorkersSeen(0, 0, offered=False)


def test_a_raylet_that_could_not_be_reached_is_looked_for_again(raylet: Raylet) -> None:
    raylet.problem = ConnectionError("it is away")
    workers = WarmWorkers()
    with pytest.raises(ConnectionError):
        asyncio.run(workers.keep(1))
    raylet.problem = None
    assert keep(workers, 1) == (0, 1)


def test_those_that_were_asked_for_are_waited_for_before_more_are(raylet: Raylet) -> None:
    workers = WarmWorkers()
    assert [keep(workers, 4) for _ in range(3)] == [(0, 2)] * 3
    assert raylet.asked == [CORES]
    raylet.processes = [1]
    assert keep(workers, 4) == (1, 2)
    assert raylet.asked == [CORES, 1]
    raylet.processes = [1, 2, 3]
    assert keep(workers, 4) == (3, 1)
    assert raylet.asked == [CORES, 1, 1]


def test_those_that_never_come_are_asked_for_again(raylet: Raylet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_workers, "PATIENCE_S", -1.0)
    workers = WarmWorkers()
    assert [keep(workers, 1) for _ in range(2)] == [(0, 1)] * 2
    assert raylet.asked == [1, 1]


def test_those_that_come_are_reckoned_with_when_fewer_are_wanted(raylet: Raylet) -> None:
    workers = WarmWorkers()
    keep(workers, 2)
    assert keep(workers, 0) == (0, 2)


def test_processes_of_another_environment_do_not_count(raylet: Raylet) -> None:
    raylet.processes = [-1, -2, 3]
    assert keep(WarmWorkers(), 1) == (1, 0)
    assert raylet.asked == []


def test_no_more_agents_are_placed_here_than_processes_are_ready(
    raylet: Raylet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_workers, "NodeAffinitySchedulingStrategy", lambda *_, **__: "here")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=str))
    raylet.processes = [1, 2]
    workers = WarmWorkers()
    assert workers.placement({}) == "DEFAULT"
    keep(workers, 2)
    assert workers.placement({"label_selector": {"zone": "a"}}) == "DEFAULT"
    assert [workers.placement({}) for _ in range(3)] == ["here", "here", "DEFAULT"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    env = {**OURS, "RAY_JOB_ID": "07"}
    process = subprocess.Popen([sys.executable, "-c", "input()"], env=env, stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def test_what_a_process_was_started_with_is_read_from_it(sleeper: subprocess.Popen[bytes]) -> None:
    assert _traits(str(sleeper.pid)) == {b"PYTHONPATH=ours"}


def test_a_process_that_is_gone_is_of_no_environment() -> None:
    assert _traits("0") == frozenset()
