"""Orderly ends on a real cluster: calls under way finish, then the hook runs, then the capacity is back."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from raycluster import eventually
from rayview import living_actors, row_of

import schedulemesh
from schedulemesh import AgentActor, Scheduler


class Works(AgentActor):
    """Writes down what it does, in the order in which it does it; holds on while a file named as the step exists."""

    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, folder: str) -> None:
        super().__init__(name, labels, supervisor)
        self.folder = Path(folder)

    def note(self, step: str) -> None:
        with (self.folder / "story").open("a") as story:
            story.write(f"{step}\n")

    def hold(self, step: str) -> None:
        self.note(f"{step} begins")
        while (self.folder / step).exists():
            time.sleep(0.02)
        self.note(f"{step} ends")

    def work(self) -> int:
        self.hold("work")
        return os.getpid()

    def count(self, up_to: int) -> Iterator[int]:
        for number in range(up_to):
            self.hold("work")
            yield number

    def on_stop(self) -> None:
        self.hold("hook")


class WorksOnALoop(AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *, folder: str) -> None:
        super().__init__(name, labels, supervisor)
        self.folder = Path(folder)
        self.background: asyncio.Task[None] | None = None

    async def hold(self, step: str) -> None:
        with (self.folder / "story").open("a") as story:
            story.write(f"{step} begins\n")
        while (self.folder / step).exists():
            await asyncio.sleep(0.02)
        with (self.folder / "story").open("a") as story:
            story.write(f"{step} ends\n")

    async def work(self) -> int:
        self.background = asyncio.get_running_loop().create_task(self.forever())
        await self.hold("work")
        return os.getpid()

    async def forever(self) -> None:
        await asyncio.Event().wait()

    async def on_stop(self) -> None:
        assert self.background is not None
        self.background.cancel()
        await self.hold("hook")


class WorksInAGroup(WorksOnALoop):
    """Ray runs its work on an event loop of the group's own."""

    @ray.method(concurrency_group="work")
    async def work_in_group(self) -> int:
        await self.hold("work")
        return os.getpid()

    async def on_stop(self) -> None:
        await self.hold("hook")


class Complains(Works):
    def on_stop(self) -> None:
        self.note("hook begins")
        raise RuntimeError("cannot say goodbye")


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("ends", resources={"cpu": 0.5}, target_agents=1)
    return "ends"


class Case:
    """One agent at work, and its end asked for in a thread of its own."""

    def __init__(self, scheduler: Scheduler, pool: str, folder: Path, cls: Any, **options: Any) -> None:
        self.scheduler = scheduler
        self.folder = folder
        options = {"max_concurrency": 8, **options}
        kwargs = {"folder": str(folder)}
        self.agent = scheduler.create_agent("ends", pool, cls, ray_options=options, actor_kwargs=kwargs)["agent"]
        self.reply: Any = None
        self.deleting = threading.Thread(target=self._delete)

    def story(self) -> list[str]:
        path = self.folder / "story"
        return path.read_text().splitlines() if path.exists() else []

    def gate(self, step: str) -> Path:
        path = self.folder / step
        path.touch()
        return path

    def is_stopping(self) -> bool:
        return self.scheduler.get_agent("ends")["agent"]["state"] == "stopping"

    def delete(self) -> None:
        self.deleting.start()
        assert eventually(self.is_stopping)

    def _delete(self) -> None:
        self.reply = self.scheduler.delete_agent("ends", grace_s=60)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (Works, {"max_concurrency": 1}),
        (Works, {}),
        (WorksOnALoop, {}),
        (WorksInAGroup, {"concurrency_groups": {"work": 2}}),
    ],
    ids=["one", "threads", "loop", "group"],
)
def test_a_call_finishes_then_the_hook_runs_then_the_capacity_is_back(
    scheduler: Scheduler, pool: str, tmp_path: Path, cls: Any, options: dict[str, Any]
) -> None:
    case = Case(scheduler, pool, tmp_path, cls, **options)
    work, hook = case.gate("work"), case.gate("hook")
    handle = case.agent["handle"]
    call = (handle.work_in_group if cls is WorksInAGroup else handle.work).remote()
    assert eventually(lambda: "work begins" in case.story())
    case.delete()
    assert case.story() == ["work begins"]
    work.unlink()
    assert ray.get(call, timeout=30) == case.agent["pid"]
    assert eventually(lambda: "hook begins" in case.story())
    assert row_of(case.agent).state == 2, "Ray says ALIVE while the hook runs"
    assert scheduler.get_pool(pool)["pool"]["available_resources"]["cpu"] == 0.0
    with pytest.raises(schedulemesh.InsufficientPoolCapacityError):
        scheduler.create_agent("next", pool, Works, actor_kwargs={"folder": str(tmp_path)})
    hook.unlink()
    case.deleting.join(60)
    assert case.reply["agent"]["state"] == "stopped"
    assert case.story() == ["work begins", "work ends", "hook begins", "hook ends"]
    assert eventually(lambda: not Path(f"/proc/{case.agent['pid']}").exists())


def test_the_next_agent_that_needs_exactly_that_capacity_starts_at_once(
    scheduler: Scheduler, pool: str, tmp_path: Path
) -> None:
    kwargs = {"folder": str(tmp_path)}
    for force in (False, True, False):
        scheduler.create_agent("heir", pool, Works, actor_kwargs=kwargs, ray_options={"max_concurrency": 8})
        assert len(living_actors("heir")) == 1
        scheduler.delete_agent("heir", grace_s=30, force=force)
    assert scheduler.get_pool(pool)["pool"]["available_resources"]["cpu"] == 0.5


def test_a_stream_that_is_under_way_is_read_to_its_end(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
    case = Case(scheduler, pool, tmp_path, Works)
    work = case.gate("work")
    stream = case.agent["handle"].count.options(num_returns="streaming").remote(5)
    assert eventually(lambda: "work begins" in case.story())
    case.delete()
    work.unlink()
    assert [ray.get(item) for item in stream] == [0, 1, 2, 3, 4]
    case.deleting.join(60)
    assert case.reply["agent"]["state"] == "stopped"


@pytest.mark.parametrize("step", ["work", "hook"])
def test_what_hangs_is_killed_at_the_deadline(scheduler: Scheduler, pool: str, tmp_path: Path, step: str) -> None:
    case = Case(scheduler, pool, tmp_path, Works)
    case.gate(step)
    call = case.agent["handle"].work.remote()
    assert eventually(lambda: "work begins" in case.story())
    before = time.monotonic()
    assert scheduler.delete_agent("ends", grace_s=2)["agent"]["state"] == "stopped"
    assert time.monotonic() - before >= 2
    assert ("hook begins" in case.story()) == (step == "hook")
    assert "hook ends" not in case.story()
    assert living_actors("ends") == []
    assert eventually(lambda: not Path(f"/proc/{case.agent['pid']}").exists())
    if step == "work":
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(call, timeout=30)
    scheduler.create_agent("next", pool, Works, actor_kwargs={"folder": str(tmp_path)})


def test_a_hook_that_raises_keeps_nothing_alive(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
    case = Case(scheduler, pool, tmp_path, Complains)
    assert scheduler.delete_agent("ends", grace_s=60)["agent"]["state"] == "stopped"
    assert case.story() == ["hook begins"]


def test_force_kills_without_the_hook(scheduler: Scheduler, pool: str, tmp_path: Path) -> None:
    case = Case(scheduler, pool, tmp_path, Works)
    case.gate("hook")
    scheduler.delete_agent("ends", force=True)
    assert case.story() == []


def test_an_agent_that_is_called_without_pause_ends_all_the_same(
    scheduler: Scheduler, pool: str, tmp_path: Path
) -> None:
    case = Case(scheduler, pool, tmp_path, Works)
    leaving = threading.Event()

    def call() -> None:
        while not leaving.is_set():
            try:
                ray.get(case.agent["handle"].work.remote(), timeout=30)
            except ray.exceptions.RayActorError:
                return

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        assert eventually(lambda: case.story().count("work ends") > 20)
        assert scheduler.delete_agent("ends", grace_s=60)["agent"]["state"] == "stopped"
        assert case.story().count("hook ends") == 1
    finally:
        leaving.set()
        for caller in callers:
            caller.join(60)
