"""The runner: the asyncio shell around the mesh. Feeds events in, and carries the decisions out in their order.

Persist, then act, then answer. Decisions that were made while a write was under way share the next one (`groups`);
none is acted on or answered before all of its group is written, so that what is answered was persisted together with
everything it rests on. Knows no Ray: everything outside is behind a port. A failed write ends the process, which comes
back from the store rather than run ahead of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

import structlog

from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.messages import LookUp, Reply, Request
from schedulemesh.supervisor import effects
from schedulemesh.supervisor.effects import Decision, Effect, Write
from schedulemesh.supervisor.events import ActorSeen, ActorsSeen, Asked, Event, LauncherSeen, TableRead, Tick
from schedulemesh.supervisor.groups import grouped, stages
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.ports import Clock, Cluster, Launchers, Store, Watcher
from schedulemesh.supervisor.transitions import ImpossibleError

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.supervisor")

CLUSTER_PERIOD_S = 15.0
RETRY_S = 1.0
WRITES_AT_ONCE = 128
AT_ONCE = 250
"""Actors of a reading that are decided on without a pause: some milliseconds."""
_LAST_WORD_S = 0.2
"""Before a process ends itself for a request that it cannot even refuse. Ray sends the answers that were given a moment
before in the background, and says of none when it has left; one that is lost is asked for again."""
# Refusals that rest on the size of the cluster are decided once more on a fresh look before they are given.
_CLUSTER_BOUND = frozenset({"InsufficientClusterCapacityError", "NoNodeFitsError"})


class _PoisonError(Exception):
    """A request that the mesh could not even refuse: a defect of ours, which ends the process."""


class Runner:
    """Runs one mesh. `die` ends the process at once; `ended` is called when the mesh was stopped and wiped."""

    def __init__(
        self,
        mesh: Mesh,
        *,
        store: Store,
        launchers: Launchers,
        watcher: Watcher,
        cluster: Cluster,
        clock: Clock,
        die: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        self._mesh = mesh
        self._store = store
        self._launchers = launchers
        self._watcher = watcher
        self._cluster = cluster
        self._clock = clock
        self._die = die
        self._ended = ended
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._asking: dict[str, list[asyncio.Future[Reply]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._waking = False
        self._rests = False
        """Whether all that was decided is carried out."""
        self._over = False

    async def start(self) -> None:
        """Come back from the store and begin. True when it returns: requests are answered from the whole books."""
        stored = await self._store.load()
        self._mesh.step(await self._cluster.look(), self._clock())
        await self._carry_out([self._mesh.restore(stored, self._clock())])
        self._spawn(self._run())
        self._spawn(self._watcher.watch(self._seen, self._take_table))
        self._spawn(self._every(CLUSTER_PERIOD_S, self._look_at_cluster))

    async def ask(self, request: Request) -> Reply:
        """The answer to a request, once it is decided and persisted. Asking again gives the first answer."""
        if self._rests and self._events.empty() and isinstance(request.body, LookUp):
            return self._looked_up(request)
        reply = await self._ask(request)
        if reply.refusal is not None and reply.refusal.error in _CLUSTER_BOUND:
            await self._look_at_cluster()
            reply = await self._ask(request)
        return reply

    def post(self, event: Event) -> None:
        """Tell the mesh something. May be called from the event loop only."""
        self._events.put_nowait(event)

    def _looked_up(self, request: Request) -> Reply:
        """The answer at once: nothing is under way, so what the books say is what the store has."""
        decision = self._mesh.step(Asked(request), self._clock())
        self._log(decision)
        return decision.answers[0].reply

    async def _ask(self, request: Request) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        asking = self._asking.setdefault(request.request_id, [])
        asking.append(future)
        self.post(Asked(request))
        try:
            return await future
        finally:
            asking.remove(future)
            if not asking and self._asking.get(request.request_id) is asking:
                del self._asking[request.request_id]

    async def _run(self) -> None:
        while not self._over:
            self._rests = True
            first = await self._events.get()
            self._rests = False
            try:
                for group in grouped(self._decisions(first)):
                    await self._carry_out(group)
            except _PoisonError:
                await asyncio.sleep(_LAST_WORD_S)
                raise

    def _decisions(self, first: Event) -> Iterator[Decision]:
        """What the mesh decides on this event, and on all that have come by the time each of them is taken."""
        event = first
        while not self._over:
            try:
                yield self._mesh.step(event, self._clock())
            except ImpossibleError as error:
                log.critical("impossible_event", event_kind=type(event).__name__, error=str(error))
                if isinstance(event, (ActorsSeen, TableRead, Tick)):
                    raise  # others may have moved before it: back to what is written
                self._act(effects.ReadTable())
            except Exception as error:
                if not isinstance(event, Asked):
                    raise
                # Answered before the end, or Ray would ask the next process the same.
                problem = InvalidRequestError(field="request", problem=f"could not be handled: {error!r:.200}")
                self._answer(event.request.request_id, Reply.refused(problem))
                raise _PoisonError(repr(error)) from error
            if self._events.empty() or isinstance(event, (ActorsSeen, TableRead)):
                return  # after a part of a reading others have their turn
            event = self._events.get_nowait()

    async def _carry_out(self, group: Sequence[Decision]) -> None:
        for decision in group:
            self._log(decision)
        await self._persist(stages(group))
        await asyncio.sleep(0)  # a group without writes must not keep others waiting either
        for decision in group:
            for effect in decision.effects:
                if isinstance(effect, effects.EndMesh):
                    await self._end()
                else:
                    self._act(effect)
            for answer in decision.answers:
                self._answer(answer.request_id, answer.reply)
        self._set_alarm(group[-1].wake_at)

    def _log(self, decision: Decision) -> None:
        for note in decision.notes:
            log.info(note.event, **note.fields)

    def _answer(self, request_id: str, reply: Reply) -> None:
        for future in self._asking.get(request_id, ()):
            if not future.done():
                future.set_result(reply)

    async def _persist(self, writes: list[list[Write]]) -> None:
        try:
            for stage in writes:
                for start in range(0, len(stage), WRITES_AT_ONCE):
                    await asyncio.gather(*map(self._write, stage[start : start + WRITES_AT_ONCE]))
        except Exception as error:
            self._die(f"the store failed: {error!r}")
            raise

    def _write(self, write: Write) -> Awaitable[object]:
        return self._store.delete(write.key) if write.value is None else self._store.put(write.key, write.value)

    def _act(self, effect: Effect) -> None:
        match effect:
            case effects.Launch():
                self._spawn(self._launch(effect))
            case effects.StopActor():
                self._spawn(self._launchers.stop(effect.address, effect.environment_key, effect.grace_s))
            case effects.KillActor():
                self._spawn(self._launchers.kill(effect.address, effect.environment_key))
            case effects.KeepReady():
                self._launchers.keep_ready(effect.environment_key, effect.count, self.post)
            case effects.ReadTable():
                self._spawn(self._read_table(effect.expected))
            case _:
                raise AssertionError(f"no one carries out {effect!r}")

    async def _launch(self, order: effects.Launch) -> None:
        self.post(await self._launchers.launch(order))

    async def _read_table(self, expected: dict[str, str]) -> None:
        while True:
            try:
                await self._take_table(await self._watcher.read(expected))
            except Exception as error:  # noqa: BLE001 - the GCS may be away for a while; the table is needed
                log.warning("table_unreadable", error=repr(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _seen(self, seen: ActorSeen | LauncherSeen) -> None:
        if isinstance(seen, LauncherSeen):
            self._launchers.seen(seen)
        else:
            self.post(seen)

    async def _take_table(self, table: TableRead) -> None:
        self._launchers.seen_all(table.launchers)
        for part in table.in_parts(AT_ONCE):
            self.post(part)
            await asyncio.sleep(0)  # others have their turn

    async def _look_at_cluster(self) -> None:
        self.post(await self._cluster.look())

    async def _end(self) -> None:
        await self._launchers.close()
        await self._store.wipe()
        log.info("mesh_ended")
        self._over = True  # what is asked from here on would be written into a store that was wiped
        self._ended()

    def _set_alarm(self, wake_at: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if wake_at is not None and not self._waking:
            delay = max(0.0, wake_at - self._clock())
            self._alarm = asyncio.get_running_loop().call_later(delay, lambda: self._spawn(self._wake()))

    async def _wake(self) -> None:
        """A deadline is due. It is judged on fresh facts, so that the reason given for it is true."""
        if self._waking:
            return
        self._waking = True
        try:
            await self._take_table(await self._watcher.read({}))
            await self._look_at_cluster()
        except Exception as error:  # noqa: BLE001 - deadlines hold even while the GCS is away
            log.warning("deadline_without_fresh_facts", error=repr(error))
        finally:
            self._waking = False
            self.post(Tick())

    async def _every(self, period_s: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(period_s)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - periodic work is tried again next time
                log.warning("periodic_work_failed", work=work.__name__, error=repr(error))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._die(f"a task failed: {task.exception()!r}")
