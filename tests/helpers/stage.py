"""The stage: one timeline with a fake Ray, what the GCS keeps, one supervisor's life after the other, and clients."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
from fake_kv import Shelf
from judge import Judge
from living_ray import LivingRay
from supervisor_process import SupervisorProcess
from virtual_time import Timeline, VirtualLoop

from schedulemesh.core.environments import environment_key
from schedulemesh.core.messages import CreateAgent, CreateAgents, CreatePool, Request, ResizePool, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from chance import Chance
    from fake_launcher import LauncherProcess

    from schedulemesh.core.environments import Environment
    from schedulemesh.core.messages import AnyBody, Reply
    from schedulemesh.supervisor.events import ActorSeen, LauncherSeen

RETRY_S = 0.1
ANSWERED_WITHIN_S = 600.0
SETTLED_WITHIN_S = 36.0
"""One period of the watcher, and a kill that is given again."""
ENDED_WITHIN_S = 15.0
"""How long launchers may outlive their mesh."""
MAX_STEPS = 100_000


class ViolationError(AssertionError):
    """A promise was broken; the text says which, and what led to it if a trace was kept."""


class Stage:
    """`deaths` says at which of its points each life of the supervisor ends; `over`: there is none, for good.

    `changes` are the points of each life of the supervisor at which something outside of it changed. A crash throws its
    memory away, so crashes at two points without a change between them are the same crash.
    """

    def __init__(
        self,
        chance: Chance,
        *,
        dice: Random | None = None,
        deaths: Callable[[], int] = lambda: 0,
        fate: Callable[[Stage], None] = lambda _: None,
        traced: bool = False,
    ) -> None:
        self.trace: list[str] | None = [] if traced else None
        self.timeline = Timeline(dice)
        self.chance = chance
        self.loop = VirtualLoop(self.timeline)
        self.judge = Judge(self)
        self.shelf = Shelf(self.judge.stored)
        self.ray = LivingRay(self, self._publish)
        self.process: SupervisorProcess | None = None
        self.over = True
        self.lives = 0
        self.crashes = 0
        self.meshes = 0
        self.changes: dict[int, list[int]] = defaultdict(list)
        self._deaths = deaths
        self._fate = fate
        self._request_ids = count(1)
        self._graves: list[SupervisorProcess] = []
        self._clients: set[asyncio.Task[Any]] = set()

    def note(self, who: str, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.timeline.now - 1_700_000_000.0:12.6f} {who}{what}")

    def changed(self) -> None:
        """Something changed that outlives the supervisor, or a client was told something."""
        if self.process is not None:
            self.changes[self.lives].append(self.process.loop.points)

    # -- the supervisor's lives ----------------------------------------------------------------------------------

    def start_supervisor(self) -> None:
        self.over = False
        self.lives += 1
        self.process = SupervisorProcess(self, self.lives)
        self.process.loop.dies_at = self._deaths()
        self.process.start()

    def process_died(self, process: SupervisorProcess) -> None:
        self._graves.append(process)
        self.process = None
        if not self.over:
            self.crashes += 1
            self.loop.call_later(self.chance.delay("supervisor restart"), self.start_supervisor)
            self._fate(self)

    def mesh_ended(self, process: SupervisorProcess) -> None:
        self.judge.mesh_ended()
        self.over = True
        self.meshes += 1
        process.kill("the mesh has ended")

    def is_held(self, launcher: LauncherProcess, lease: str, life: int) -> bool:
        """Whether the supervisor of that life counts on this lease, or is dead and has no successor yet."""
        if life < self.lives:
            return False
        actor, process = launcher.actor, self.process
        return process is None or process.dispatch.holds(actor.key, lease, actor.actor_id, launcher.incarnation)

    def _publish(self, news: ActorSeen | LauncherSeen) -> None:
        self.changed()
        if self.process is not None:
            self.process.watcher.push(news)

    # -- clients -------------------------------------------------------------------------------------------------

    def spawn(self, client: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(client)
        self._clients.add(task)
        task.add_done_callback(self._finished)

    def new_id(self) -> str:
        return f"r{next(self._request_ids)}"

    async def ask(self, body: AnyBody, request_id: str | None = None) -> Reply | None:
        """The answer, through all crashes, as a client gets it; None when the mesh was stopped."""
        request_id = request_id or self.new_id()
        if isinstance(body, CreateAgent):
            body = msgspec.structs.replace(body, request_id=request_id)
        request = Request(request_id, body)
        wish = self.judge.wished(body)
        for environment in _environments(body):
            self.ray.launchers.create(environment_key(environment), own=False)
        self.note("asked by ", f"{request_id}: {body}" if self.trace is not None else "")
        reply = await (self._stopped(request) if isinstance(body, Stop) else self._reply(request))
        if wish is not None:
            wish.granted_at = self.timeline.now
        if reply is None:
            return None
        for one, answer in _parts(request, reply):
            self.judge.answered(one, answer)
        return reply

    async def _reply(self, request: Request) -> Reply | None:
        while not self.over or self.chance.happens("a new supervisor is started"):
            if self.over:
                self.start_supervisor()
            reply = await self._tried(request)
            if reply is not None:
                return reply
            await asyncio.sleep(RETRY_S)
        return None

    async def _stopped(self, request: Request) -> Reply | None:
        """The refusal, or None when the mesh that was there is gone."""
        mesh = self.meshes
        while self.meshes == mesh and not self.over:
            reply = await self._tried(request)
            if reply is not None and reply.refusal is not None:
                return reply
            await asyncio.sleep(RETRY_S)
        return None

    async def _tried(self, request: Request) -> Reply | None:
        """The answer of the process that is there; None if there is none, or it is gone, or the client grew impatient."""
        if self.process is None or not self.process.up:
            return None
        answer = self.process.call(request, self.loop)
        impatient = self.chance.happens("the client asks again")
        try:
            await asyncio.wait({answer}, timeout=RETRY_S if impatient else None)
            return answer.result() if answer.done() else None
        except ConnectionError:
            return None

    def _finished(self, client: asyncio.Task[Any]) -> None:
        self._clients.discard(client)
        if not client.cancelled() and client.exception() is not None:
            self.judge.fail(f"a client failed: {client.exception()!r}")

    def close(self) -> None:
        """The schedule is over; nothing of it goes on."""
        lives = [*self._graves, *([self.process] if self.process is not None else [])]
        for loop in (self.loop, *(life.loop for life in lives)):
            loop.bury()
        self.ray.launchers.close()

    # -- time ----------------------------------------------------------------------------------------------------

    def until_answered(self) -> None:
        """Run until every client has all its answers."""
        end, most = self.timeline.now + ANSWERED_WITHIN_S, self.timeline.steps + MAX_STEPS
        while self._clients:
            self.step()
            if self.timeline.now > end or self.timeline.steps > most:
                self.judge.fail(f"{len(self._clients)} clients wait for ever")

    def until_settled(self) -> None:
        """Run on until all news have been told, and judge what is then."""
        self.ray.launchers.thaw()
        self._run(SETTLED_WITHIN_S)
        if self.over:
            self.ray.launchers.thaw()  # one that hung meanwhile ends by itself, too
            self._run(ENDED_WITHIN_S)
            left = [launcher.actor_id for launcher in self.ray.launchers.living()]
            self.judge.expect(not left, f"the mesh has ended and left launchers: {left}")
            self.step()
            return
        while self.process is None or not self.process.up:
            self.step()
        self.judge.at_rest(self.process.mesh)
        if (
            self.process.dispatch.left_behind()
        ):  # Ray's table has to be read twice, where a launcher's death was not told
            self._run(SETTLED_WITHIN_S)
        left = self.process.dispatch.left_behind()
        self.judge.expect(not left, f"orders are left behind: {left}")
        kept = dict(self.shelf.kept)
        for request, first in self.judge.to_be_asked_again():
            self.spawn(self._ask_again(request, first))
        self.until_answered()
        self.judge.expect(self.shelf.kept == kept, "retries of what was done changed something")
        self.step()

    async def _ask_again(self, request: Request, first: Reply) -> None:
        again = await self._reply(request)
        if again is not None:
            self.judge.answered_again(request, first, again)

    def _run(self, seconds: float) -> None:
        end = self.timeline.now + seconds
        self.loop.call_later(seconds, lambda: None)
        while self.timeline.now < end:
            self.step()

    def step(self) -> None:
        if self.judge.violation is not None:
            raise ViolationError("\n".join([self.judge.violation, *(self.trace or [])]))
        if not self.timeline.step():
            self.judge.fail("nothing is left to happen")
        while self._graves:
            self._graves.pop().loop.bury()


def _environments(body: AnyBody) -> list[Environment]:
    """The environments whose launchers a client creates before it asks this."""
    match body:
        case CreateAgent(environment=environment):
            return [environment]
        case CreateAgents(agents=agents):
            return [agent.environment for agent in agents]
        case CreatePool(environment=environment) | ResizePool(environment=environment) if body.warm_agents:
            return [environment]
        case _:
            return []


def _parts(request: Request, reply: Reply) -> list[tuple[Request, Reply]]:
    """The requests of a batch, each with its answer."""
    if isinstance(request.body, CreateAgents) and reply.replies is not None:
        return [(Request(b.request_id, b), one) for b, one in zip(request.body.agents, reply.replies, strict=True)]
    return [(request, reply)]
