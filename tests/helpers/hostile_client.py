"""A hostile driver: calls every method of the client with odd values, and holds the mesh to its word.

The word: whatever is passed, the call returns or raises an error of ours that can be read; what was refused has
changed nothing; and the supervisor is the same process before and after.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hostile_wire import POOL, READABLE, RESOURCES, TARGET, bodies, unchanged
from hypothesis import strategies as st
from odd_values import EvilReduce, Odd, just, odd_values
from raycluster import eventually
from rayview import books_of

import schedulemesh
from schedulemesh import AgentActor, AgentRequest, AgentStartError, AgentStartTimeoutError, ScheduleMeshError, Scheduler
from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import ERRORS
from schedulemesh.core.messages import AnyBody

RESIDENT = "resident"
_STARTED = (AgentStartError, AgentStartTimeoutError)


def unloadable() -> type[AgentActor]:
    """A class that pickles and cannot be loaded: an agent of it is admitted, booked, launched, and ends at once."""

    class Unloadable(AgentActor):
        bomb = EvilReduce()

    return Unloadable


class Resident(AgentActor):
    """Lives in the pool all the while, so that there is something to lose."""


_UNLOADABLE = unloadable()
_OF_AGENT = {
    "name": st.sampled_from(["w1", RESIDENT]).flatmap(just),
    "pool": st.sampled_from([POOL, POOL, "no-such-pool"]).flatmap(just),
    "actor_class": just(_UNLOADABLE),
    "resources": st.sampled_from([None, {"cpu": 0.1}, {"cpu": 100}]).flatmap(just),
    "ray_options": st.sampled_from([None, {"max_restarts": 0}]).flatmap(just),
    "actor_args": st.sampled_from([None, [1], ()]).flatmap(just),
    "actor_kwargs": st.sampled_from([None, {}]).flatmap(just),
    "labels": st.sampled_from([None, {"role": "x"}]).flatmap(just),
    "timeout_s": just(60.0),
}
_FLAG = just(value=False)
METHODS: dict[str, dict[str, st.SearchStrategy[Odd]]] = {
    "create_pool": {
        "name": st.sampled_from([POOL, "another"]).flatmap(just),
        "labels": just({}),
        "resources": st.sampled_from([{"cpu": 0.5}, {"cpu": 1e6}]).flatmap(just),
        "target_agents": just(1),
        "warm_agents": just(0),
        "overcommit": _FLAG,
    },
    "get_pool": {"name": just(POOL)},
    "list_pools": {},
    "resize_pool": {
        "name": just(POOL),
        "resources": st.sampled_from([None, {"cpu": 0.1}]).flatmap(just),
        "target_agents": st.sampled_from([None, 1]).flatmap(just),
        "warm_agents": st.sampled_from([None, 0]).flatmap(just),
        "force": _FLAG,
    },
    "delete_pool": {"name": st.sampled_from([POOL, "another"]).flatmap(just), "force": _FLAG},
    "create_agent": _OF_AGENT,
    "create_agents": {},  # drawn below
    "get_agent": {"name": st.sampled_from([RESIDENT, "nobody"]).flatmap(just)},
    "list_agents": {"pool": st.sampled_from([None, POOL]).flatmap(just), "labels": just(None)},
    "delete_agent": {"name": just("nobody"), "grace_s": just(1.0), "force": _FLAG},
    "status": {},
    "stop": {"force": _FLAG},
    "connect": {
        "name": just("no-such-mesh"),
        "namespace": st.sampled_from(["schedulemesh", "elsewhere"]).flatmap(just),
        "start": _FLAG,
        "timeout_s": just(5.0),
        "address": just(None),
        "log_to_driver": _FLAG,
    },
}
# What would be carried out, as it should be, and is nothing to try here: the end of the mesh, the birth of another.
_NEVER = {("stop", "True"), ("connect", "True")}


@dataclass(frozen=True)
class Call:
    """One call; what is passed is made when it is made, as some of it can be used only once."""

    method: str
    arguments: tuple[tuple[str, Odd], ...]

    def made(self) -> dict[str, Any]:
        return {name: value.make() for name, value in self.arguments}


def _with_some_odd(draw: st.DrawFn, parameters: dict[str, st.SearchStrategy[Odd]]) -> dict[str, Odd]:
    """Usual values, and in place of at least one of them an odd one."""
    if not parameters:
        return {}
    odd = draw(st.sets(st.sampled_from(sorted(parameters)), min_size=1, max_size=2))
    return {name: draw(odd_values if name in odd else usual) for name, usual in parameters.items()}


@st.composite
def calls(draw: st.DrawFn) -> Call:
    method = draw(st.sampled_from(sorted(METHODS)))
    if method == "create_agents":
        requests = draw(st.lists(_requests() | odd_values, max_size=3))
        batch = Odd(repr(requests), lambda: [one.make() for one in requests])
        return Call(method, (("requests", draw(st.just(batch) | odd_values)),))
    arguments = _with_some_odd(draw, METHODS[method])
    return Call(method, tuple(item for item in arguments.items() if (method, repr(item[1])) not in _NEVER))


@st.composite
def _requests(draw: st.DrawFn) -> Odd:
    fields = _with_some_odd(draw, _OF_AGENT)
    return Odd(f"AgentRequest({fields})", lambda: AgentRequest(**{name: one.make() for name, one in fields.items()}))


class HostileDriver:
    """Makes calls on a mesh of which it knows what has to be there: one pool with one living agent."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.outcomes: Counter[str] = Counter()
        self.settle()

    def make(self, call: Call) -> None:
        target: Any = getattr(schedulemesh if call.method == "connect" else self.scheduler, call.method)
        try:
            answer = target(**call.made())
        except ScheduleMeshError as refused:
            answer = [refused]
        replies = answer if isinstance(answer, list) else [answer]
        errors = [reply for reply in replies if isinstance(reply, ScheduleMeshError)]
        for error in errors:
            self._is_readable(error)
        self.outcomes.update(type(error).__name__ for error in errors)
        self.outcomes["answered"] += len(replies) - len(errors)
        if len(errors) < len(replies) or any(isinstance(error, _STARTED) for error in errors):
            self.settle()  # something was carried out, well or not
        else:
            unchanged(self.ledger, self._ledger(), call)

    def settle(self) -> None:
        """Put back what has to be there, and take it as what may not change from now on."""
        scheduler = self.scheduler
        for agent in scheduler.list_agents()["agents"]:
            if agent["name"] != RESIDENT:
                scheduler.delete_agent(agent["name"], force=True)
        for pool in scheduler.list_pools()["pools"]:
            if pool["name"] != POOL:
                scheduler.delete_pool(pool["name"], force=True)
        if scheduler.list_pools()["pools"]:
            scheduler.resize_pool(POOL, resources=RESOURCES, target_agents=TARGET, warm_agents=0)
        else:
            scheduler.create_pool(POOL, {"team": "a"}, RESOURCES, target_agents=TARGET)
        options = {"get_if_exists": True, "max_concurrency": 1}
        scheduler.create_agent(RESIDENT, POOL, Resident, ray_options=options)
        assert eventually(lambda: scheduler.get_agent(RESIDENT)["agent"]["pid"]), "no news of the resident's process"
        self.ledger = self._ledger()

    def _ledger(self) -> tuple[Any, ...]:
        """All that the mesh shows of itself; its process id is in its status."""
        agents = self.scheduler.list_agents()["agents"]
        shown = [{field: value for field, value in agent.items() if field != "handle"} for agent in agents]
        return *books_of(self.scheduler), shown

    def _is_readable(self, error: ScheduleMeshError) -> None:
        text = str(error)
        text.encode()
        assert text.strip()
        assert len(text) < READABLE or isinstance(error, _STARTED), f"{len(text)} characters: {text[:300]}"
        assert type(error) in ERRORS.values()


def sendable(scheduler: Any) -> tuple[list[AnyBody], Environment]:
    """Good requests of this very driver, as its client would send them, and the environment they name."""
    body = scheduler._body(AgentRequest("w1", POOL, unloadable()))
    return bodies(body.class_blob, body.environment, {}), body.environment
