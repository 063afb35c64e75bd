"""Launchers' actors in the fake Ray: one for each name, restarted when its process ends, and gone once it is killed."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from fake_launcher import LauncherProcess
from mesh_driver import MESH_NAMESPACE
from ray_world import ALIVE, DEAD, PENDING, RESTARTING

from schedulemesh.core.launch_protocol import BARE, LABEL_LENGTH
from schedulemesh.core.names import launcher_name
from schedulemesh.supervisor.events import LauncherSeen
from schedulemesh.supervisor.launcher_table import OWN

if TYPE_CHECKING:
    import asyncio

    from living_ray import LivingRay
    from stage import Stage
    from supervisor_process import SupervisorProcess

    from schedulemesh.core.environments import Environment
    from schedulemesh.supervisor.events import ActorPhase

DRIVER_GONE_S = 3.0
"""How long after its start a launcher of the mesh's own sees that its driver has gone."""


class LauncherActor:
    """One launcher's row in Ray's actor table, and its process while it has one."""

    def __init__(self, actor_id: str, key: str, *, own: bool) -> None:
        self.actor_id = actor_id
        self.key = key
        self.own = own
        self.name = launcher_name("mesh", key) + OWN * own
        self.phase: ActorPhase = PENDING
        self.restarts = 0
        self.cause: str | None = None
        self.driver_gone = False
        self.process: LauncherProcess | None = None

    @property
    def lives(self) -> bool:
        return self.phase is not DEAD

    def seen(self) -> LauncherSeen:
        label = self.key[:LABEL_LENGTH]
        return LauncherSeen(label, self.actor_id, self.phase, self.restarts, self.name, self.cause)


class LauncherActors:
    """All launchers of the mesh, whoever created them."""

    def __init__(self, ray: LivingRay, stage: Stage) -> None:
        self._ray = ray
        self._stage = stage
        self._actors: list[LauncherActor] = []
        self._ids = count(1)

    def all(self) -> list[LauncherActor]:
        return list(self._actors)

    def living(self) -> list[LauncherActor]:
        return [actor for actor in self._actors if actor.lives]

    def running(self) -> list[LauncherProcess]:
        return [actor.process for actor in self._actors if actor.process is not None]

    def find(self, name: str, namespace: str, actor_id: str | None) -> LauncherActor | None:
        """Return the living launcher of that name, if it is the one that is meant."""
        named = [actor for actor in self.living() if (actor.name, MESH_NAMESPACE) == (name, namespace)]
        return next((actor for actor in named if actor_id in (None, actor.actor_id)), None)

    def create(self, key: str, *, own: bool) -> None:
        """Create the launcher of an environment, if there is none of its name."""
        if any((actor.key, actor.own) == (key, own) for actor in self.living()):
            return
        actor = LauncherActor(f"launcher{next(self._ids)}", key, own=own)
        self._actors.append(actor)
        self._note(actor, "is created")
        self._ray.tell(actor.seen())
        self._start(actor, self._ray.chance.delay("launcher start"))

    def restart(self, actor: LauncherActor) -> None:
        """Its process ends, and Ray starts another."""
        if actor.lives:
            self._end_process(actor)
            actor.phase, actor.restarts = RESTARTING, actor.restarts + 1
            self._note(actor, "is restarted")
            self._ray.tell(actor.seen())
            self._start(actor, self._ray.chance.delay("launcher restart"))

    def end(self, actor: LauncherActor, cause: str) -> None:
        """It ends for good: it was killed, or its node is lost."""
        if actor.lives:
            self._end_process(actor)
            actor.phase, actor.cause = DEAD, cause
            self._note(actor, f"ends for good: {cause}")
            self._ray.tell(actor.seen())

    def lose_driver(self, actor: LauncherActor) -> None:
        """The driver of its job disconnects; its launcher sees that by itself."""
        actor.driver_gone = True
        if actor.process is not None:
            actor.process.look_at_driver()

    def freeze(self, actor: LauncherActor, seconds: float | None) -> None:
        """Its process hangs for so long, or until `thaw`."""
        if actor.process is not None:
            self._note(actor, "hangs")
            actor.process.loop.freeze()
            if seconds is not None:
                self._ray.loop.call_later(seconds, actor.process.loop.thaw)

    def thaw(self) -> None:
        """All that hang go on."""
        for process in self.running():
            process.loop.thaw()

    def close(self) -> None:
        for process in self.running():
            process.loop.bury()

    def _start(self, actor: LauncherActor, delay: float) -> None:
        self._ray.loop.call_later(delay, partial(self._started, actor, actor.restarts))

    def _started(self, actor: LauncherActor, life: int) -> None:
        if not actor.lives or actor.restarts != life:
            return
        actor.phase = ALIVE
        actor.process = LauncherProcess(self._ray, self._stage, actor)
        actor.process.start()
        if actor.own:
            self._ray.loop.call_later(DRIVER_GONE_S, self.lose_driver, actor)
        self._ray.tell(actor.seen())

    def _end_process(self, actor: LauncherActor) -> None:
        process, actor.process = actor.process, None
        if process is not None:
            process.loop.bury()
            self._ray.lose_owner(process.created)

    def _note(self, actor: LauncherActor, what: str) -> None:
        self._stage.note("Ray: ", f"{actor.actor_id} ({actor.key[:4]}{OWN * actor.own}) {what}")


class FakeStarter:
    """Implements the port `LauncherStarter`. What was begun is done even if the supervisor dies meanwhile."""

    def __init__(self, process: SupervisorProcess) -> None:
        self._process = process

    async def start(self, environment_key: str, environment: Environment) -> str:
        return await self._start(environment_key)

    async def start_bare(self) -> str:
        return await self._start(BARE)

    async def _start(self, key: str) -> str:
        process = self._process
        process.point("before the start of a launcher for ", key[:4])
        if process.chance.happens("no launcher can be started"):
            return "no process can be started here"
        started = process.loop.create_future()
        process.stage.loop.call_later(process.chance.delay("starter"), self._create, key, started)
        await started
        process.point("after the start of a launcher for ", key[:4])
        return ""

    def _create(self, key: str, started: asyncio.Future[None]) -> None:
        self._process.stage.ray.launchers.create(key, own=True)
        if not started.done():
            started.set_result(None)
