"""The evidence: a history, sorted into what the checker's rules ask of it. Decides nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from chaoslib.history import (
    Answer,
    AnyEntry,
    Back,
    Born,
    Call,
    Kill,
    Left,
    Request,
    Rest,
    Table,
)

E = TypeVar("E", bound=AnyEntry)
RECOVERED_S = 5.0
"""After an agent was born again, calls that were sent before may still fail for so long."""
DYING_NODE_S = 5.0
"""For so long a process may still come up on a node whose raylet was killed."""
LOST_NODE_S = 30.0
"""For so long calls may fail to an actor that was on its way to a node that was killed. Ray takes ten seconds to find a
node dead (see `cluster`), on a busy machine more; then it drops the actor or sends it elsewhere, and callers learn."""
UNANSWERED_S = 60.0
"""A request without an answer, of a driver that was killed, may still be carried out for so long: longer than any
outage of the run. Nobody asks it again, so it means no actor that came to be later."""
NEVER = float("inf")
KILLED = ("supervisor", "launcher", "agent", "driver", "node", "gcs")
"""What a kill may be of. Strays are none of these: nothing uses them."""
_UP = ("running", "restarting")


class Asked(NamedTuple):
    """A request with its answer, if there was one. Without one it may have been carried out, at any time since."""

    request: Request
    answer: Answer | None
    line: int

    @property
    def ended(self) -> float:
        return self.answer.at if self.answer else NEVER

    @property
    def agent(self) -> str:
        return str(self.request.args.get("agent", ""))


class Hit(NamedTuple):
    """Something that was killed, which excuses an agent's failing calls between two moments."""

    what: str
    begin: float
    end: float


class Evidence:
    """Built once from the whole history; line numbers count from 1, as in the file."""

    def __init__(self, history: Sequence[AnyEntry]) -> None:
        self.lines = dict(enumerate(history, start=1))
        self.asked = list(self._pairs())
        self.rest = next((entry for _, entry in self.of(Rest)), None)
        self.left = next((entry for _, entry in self.of(Left)), None)
        self.births: dict[str, list[Born]] = defaultdict(list)
        """By actor id: one for each process, as Ray restarts an actor under its id."""
        for _, born in self.of(Born):
            self.births[born.actor_id].append(born)
        self.deletes = [asked for asked in self.asked if asked.request.op in ("delete_agent", "delete_pool")]
        self._readings = [(table.at, {a.actor_id for a in table.actors if a.lives}) for _, table in self.tables()]
        self._known_since: dict[str, float] = {}
        self._last_seen: dict[str, float] = {}
        self._said_up: dict[str, float] = {}
        self._ways: dict[str, set[str]] = defaultdict(set)
        """The nodes on which Ray's table ever showed an actor, or to which it was on its way."""
        self._follow_actors()
        self._hits = self._agents_hit()

    def of(self, kind: type[E]) -> Iterator[tuple[int, E]]:
        return ((line, entry) for line, entry in self.lines.items() if isinstance(entry, kind))

    def duration_s(self) -> float:
        """From the first request to the last request or kill."""
        asked = [asked.request.at for asked in self.asked]
        return max([*asked, *(kill.at for _, kill in self.of(Kill))]) - min(asked) if asked else 0.0

    def answered_per_minute(self) -> float:
        return self._per_minute(sum(1 for asked in self.asked if asked.answer is not None))

    def kills_per_minute(self) -> float:
        return self._per_minute(sum(1 for _ in self.kills(*KILLED)))

    def _per_minute(self, times: int) -> float:
        duration_s = self.duration_s()
        return times / duration_s * 60 if duration_s else 0.0

    def kills(self, *what: str) -> Iterator[tuple[int, Kill]]:
        return ((line, kill) for line, kill in self.of(Kill) if kill.what in what)

    def without_gcs(self) -> list[tuple[float, float]]:
        """The times in which there was no GCS."""
        backs = [back.at for _, back in self.of(Back) if back.what == "gcs"]
        return [(kill.at, min((at for at in backs if at > kill.at), default=NEVER)) for _, kill in self.kills("gcs")]

    def hits(self, actor_id: str) -> list[Hit]:
        """When this actor was down because its process or its node was killed."""
        return self._hits.get(actor_id, [])

    def known_since(self, actor_id: str) -> float:
        """When anything first told of this actor: Ray's table, an answer, a call, or its birth."""
        return self._known_since.get(actor_id, NEVER)

    def last_seen(self, actor_id: str) -> float:
        """The last reading of Ray's table in which it lived."""
        return self._last_seen.get(actor_id, 0.0)

    def said_up(self, actor_id: str) -> float:
        """When the mesh first told someone that this actor is up."""
        return self._said_up.get(actor_id, NEVER)

    def is_listed(self, actor_id: str, at: float) -> bool:
        """Whether it lived in the last reading until then."""
        before = bisect_right(self._readings, at, key=lambda reading: reading[0])
        return before > 0 and actor_id in self._readings[before - 1][1]

    def deletes_of(self, agent: str, actor_id: str) -> Iterator[Asked]:
        """Requests that may have ended this actor: not refused, not about another, not over before it came to be."""
        births = self.births.get(actor_id)
        since = births[0].at if births else self.known_since(actor_id)
        for asked in self.deletes_meant(agent):
            told = [one["actor_id"] for one in agents_of(asked.answer)] if asked.answer else []
            over = asked.answer.at if asked.answer else asked.request.at + UNANSWERED_S
            if over >= since and all(other in (None, actor_id) for other in told):
                yield asked

    def deletes_meant(self, agent: str) -> Iterator[Asked]:
        """Requests for the end of an agent of this name, or of its pool, that were not refused."""
        pool = agent.rpartition("-")[0]
        for asked in self.deletes:
            meant = asked.agent == agent if asked.request.op == "delete_agent" else asked.request.args["pool"] == pool
            if meant and (asked.answer is None or asked.answer.outcome != "refused"):
                yield asked

    def creates(self) -> Iterator[Asked]:
        return (asked for asked in self.asked if asked.request.op == "create_agent")

    def tables(self) -> Iterator[tuple[int, Table]]:
        return self.of(Table)

    def calls(self) -> Iterator[tuple[int, Call]]:
        return self.of(Call)

    def _pairs(self) -> Iterator[Asked]:
        answers = {(a.driver, a.life, a.number): a for _, a in self.of(Answer)}
        for line, request in self.of(Request):
            yield Asked(request, answers.get((request.driver, request.life, request.number)), line)

    def _follow_actors(self) -> None:
        known: dict[str, list[float]] = defaultdict(list)
        for _, table in self.tables():
            for actor in table.actors:
                known[actor.actor_id].append(table.at)
                if actor.node:
                    self._ways[actor.actor_id].add(actor.node)
                if actor.lives:
                    self._last_seen[actor.actor_id] = max(table.at, self.last_seen(actor.actor_id))
        for _, answer in self.of(Answer):
            for agent in agents_of(answer):
                known[agent["actor_id"]].append(answer.at)
                if agent["state"] in _UP:
                    self._said_up[agent["actor_id"]] = min(answer.at, self.said_up(agent["actor_id"]))
        for _, call in self.calls():
            known[call.actor_id].append(call.at)
        for actor_id, births in self.births.items():
            known[actor_id] += [born.at for born in births]
        self._known_since = {actor_id: min(times) for actor_id, times in known.items()}

    def _agents_hit(self) -> dict[str, list[Hit]]:
        found: dict[str, list[Hit]] = defaultdict(list)
        for _, kill in self.kills("agent"):
            found[kill.actor_id].append(self._hit(kill, kill.actor_id))
        for _, kill in self.kills("node"):
            for actor_id in self._known_since:
                before = [born for born in self.births[actor_id] if born.at < kill.at + DYING_NODE_S]
                if before and before[-1].node == kill.node:
                    found[actor_id].append(self._hit(kill, actor_id))
                elif not before and self._was_on_its_way(actor_id, kill):
                    found[actor_id].append(Hit("node", kill.at, kill.at + LOST_NODE_S))
        return found

    def _was_on_its_way(self, actor_id: str, kill: Kill) -> bool:
        """One of which no reading says where it was to be made may have been on its way to any node."""
        if ways := self._ways.get(actor_id):
            return kill.node in ways
        return kill.at - LOST_NODE_S < self.known_since(actor_id) < kill.at + DYING_NODE_S

    def _hit(self, kill: Kill, actor_id: str) -> Hit:
        lost = kill.node if kill.what == "node" else None
        again = [born.at for born in self.births[actor_id] if born.at > kill.at and born.node != lost]
        return Hit(kill.what, kill.at, again[0] + RECOVERED_S if again else NEVER)


def agents_of(answer: Answer) -> Iterator[dict[str, Any]]:
    """Every agent that an answer tells of."""
    value = answer.value if isinstance(answer.value, dict) else {}
    if isinstance(value.get("agent"), dict):
        yield value["agent"]
    if isinstance(value.get("agents"), list):
        yield from value["agents"]


def pools_of(answer: Answer) -> Iterator[dict[str, Any]]:
    """Every pool that an answer tells of."""
    value = answer.value if isinstance(answer.value, dict) else {}
    if isinstance(value.get("pool"), dict):
        yield value["pool"]
    if isinstance(value.get("pools"), list):
        yield from value["pools"]
