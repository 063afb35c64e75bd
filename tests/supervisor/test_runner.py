"""The shell: it persists, then acts, then answers; it ends rather than run ahead of its store."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from dispatch_bench import sighted
from fakes import FakeCluster, FakeLaunchers, FakeStore, FakeWatcher
from mesh_driver import MESH_NAMESPACE, agent_body, node

from schedulemesh.core.messages import CreatePool, GetPool, Reply, Request, Status, Stop
from schedulemesh.supervisor.effects import ReadTable
from schedulemesh.supervisor.events import ActorPhase, Asked, Event, LaunchersCounted
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schedulemesh.supervisor.effects import Decision


class DiedError(Exception):
    """Stands for the end of the process."""


class Shell:
    """A real runner with fakes on all its ports."""

    def __init__(self, mesh: Mesh) -> None:
        self.journal: list[str] = []
        self.launchers = FakeLaunchers(self.journal)
        self.watcher = FakeWatcher(time.time)
        self.store = FakeStore(self.journal)
        self.cluster = FakeCluster()
        self.died: list[str] = []
        self.runner = Runner(
            mesh,
            store=self.store,
            launchers=self.launchers,
            watcher=self.watcher,
            cluster=self.cluster,
            clock=time.time,
            die=self.died.append,
            ended=lambda: self.journal.append("ended"),
        )

    async def ask(self, ident: str, body: Any) -> Reply:
        reply = await self.runner.ask(Request(ident, body))
        self.journal.append(f"answer {ident}")
        return reply


def run(scenario: Callable[[Shell], Awaitable[None]], mesh: Mesh | None = None) -> Shell:
    async def main() -> Shell:
        shell = Shell(mesh or Mesh(name="mesh", namespace=MESH_NAMESPACE))
        await shell.runner.start()
        await asyncio.wait_for(scenario(shell), 10)
        return shell

    return asyncio.run(main())


POOL = CreatePool(name="p", labels={}, resources={"cpu": 1.0}, target_agents=4, overcommit=False)


def test_it_persists_then_acts_then_answers() -> None:
    async def scenario(shell: Shell) -> None:
        await shell.ask("pool", POOL)
        body = agent_body("a")
        await shell.ask(body.request_id, body)

    journal = run(scenario).journal
    assert journal[:2] == ["put pool", "answer pool"]
    assert journal[2:].index("put agent") < journal[2:].index("launch a") < len(journal[2:]) - 1
    assert journal[-1].startswith("answer")


def test_a_failed_write_ends_the_process_and_answers_nobody() -> None:
    async def scenario(shell: Shell) -> None:
        shell.store.broken = True
        asked = asyncio.ensure_future(shell.ask("pool", POOL))
        while not shell.died:
            await asyncio.sleep(0)
        assert not asked.done()
        asked.cancel()

    shell = run(scenario)
    assert "the store is away" in shell.died[0]
    assert shell.store.kept == {}


def test_a_refusal_for_the_clusters_size_rests_on_a_fresh_look() -> None:
    large = CreatePool(name="large", labels={}, resources={"cpu": 100.0}, target_agents=0, overcommit=False)

    async def scenario(shell: Shell) -> None:
        looks = shell.cluster.looks
        refused = await shell.ask("one", large)
        assert refused.refusal is not None
        assert refused.refusal.error == "InsufficientClusterCapacityError"
        assert shell.cluster.looks == looks + 1
        shell.cluster.nodes = (node("big", cpu=200),)
        assert (await shell.ask("two", large)).refusal is None

    run(scenario)


def test_everyone_who_asks_the_same_gets_the_same_answer() -> None:
    async def scenario(shell: Shell) -> None:
        first, second = await asyncio.gather(shell.ask("pool", POOL), shell.ask("pool", POOL))
        assert first == second
        assert first.result is not None
        assert first.result["created"] is True

    assert run(scenario).journal.count("put pool") == 1


def test_a_stopped_mesh_is_wiped_before_anyone_hears_of_it() -> None:
    async def scenario(shell: Shell) -> None:
        await shell.ask("pool", POOL)
        await shell.ask("stop", Stop(force=False))

    shell = run(scenario)
    assert shell.journal[-5:] == ["put mesh", "close launchers", "wipe", "ended", "answer stop"]
    assert shell.store.kept == {}


def test_a_look_up_sees_what_was_answered_before() -> None:
    async def scenario(shell: Shell) -> None:
        await shell.ask("pool", POOL)
        found = await shell.ask("get", GetPool("p"))
        assert found.result is not None
        assert found.result["pool"]["capacity"]["cpu"] == 4.0

    run(scenario)


def test_a_deadline_is_judged_on_fresh_facts() -> None:
    """The table is read between the moment a deadline is due and the decision it leads to."""

    async def scenario(shell: Shell) -> None:
        await shell.ask("pool", POOL)
        shell.launchers.held = True
        late = msgspec.structs.replace(agent_body("a"), request_id="late", timeout_s=0.01)
        looks, reads = shell.cluster.looks, shell.watcher.reads
        asked = asyncio.ensure_future(shell.ask("late", late))
        while "kill a" not in shell.journal:
            await asyncio.sleep(0)
        assert (shell.cluster.looks, shell.watcher.reads) > (looks, reads)
        asked.cancel()

    run(scenario)


def test_a_task_that_fails_ends_the_process() -> None:
    async def scenario(shell: Shell) -> None:
        await shell.ask("pool", POOL)
        shell.launchers.broken = True
        asked = asyncio.ensure_future(shell.ask("a", msgspec.structs.replace(agent_body("a"), request_id="a")))
        while not shell.died:
            await asyncio.sleep(0)
        asked.cancel()

    assert "the launchers are broken" in run(scenario).died[0]


def test_what_ray_tells_of_launchers_goes_to_those_who_give_them_orders_and_not_to_the_mesh() -> None:
    async def scenario(shell: Shell) -> None:
        await asyncio.sleep(0)
        shell.watcher.seen(sighted("l1", ActorPhase.PENDING))
        shell.watcher.seen(sighted("l1", ActorPhase.DEAD))
        shell.watcher.launchers = (sighted("l2"), sighted("l3"))
        shell.runner._act(ReadTable())
        while "launcher l3 lives" not in shell.journal:
            await asyncio.sleep(0)

    told = [line for line in run(scenario).journal if line.startswith("launcher")]
    assert told == ["launcher l1 pending", "launcher l1 dead", "launcher l2 lives", "launcher l3 lives"]


def test_how_many_launchers_there_are_stands_in_the_status() -> None:
    async def scenario(shell: Shell) -> None:
        for counted in (LaunchersCounted(0, 0), LaunchersCounted(3, 1)):
            shell.runner.post(counted)
            status = await shell.ask("status", Status())
            assert status.result is not None
            assert status.result["launchers"] == {"living": counted.living, "own": counted.own}

    run(scenario)


class BrokenMesh(Mesh):
    """Raises what no mesh should."""

    def step(self, event: Event, now: float) -> Decision:
        if isinstance(event, Asked):
            raise ZeroDivisionError("a defect")
        return super().step(event, now)


def test_a_defect_is_answered_before_the_process_ends() -> None:
    """Or Ray would put the same request to the next process, and so on for ever."""

    async def scenario(shell: Shell) -> None:
        reply = await shell.ask("pool", POOL)
        assert reply.refusal is not None
        assert "a defect" in str(reply.refusal.as_error())
        while not shell.died:
            await asyncio.sleep(0.01)

    assert "a defect" in run(scenario, BrokenMesh(name="mesh", namespace=MESH_NAMESPACE)).died[0]
