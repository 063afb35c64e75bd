"""One life of the supervisor's process: the real mesh in the real runner, until it is killed at some point."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fake_kv import KvClient, ShelfStore
from launcher_actors import FakeStarter
from mesh_driver import MESH_NAMESPACE, NODES
from virtual_time import Crash, VirtualLoop

from schedulemesh.core.launch_protocol import KeepWarm, encode_orders
from schedulemesh.core.messages import TakeOrders, decode_reply, encode_request
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.door import Door
from schedulemesh.supervisor.events import ActorPhase, ActorSeen, ClusterSeen, LauncherSeen, TableRead
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from stage import Stage

    from schedulemesh.core.launch_protocol import Address, Launch
    from schedulemesh.core.messages import Reply, ReportOrder, Request
    from schedulemesh.supervisor.effects import Decision
    from schedulemesh.supervisor.events import Event, LaunchReport

RESYNC_S = 30.0
IDLE_S = 30.0
_NO_ORDERS = {"orders": encode_orders([])}
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


class WatchedDispatch(Dispatch):
    """The real dispatch; the process may die before and after each order and report."""

    def __init__(self, process: SupervisorProcess) -> None:
        starter = FakeStarter(process)
        super().__init__("mesh", MESH_NAMESPACE, store=process.store, starter=starter, idle_s=IDLE_S)
        self._process = process

    async def launch(self, order: Launch) -> LaunchReport:
        self._process.point("before the launch of ", order.agent)
        report = await super().launch(order)
        self._process.point(f"{type(report).__name__} of ", order.agent)
        return report

    async def stop(self, address: Address, environment_key: str, grace_s: float) -> None:
        self._process.point("before the stop of ", address.actor_name)
        await super().stop(address, environment_key, grace_s)
        self._process.point("after the stop of ", address.actor_name)

    async def kill(self, address: Address, environment_key: str) -> None:
        self._process.point("before the kill of ", address.actor_name)
        await super().kill(address, environment_key)
        self._process.point("after the kill of ", address.actor_name)

    async def close(self) -> None:
        self._process.point("before the launchers' end")
        await super().close()
        self._process.point("after the launchers' end")

    def report(self, body: ReportOrder) -> Reply:
        self._process.point("before the report of ", body.incarnation)
        reply = super().report(body)
        self._process.point("after the report of ", body.incarnation)
        return reply

    def left_behind(self) -> list[str]:
        """Orders that wait or are in flight; how many workers are warm is asked for all the time."""
        waiting = [task for box in self._mailboxes.values() for task in (*box._queue, *box._leased.values())]
        return [f"{task.order}" for task in waiting if not isinstance(task.order, KeepWarm)]

    def holds(self, environment_key: str, lease: str, actor_id: str, incarnation: str) -> bool:
        """Whether this launcher's process still has this lease."""
        box = self._mailboxes.get(environment_key)
        return box is not None and box.task_of(lease, actor_id, incarnation) is not None


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
        self.dispatch = WatchedDispatch(self)
        self.watcher = FakeRayWatcher(self)
        self.mesh = WatchedMesh(self)
        self.runner = Runner(
            self.mesh,
            store=self.store,
            launchers=self.dispatch,
            watcher=self.watcher,
            cluster=FakeRayCluster(self),
            clock=self.loop.time,
            die=self._die,
            ended=self._ended,
        )
        self.dispatch.tell_counts(self.runner.post)
        self._door = Door("mesh", self.runner, self.dispatch)
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
            reply = decode_reply(await self._door.call(encode_request(request)))
        except ConnectionError as error:  # the GCS is away; Ray hands the exception on
            answer.set_exception(error)
        else:
            if not _says_nothing(request, reply):
                self.stage.changed()
            answer.set_result(reply)
        del self._owed[answer]


def _says_nothing(request: Request, reply: Reply) -> bool:
    """Whether a launcher learns nothing: its poll is answered without orders."""
    return isinstance(request.body, TakeOrders) and reply.result == _NO_ORDERS


class FakeRayWatcher:
    """Reads the table truthfully. What is pushed in between may be lost, late, doubled, or overtaken."""

    def __init__(self, process: SupervisorProcess) -> None:
        self._process = process
        self._known: dict[str, str] = {}
        self._seen: Callable[[ActorSeen | LauncherSeen], None] | None = None

    async def watch(
        self, seen: Callable[[ActorSeen | LauncherSeen], None], table: Callable[[TableRead], Awaitable[None]]
    ) -> None:
        while True:
            self._seen = seen
            try:
                await table(await self.read({}))
                await asyncio.sleep(RESYNC_S)
            except ConnectionError:
                await asyncio.sleep(1.0)

    def push(self, news: ActorSeen | LauncherSeen) -> None:
        """Ray publishes a change."""
        chance = self._process.chance
        lost = "news are lost" if isinstance(news, ActorSeen) else "news of a launcher are lost"
        if self._seen is None or chance.happens(lost):
            return
        for _ in range(1 + chance.happens("news come twice")):
            self._process.loop.call_later(chance.delay("news"), self._tell, news)

    async def read(self, expected: Mapping[str, str]) -> TableRead:
        """All that live, and what became of those that were expected or known."""
        process = self._process
        asked_at = process.loop.time()
        rows: dict[str, ActorSeen] = {}
        launchers: dict[str, LauncherSeen] = {}
        for phase in _READ:  # the real one reads the living state by state, and they go on meanwhile
            await process.takes("table")
            if process.chance.happens("a read fails"):
                raise ConnectionError("the GCS is away")
            ray = process.stage.ray
            rows.update((actor.actor_id, actor.seen()) for actor in ray.actors.values() if actor.phase is phase)
            there = [launcher for launcher in ray.launchers.all() if launcher.phase is phase]
            launchers.update((launcher.actor_id, launcher.seen()) for launcher in there)
        actors = process.stage.ray.actors
        heard_of = {**expected, **{actor_id: uid for actor_id, uid in self._known.items() if uid}}
        rows.update((gone, actors[gone].seen()) for gone in heard_of if gone in actors and gone not in rows)
        self._known = {news.actor_id: news.uid for news in rows.values() if news.phase is not ActorPhase.DEAD}
        self._known.update(dict.fromkeys(launchers, ""))
        await process.takes("table reply")
        traceless = frozenset(heard_of.keys() - actors.keys())
        return TableRead(tuple(rows.values()), asked_at, traceless, launchers=tuple(launchers.values()))

    def _tell(self, news: ActorSeen | LauncherSeen) -> None:
        """Only an actor's first message says whose it is; without it the others say nothing."""
        uid = news.uid if isinstance(news, ActorSeen) else ""
        known = news.actor_id in self._known or news.phase is ActorPhase.PENDING
        if news.phase is ActorPhase.DEAD:
            self._known.pop(news.actor_id, None)
        elif known:
            self._known[news.actor_id] = uid
        if known and self._seen is not None:
            self._process.note("hears: ", f"{uid} {news.phase.value} ({news.actor_id})")
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
