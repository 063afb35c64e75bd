"""A fake Ray that lives on its own time: constructors run, processes die, launchers come and go, news are pushed."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from launcher_actors import LauncherActors
from ray_world import ALIVE, PENDING, RESTARTING, Actor, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chance import Chance
    from judge import Judge
    from stage import Stage

    from schedulemesh.supervisor.effects import Launch
    from schedulemesh.supervisor.events import ActorSeen, LauncherSeen

RETURNS, RAISES, HANGS, DIES_ONCE, RAISES_AGAIN = "returns", "raises", "hangs", "dies once", "raises the next time"
HEEDS, IGNORES = "heeds", "ignores"
CONSTRUCTOR, HOOK = "constructor", "hook"
"""Labels by which an agent says how its constructor ends, and whether it heeds being asked to stop."""


class LivingRay(World):
    """All actors and launchers there are. `tell` hears of every change that Ray would push."""

    def __init__(self, stage: Stage, tell: Callable[[ActorSeen | LauncherSeen], None]) -> None:
        super().__init__()
        self.loop = stage.loop
        self.chance: Chance = stage.chance
        self.tell = tell
        self.launchers = LauncherActors(self, stage)
        self._judge: Judge = stage.judge
        self._labels: dict[str, dict[str, str]] = {}
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}

    def find(self, actor_name: str, namespace: str, actor_id: str | None = None) -> Actor | None:
        """The living actor of that name, if it is the one that is meant."""
        for actor in self.living():
            if (actor.name, actor.namespace) == (actor_name, namespace) and actor_id in (None, actor.actor_id):
                return actor
        return None

    def make(self, order: Launch, *, late: bool) -> Actor:
        actor = Actor(f"actor{next(self._ids)}", order.uid, order.actor_name, order.namespace)
        self.actors[actor.actor_id] = actor
        self._labels[actor.actor_id] = order.labels
        self._judge.made(actor, order, late=late)
        self._push(actor)
        self._construct(actor, self.chance.delay("constructor"))
        return actor

    async def change(self, actor: Actor) -> None:
        """Returns when something has happened to the actor."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(actor.actor_id, []).append(changed)
        await changed

    def heeds(self, actor: Actor) -> bool:
        return self._labels[actor.actor_id].get(HOOK, HEEDS) == HEEDS

    def kill(self, actor: Actor) -> None:
        if actor.lives:
            self._judge.ends_by_order(actor)
            self.end(actor, "killed by ray.kill")

    def terminate(self, actor: Actor) -> None:
        """It is asked to exit once its earlier calls are done; some never are."""
        if actor.lives and self.heeds(actor):
            self._judge.ends_by_order(actor)
            self.end(actor, "it exited as it was asked to")

    def crash(self, actor: Actor) -> None:
        if actor.lives:
            self._judge.restarts(actor)
            super().crash(actor)
            self._construct(actor, self.chance.delay("process restart"))

    def die(self, actor: Actor) -> None:
        """It ends for good, and nobody asked for it."""
        if actor.lives:
            self._judge.ends_by_itself(actor)
            self.end(actor, "its process was killed")

    def lose_owner(self, actors: Iterable[Actor]) -> None:
        """The launcher that made them has ended. Those that Ray has not begun to make, it drops when it notices."""
        for actor in actors:
            if actor.phase is PENDING and self.chance.happens("Ray has not begun to make it"):
                self.loop.call_later(self.chance.delay("drop"), self._drop, actor)

    def come_alive(self, actor: Actor) -> None:
        self._judge.came_up(actor)
        super().come_alive(actor)

    def _drop(self, actor: Actor) -> None:
        if actor.phase is PENDING:
            self._judge.dropped(actor)
            actor.unmade = True
            self.end(actor, "its owner has died")
            if self.chance.happens("Ray keeps no row of it"):  # as a GCS does that came back before the launcher ended
                del self.actors[actor.actor_id]

    def _construct(self, actor: Actor, delay: float) -> None:
        self.loop.call_later(delay, partial(self._constructed, actor, actor.restarts))

    def _constructed(self, actor: Actor, life: int) -> None:
        if actor.phase is ALIVE or not actor.lives or actor.restarts != life:
            return
        how = self._labels[actor.actor_id].get(CONSTRUCTOR, RETURNS)
        if how == RAISES or (how == RAISES_AGAIN and actor.phase is RESTARTING):
            self._judge.ends_by_itself(actor)
            self.raise_in_constructor(actor)
        elif how == DIES_ONCE and actor.phase is not RESTARTING:
            self.crash(actor)
        elif how != HANGS:
            self.come_alive(actor)

    def _push(self, actor: Actor) -> None:
        for changed in self._awaited.pop(actor.actor_id, ()):
            if not changed.done():
                changed.set_result(None)
        self.tell(actor.seen())
