"""Crash cases: requests that a supervisor is asked at the same time, and crashes at every point of what follows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from chance import USUAL, Chance
from living_ray import CONSTRUCTOR, DIES_ONCE, HANGS, HOOK, IGNORES, RAISES
from mesh_driver import agent_body
from stage import Stage, ViolationError

from schedulemesh.core.environments import Environment
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreateAgents,
    CreatePool,
    DeleteAgent,
    DeletePool,
    GetAgent,
    GetPool,
    ListAgents,
    ListPools,
    Reply,
    ResizePool,
    Status,
    Stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from launcher_actors import LauncherActor
    from ray_world import Actor

AFTERWARDS = 12
"""Points that are tried after the last answer."""
FROZEN_S = 0.8
FROZEN_LONG_S = 60.9
"""Until another launcher that was started in its place is about to create the same actor."""
LOST = ("the answer to a poll is lost", "an acknowledgement is lost")
COMING_BACK = 80
"""Points of a later life until it has read its books, has looked at what there is, and has acted on it."""


def agent(name: str = "b", *, constructor: str | None = None, hook: str | None = None, **changes: Any) -> CreateAgent:
    labels = {label: how for label, how in ((CONSTRUCTOR, constructor), (HOOK, hook)) if how is not None}
    return agent_body(name, **{"request_id": f"create-{name}", "labels": labels, "timeout_s": 5.0, **changes})


POOL = CreatePool("p", {}, {"cpu": 1.0}, 2, overcommit=False)
WARM = CreatePool("p", {}, {"cpu": 1.0}, 2, overcommit=False, warm_agents=2, environment=Environment(node_id="n1"))
THERE = agent("a")
BUSY = agent("a", hook=IGNORES)
WANTED = {"get_if_exists": True}
ELSEWHERE = {"name": "theirs", "namespace": "elsewhere"}


class Case(NamedTuple):
    """`before` is asked and answered first, one after the other, without a crash; then `asked`, at once or `apart_s`."""

    asked: tuple[AnyBody, ...]
    before: tuple[AnyBody, ...] = (POOL, THERE)
    apart_s: float = 0.0


CASES: dict[str, Case] = {
    "create a pool": Case((POOL,), ()),
    "create a pool that is there": Case((POOL,), (POOL,)),
    "create a pool that is another": Case((CreatePool("p", {}, {"cpu": 9.0}, 0, overcommit=False),), (POOL,)),
    "create a pool too large for the cluster": Case((CreatePool("q", {}, {"cpu": 99.0}, 0, overcommit=False),), ()),
    "create an agent": Case((agent(),)),
    "create an agent in another namespace": Case((agent(options=ELSEWHERE),)),
    "create an agent without room": Case((agent(resources={"cpu": 1.5}),)),
    "create an agent too large for all nodes": Case((agent(resources={"cpu": 90.0}),)),
    "create an agent whose constructor raises": Case((agent(constructor=RAISES),)),
    "create an agent whose constructor hangs": Case((agent(constructor=HANGS),)),
    "create an agent whose process dies once": Case((agent(constructor=DIES_ONCE),)),
    "create an agent that has time": Case((agent(timeout_s=90.0),)),
    "get an agent that exists": Case((agent("a", request_id="again", options=WANTED),)),
    "get an agent that is starting": Case((agent(options=WANTED), agent(request_id="again", options=WANTED))),
    "create an agent under a name that is taken": Case((agent("a", request_id="again"),)),
    "create a batch": Case((CreateAgents([agent("b"), agent("c"), agent("d")]),), (POOL,)),
    "resize a pool": Case((ResizePool("p", None, 3, force=False),)),
    "resize a pool below what it holds": Case((ResizePool("p", {"cpu": 0.5}, 0, force=False),)),
    "resize a pool by force": Case((ResizePool("p", {"cpu": 0.5}, 0, force=True),)),
    "create a warm pool and an agent": Case((WARM, agent()), ()),
    "resize a warm pool": Case((ResizePool("p", None, None, force=False, warm_agents=0), agent()), (WARM,)),
    "delete a warm pool": Case((DeletePool("p", force=True),), (WARM, THERE)),
    "delete an agent": Case((DeleteAgent("a", 30.0, force=False),)),
    "delete an agent in another namespace": Case(
        (DeleteAgent("a", 30.0, force=False),), (POOL, agent("a", options=ELSEWHERE))
    ),
    "delete an agent by force": Case((DeleteAgent("a", 30.0, force=True),)),
    "delete an agent that hangs": Case((DeleteAgent("a", 2.0, force=False),), (POOL, BUSY)),
    "delete an agent that is starting": Case((agent(), DeleteAgent("b", 30.0, force=False))),
    "delete an agent that is being made": Case((agent(), DeleteAgent("b", 30.0, force=False)), (POOL,), 0.2),
    "delete an agent that failed": Case((DeleteAgent("b", 30.0, force=False),), (POOL, agent(constructor=RAISES))),
    "delete a pool": Case((DeletePool("p", force=False),), (POOL,)),
    "delete a pool that is in use": Case((DeletePool("p", force=False),)),
    "delete a pool by force": Case((DeletePool("p", force=True),), (POOL, THERE, agent())),
    "stop": Case((Stop(force=False),), (POOL,)),
    "stop a mesh that is in use": Case((Stop(force=False),)),
    "stop by force": Case((Stop(force=True),), (POOL, THERE, agent())),
    "stop an agent's start": Case((agent(), Stop(force=True))),
    "look things up": Case((GetAgent("a"), GetPool("p"), ListAgents("p", {}), ListPools(), Status())),
}

MUTATIONS: dict[str, AnyBody] = {
    "create a pool": CreatePool("q", {}, {"cpu": 1.0}, 2, overcommit=False),
    "create an agent": agent(),
    "create its namesake": agent(request_id="namesake", class_name="Other"),
    "create or get it": agent(request_id="wanted", options=WANTED),
    "create a failing one": agent(request_id="failing", constructor=RAISES),
    "create a slow one": agent(request_id="slow", constructor=HANGS, timeout_s=1.0),
    "create another": agent("c"),
    "create a batch": CreateAgents([agent("b", request_id="b1"), agent("d")]),
    "resize the pool": ResizePool("p", None, 3, force=False),
    "shrink the pool": ResizePool("p", None, 1, force=True),
    "delete the agent": DeleteAgent("a", 1.0, force=False),
    "kill the agent": DeleteAgent("a", 1.0, force=True),
    "delete the new one": DeleteAgent("b", 1.0, force=False),
    "delete the pool": DeletePool("p", force=True),
    "stop": Stop(force=True),
}


def pairs() -> Iterator[tuple[str, Case]]:
    """Every unordered pair of mutations, each also with itself, as two clients ask it at the same time."""
    names = list(MUTATIONS)
    for at, one in enumerate(names):
        for other in names[at:]:
            yield f"{one} + {other}", Case((MUTATIONS[one], _of_another_client(MUTATIONS[other], one == other)))


def _of_another_client(body: AnyBody, same: bool) -> AnyBody:
    """The same wish as a request of its own."""
    if same and isinstance(body, CreateAgent):
        return agent(**{f: getattr(body, f) for f in ("name", "labels", "options")}, request_id="other")
    if same and isinstance(body, CreateAgents):
        return CreateAgents([agent("b", request_id="b2"), agent("d", request_id="d2")])
    return body


class Fate(NamedTuple):
    """What becomes of the world while the supervisor is down. `class_s`: how long launchers load a class.

    `launchers`: what becomes of them, `launchers_after_s` after the supervisor's death. `drops`: Ray drops what had not
    come up when its launcher ended, `drop_s` later, and `forgets`: keeps no row of it. `hit`: what becomes of the
    actors. `by_turns`: what goes wrong every second time. `silent`: Ray pushes nothing about launchers. Where `unnoticed`, one who asks is not to
    notice any of it.
    """

    class_s: float = USUAL["class"]
    constructor_s: float = USUAL["constructor"]
    launchers: Callable[[Stage, LauncherActor], None] | None = None
    launchers_after_s: tuple[float, ...] = (0.0,)
    drops: bool = False
    forgets: bool = False
    drop_s: float = 0.0
    hit_after_s: float | None = None
    hit: Callable[[Stage, Actor], None] = lambda stage, actor: stage.ray.die(actor)
    by_turns: tuple[str, ...] = ()
    silent: bool = False
    unnoticed: bool = False


def _end(stage: Stage, launcher: LauncherActor) -> None:
    stage.ray.launchers.end(launcher, "its node died")


def _restart(stage: Stage, launcher: LauncherActor) -> None:
    stage.ray.launchers.restart(launcher)


def _freeze(stage: Stage, launcher: LauncherActor) -> None:
    stage.ray.launchers.freeze(launcher, FROZEN_S)


def _freeze_long(stage: Stage, launcher: LauncherActor) -> None:
    stage.ray.launchers.freeze(launcher, FROZEN_LONG_S)


def _hang(stage: Stage, launcher: LauncherActor) -> None:
    stage.ray.launchers.freeze(launcher, None)


_BACK = USUAL["supervisor restart"]
_LOADED = 0.005
_LOOKED = 0.0078
UNDISTURBED = Fate(unnoticed=True)
UNREAD = Fate(launchers=_end, launchers_after_s=(0.0, _BACK + 1.5), class_s=0.5, silent=True, unnoticed=True)
"""The launchers vanish, and so does the one that was started instead, before the supervisor has read of it."""
FATES = {
    "all goes on": UNDISTURBED,
    "its launches go on for long": Fate(class_s=2.0),
    "its launchers vanish with it": Fate(launchers=_end, unnoticed=True),
    "its launchers vanish when it is back": Fate(launchers=_end, launchers_after_s=(_BACK + 0.1,), class_s=0.5),
    "its launchers are restarted": Fate(launchers=_restart, unnoticed=True),
    "its launchers are restarted when it is back, and it does not hear of it": Fate(
        launchers=_restart, launchers_after_s=(_BACK + 0.2,), class_s=0.5, silent=True, unnoticed=True
    ),
    "its launchers hang until it is back": Fate(launchers=_freeze, unnoticed=True),
    "its launchers hang until another is about to do their work": Fate(launchers=_freeze_long, class_s=0.5),
    "its launchers hang": Fate(launchers=_hang, launchers_after_s=(_BACK + 0.2,), class_s=0.5),
    "answers to its launchers are lost": Fate(by_turns=LOST, unnoticed=True),
    "no others can be started at first": Fate(launchers=_end, by_turns=("no launcher can be started",)),
    "Ray drops what it has not begun to make": Fate(launchers=_end, drops=True, unnoticed=True),
    "Ray drops it without a trace": Fate(launchers=_restart, drops=True, forgets=True, unnoticed=True),
    "Ray drops it when it has been adopted": Fate(
        launchers=_end, drops=True, drop_s=_BACK + 0.2, constructor_s=1.0, unnoticed=True
    ),
    "the actors end": Fate(hit_after_s=0.01),
    "the actors are started again": Fate(hit_after_s=0.3, hit=lambda stage, actor: stage.ray.crash(actor)),
    "the actors end while the books are read": Fate(hit_after_s=_BACK + _LOADED),
    "the actors end while they are looked for": Fate(hit_after_s=_BACK + _LOOKED),
}


class _Run(NamedTuple):
    """The points of the asking and of the last answer, and what was answered in short."""

    first: int
    last: int
    outcomes: list[str]


class CrashCase:
    """Runs a case, with crashes where they are wanted."""

    def __init__(self, case: Case, fate: Fate = UNDISTURBED) -> None:
        self._case = case
        self._fate = fate
        stage = self._stage(traced=False)
        try:
            self._undisturbed = self._run(stage)
            self._changes = stage.changes[1]
        finally:
            stage.close()

    def points(self) -> Sequence[int]:
        """Every point from the moment of asking until a little after the last answer."""
        return range(1, self._undisturbed.last - self._undisturbed.first + AFTERWARDS)

    def telling_points(self) -> list[int]:
        """Those of them before which something outside the supervisor has changed; see `Stage.changes`."""
        after = [at + 1 - self._undisturbed.first for at in self._changes]
        return sorted({1, *(point for point in after if point in self.points())})

    def crash(self, *points: int) -> list[int]:
        """Crash at the first point, counted from the asking on; the next life at the second, and so on.

        Returns the telling points of the second life's coming back.
        """
        try:
            changes = self._crash(points, traced=False)
        except ViolationError:
            changes = self._crash(points, traced=True)  # and tell what led to it
        return sorted({1, *(at + 1 for at in changes if at < COMING_BACK)})

    def story(self, *points: int) -> list[str]:
        """Crash there, and tell all that happens."""
        told: list[str] = []
        self._crash(points, traced=True, told=told)
        return told

    def _crash(self, points: Sequence[int], *, traced: bool, told: list[str] | None = None) -> list[int]:
        stage = self._stage(points[1:], traced=traced)
        try:
            outcomes = self._run(stage, points[0]).outcomes
            # What one client asks of an undisturbed world is not for a crash of the supervisor to change.
            if self._fate.unnoticed and len(self._case.asked) == 1 and outcomes != self._undisturbed.outcomes:
                stage.judge.fail(f"answered was {outcomes}, and without a crash {self._undisturbed.outcomes}")
                stage.step()
            return stage.changes[2]
        finally:
            stage.close()
            if told is not None:
                told += stage.trace or []

    def _stage(self, deaths: Sequence[int] = (), *, traced: bool) -> Stage:
        fate = self._fate
        delays = {"class": fate.class_s, "constructor": fate.constructor_s, "drop": fate.drop_s}
        certain = ["Ray has not begun to make it"] * fate.drops + ["Ray keeps no row of it"] * fate.forgets
        certain += ["news of a launcher are lost"] * fate.silent
        chance = Chance(*certain, by_turns=fate.by_turns, **delays)
        later = iter((0, *deaths))
        return Stage(chance, deaths=lambda: next(later, 0), fate=self._befall, traced=traced)

    def _run(self, stage: Stage, death: int = 0) -> _Run:
        stage.start_supervisor()
        for body in self._case.before:
            stage.spawn(_asked(stage, body, []))
            stage.until_answered()
        while stage.process is None or not stage.process.up:
            stage.step()
        loop, outcomes = stage.process.loop, list[str]()
        first = loop.points
        loop.dies_at = first + death if death else 0
        for place, body in enumerate(self._case.asked):
            stage.spawn(_asked(stage, body, outcomes, place * self._case.apart_s))
        stage.until_answered()
        last = loop.points
        stage.until_settled()
        return _Run(first, last, outcomes)

    def _befall(self, stage: Stage) -> None:
        if self._fate.launchers is not None:
            for after_s in self._fate.launchers_after_s:
                stage.loop.call_later(after_s, self._befall_launchers, stage)
        if self._fate.hit_after_s is not None:
            stage.loop.call_later(self._fate.hit_after_s, self._hit_all, stage)

    def _befall_launchers(self, stage: Stage) -> None:
        assert self._fate.launchers is not None
        for launcher in stage.ray.launchers.living():
            self._fate.launchers(stage, launcher)

    def _hit_all(self, stage: Stage) -> None:
        for actor in stage.ray.living():
            self._fate.hit(stage, actor)


async def _asked(stage: Stage, body: AnyBody, outcomes: list[str], delay: float = 0.0) -> None:
    await asyncio.sleep(delay)
    reply = await stage.ask(body, body.request_id if isinstance(body, CreateAgent) else None)
    outcomes.append("gone" if reply is None else " ".join(_outcome(one) for one in reply.replies or [reply]))


def _outcome(reply: Reply) -> str:
    if reply.refusal is not None:
        return reply.refusal.error
    return f"done, created: {(reply.result or {}).get('created')}"
