"""A fake Ray: which actors really exist, what launchers are doing, and the news about both that is on its way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count

from schedulemesh.supervisor.effects import Address, Effect, KillActor, Launch, StopActor
from schedulemesh.supervisor.events import (
    ActorPhase,
    ActorSeen,
    Event,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    TableRead,
)

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase


@dataclass
class Actor:
    actor_id: str
    uid: str
    name: str
    namespace: str
    phase: ActorPhase = PENDING
    constructed: bool = False
    asked_to_stop: bool = False
    restarts: int = 0
    pid: int | None = None
    cause: str | None = None
    unmade: bool = False

    @property
    def lives(self) -> bool:
        return self.phase is not DEAD

    def seen(self) -> ActorSeen:
        return ActorSeen(
            uid=self.uid,
            actor_id=self.actor_id,
            name=self.name,
            namespace=self.namespace,
            phase=self.phase,
            restarts=self.restarts,
            node_id="n1",
            pid=self.pid,
            cause=self.cause,
            unmade=self.unmade,
        )


@dataclass
class Launching:
    """A launcher at work on one order; `actor` is what it made or adopted."""

    order: Launch
    actor: Actor | None = None


@dataclass
class World:
    """Orders wait until `obey`, launchers work when `work` is called, and all news waits in `news` to be told."""

    actors: dict[str, Actor] = field(default_factory=dict)
    launching: list[Launching] = field(default_factory=list)
    orders: deque[Effect] = field(default_factory=deque)
    news: list[Event] = field(default_factory=list)
    _ids: count[int] = field(default_factory=lambda: count(1))

    def living(self) -> list[Actor]:
        return [actor for actor in self.actors.values() if actor.lives]

    # -- orders --------------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """Carry out the order that was given first."""
        order = self.orders.popleft()
        if isinstance(order, Launch):
            self.launching.append(Launching(order))
        elif isinstance(order, KillActor):
            for work in [w for w in self.launching if w.order.uid == order.address.uid and w.actor is None]:
                self._report(work, LaunchFailed(work.order.uid, work.order.attempt, "killed while it was launched"))
            for actor in self._meant(order.address):
                self.end(actor, "killed")
        elif isinstance(order, StopActor):
            for actor in self._meant(order.address):
                actor.asked_to_stop = True

    def _meant(self, address: Address) -> list[Actor]:
        return [a for a in self.living() if a.uid == address.uid and address.actor_id in (None, a.actor_id)]

    def go_on(self) -> None:
        """Everyone does what is asked of them: orders are obeyed, constructors return, and stops are heeded."""
        while self.orders:
            self.obey()
        for work in list(self.launching):
            self.work(work)
        for actor in self.living():
            if actor.asked_to_stop:
                self.end(actor, "it was stopped")
            elif not actor.constructed:
                self.come_alive(actor)

    # -- launchers -----------------------------------------------------------------------------------------------

    def work(self, work: Launching) -> None:
        """The launcher's next move: make the actor, or look at it and report."""
        order = work.order
        if work.actor is None and order.adopt is not None:
            work.actor = self.actors[order.adopt]
        elif work.actor is None:
            name = (order.namespace, order.actor_name)
            holders = [actor for actor in self.living() if (actor.namespace, actor.name) == name]
            assert not holders, f"{order.agent} is launched while {holders} lives under its name"
            work.actor = Actor(f"actor{next(self._ids)}", order.uid, order.actor_name, order.namespace)
            self.actors[work.actor.actor_id] = work.actor
            self._push(work.actor)
        elif not work.actor.lives:
            self._report(work, LaunchFailed(order.uid, order.attempt, "the constructor raised"))
        elif work.actor.constructed:
            self._report(work, LaunchReady(order.uid, order.attempt, work.actor.actor_id))

    def give_up(self, work: Launching) -> None:
        """The launcher cannot bring it up (a class that does not load, say) and leaves no actor."""
        made = work.actor or self.actors.get(work.order.adopt or "")
        if made is not None and made.lives:
            self.end(made, "given up")
        self._report(work, LaunchFailed(work.order.uid, work.order.attempt, "the class does not load"))

    def lose_launchers(self) -> None:
        for work in list(self.launching):
            self._report(work, LaunchLost(work.order.uid, work.order.attempt, "the launcher died"))

    def lose_supervisor(self) -> None:
        """Orders and answers under way are gone, and so are the launchers; actors stay."""
        self.orders.clear()
        self.launching.clear()
        self.news.clear()

    def _report(self, work: Launching, event: Event) -> None:
        self.launching.remove(work)
        self.news.append(event)

    # -- actors --------------------------------------------------------------------------------------------------

    def come_alive(self, actor: Actor) -> None:
        """Its process is there and its constructor has returned."""
        actor.phase, actor.constructed, actor.pid = ALIVE, True, 4711 + actor.restarts
        self._push(actor)

    def raise_in_constructor(self, actor: Actor) -> None:
        """Ray shows ALIVE for a moment, then DEAD."""
        actor.phase = ALIVE
        self._push(actor)
        self.end(actor, "the constructor raised")

    def crash(self, actor: Actor) -> None:
        """Its process dies and Ray starts it again."""
        actor.phase, actor.constructed, actor.restarts = RESTARTING, False, actor.restarts + 1
        actor.cause = "its process crashed"
        self._push(actor)

    def end(self, actor: Actor, cause: str) -> None:
        actor.phase, actor.constructed, actor.cause = DEAD, False, cause
        self._push(actor)

    def _push(self, actor: Actor) -> None:
        self.news.append(actor.seen())

    def table(self, asked_at: float, *, with_the_dead: bool) -> TableRead:
        """Ray forgets actors that died long ago."""
        return TableRead(tuple(a.seen() for a in self.actors.values() if a.lives or with_the_dead), asked_at)
