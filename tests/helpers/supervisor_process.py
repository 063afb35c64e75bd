"""One life of the supervisor's process: the real mesh in the real runner, until it is killed at some point."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fake_kv import KvClient, ShelfStore
from fake_launcher import FakeRayLaunchers
from mesh_driver import MESH_NAMESPACE, NODES
from virtual_time import Crash, VirtualLoop

from schedulemesh.core.messages import CreateAgents, Reply, Request
from schedulemesh.supervisor.events import ActorPhase, ActorSeen, ClusterSeen, TableRead
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from stage import Stage

    from schedulemesh.supervisor.effects import Decision
    from schedulemesh.supervisor.events import Event

RESYNC_S = 30.0
_READ = (ActorPhase.PENDING, ActorPhase.RESTARTING, ActorPhase.ALIVE, ActorPhase.RESTARTING)


class ProcessDiedError(ConnectionError):
    """What a client sees of a supervisor that died before it answered."""


class WatchedMesh(Mesh):
    """The real mesh; a judge looks at every step."""

    def __init__(self, process: SupervisorProcess) -> None:
        super().__init__(name="mesh", namespace=MESH_NAMESPACE, about={"mesh": "test"})
        self._process = process
        self._restored = False

    def restore(self, stored: Mapping[str, bytes], now: float) -> Decision:
        decision = super().restore(stored, now)
        self._restored = True
        self._process.stage.judge.stepped(self, None, decision)
        return decision

    def step(self, event: Event, now: float) -> Decision:
        judge = self._process.stage.judge
        if not self._restored:
            return super().step(event, now)
        judge.about_to_step(self, event)
        try:
            decision = super().step(event, now)
        except Exception as error:
            judge.fail(f"{type(event).__name__} raised {error!r}")
            raise
        judge.stepped(self, event, decision)
        return decision


class SupervisorProcess:
    """`disturbed`: something was done to it that it may end itself for."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.number = number
        self.timeline = stage.timeline
        self.chance = stage.chance
        self.loop = VirtualLoop(stage.timeline, self.kill)
        self.up = False
        self.disturbed = False
        self.store = ShelfStore(KvClient(self, stage.shelf))
        self.launchers = FakeRayLaunchers(self, stage.ray)
        self.watcher = FakeRayWatcher(self)
        self.mesh = WatchedMesh(self)
        self.runner = Runner(
            self.mesh,
            store=self.store,
            launchers=self.launchers,
            watcher=self.watcher,
            cluster=FakeRayCluster(self),
            clock=self.loop.time,
            die=self._die,
            ended=self._ended,
        )
        self._owed: dict[asyncio.Future[Reply], None] = {}

    # -- life and death ------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.note("starts")
        self.loop.create_task(self._start())

    def kill(self, where: str) -> None:
        """The process is gone, from one moment to the next. Its launchers and its clients will notice."""
        self.note("dies at: ", where)
        self.loop.dead = True
        for answer in self._owed:
            answer.set_exception(ProcessDiedError())
        self.stage.process_died(self)

    def point(self, verb: str, subject: str = "") -> None:
        if self.stage.trace is not None:
            self.note(verb, subject)
        self.loop.point(verb + subject)

    def note(self, verb: str, subject: str = "") -> None:
        self.stage.note(f"supervisor {self.number}: ", verb + subject)

    async def takes(self, what: str) -> None:
        """The time that something takes; the process may die meanwhile."""
        delay = self.chance.delay(what)
        if delay:
            await asyncio.sleep(delay)

    async def _start(self) -> None:
        try:
            await self.runner.start()
        except Exception as error:
            self._die(f"it could not start: {error!r}")
        self.up = True

    def _ended(self) -> None:
        """As in the real one, there is a moment between the mesh's end and that of the process."""
        self.loop.call_soon(self.stage.mesh_ended, self)

    def _die(self, reason: str) -> None:
        if not self.disturbed:
            self.stage.judge.fail(f"the supervisor ended itself: {reason}")
        self.kill(reason)
        raise Crash

    # -- being called --------------------------------------------------------------------------------------------

    def call(self, request: Request, asked: VirtualLoop) -> asyncio.Future[Reply]:
        """The reply, or ProcessDiedError, for a caller whose loop is `asked`."""
        answer: asyncio.Future[Reply] = asked.create_future()
        self._owed[answer] = None
        self.loop.create_task(self._call(request, answer))
        return answer

    async def _call(self, request: Request, answer: asyncio.Future[Reply]) -> None:
        await self.takes("call")
        try:
            reply = await self._reply(request)
            self.stage.changed()
        except ConnectionError as error:  # the GCS is away; Ray hands the exception on
            answer.set_exception(error)
        else:
            answer.set_result(reply)
        del self._owed[answer]

    async def _reply(self, request: Request) -> Reply:
        if isinstance(request.body, CreateAgents):
            asked = [self.runner.ask(Request(body.request_id, body)) for body in request.body.agents]
            return Reply(replies=list(await asyncio.gather(*asked)))
        return await self.runner.ask(request)


class FakeRayWatcher:
    """Reads the table truthfully. What is pushed in between may be lost, late, doubled, or overtaken."""

    def __init__(self, process: SupervisorProcess) -> None:
        self._process = process
        self._known: dict[str, str] = {}
        self._seen: Callable[[ActorSeen], None] | None = None

    async def watch(self, seen: Callable[[ActorSeen], None], table: Callable[[TableRead], Awaitable[None]]) -> None:
        while True:
            self._seen = seen
            try:
                await table(await self.read({}))
                await asyncio.sleep(RESYNC_S)
            except ConnectionError:
                await asyncio.sleep(1.0)

    def push(self, news: ActorSeen) -> None:
        """Ray publishes a change."""
        chance = self._process.chance
        if self._seen is None or chance.happens("news are lost"):
            return
        for _ in range(1 + chance.happens("news come twice")):
            self._process.loop.call_later(chance.delay("news"), self._tell, news)

    async def read(self, expected: Mapping[str, str]) -> TableRead:
        """All that live, and what became of those that were expected or known."""
        process = self._process
        asked_at = process.loop.time()
        rows: dict[str, ActorSeen] = {}
        for phase in _READ:  # the real one reads the living state by state, and they go on meanwhile
            await process.takes("table")
            if process.chance.happens("a read fails"):
                raise ConnectionError("the GCS is away")
            actors = process.stage.ray.actors
            rows.update((actor.actor_id, actor.seen()) for actor in actors.values() if actor.phase is phase)
        heard_of = {**expected, **self._known}
        rows.update((gone, actors[gone].seen()) for gone in heard_of if gone in actors and gone not in rows)
        self._known = {news.actor_id: news.uid for news in rows.values() if news.phase is not ActorPhase.DEAD}
        await process.takes("table reply")
        return TableRead(tuple(rows.values()), asked_at, frozenset(heard_of.keys() - actors.keys()))

    def _tell(self, news: ActorSeen) -> None:
        """Only an actor's first message says whose it is; without it the others say nothing."""
        known = news.actor_id in self._known or news.phase is ActorPhase.PENDING
        if news.phase is ActorPhase.DEAD:
            self._known.pop(news.actor_id, None)
        elif known:
            self._known[news.actor_id] = news.uid
        if known and self._seen is not None:
            self._process.note("hears: ", f"{news.uid} {news.phase.value} ({news.actor_id})")
            self._seen(news)


class FakeRayCluster:
    """Two nodes that stay as they are."""

    def __init__(self, process: SupervisorProcess) -> None:
        self._process = process

    async def look(self) -> ClusterSeen:
        await self._process.takes("nodes")
        if self._process.chance.happens("a read fails"):
            self._process.disturbed = self._process.disturbed or not self._process.up
            raise ConnectionError("the GCS is away")
        return ClusterSeen(NODES)
