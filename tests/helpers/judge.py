"""The judge: sees all that happens, on both sides, and says which promise was broken first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from answers import same_answer

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreatePool,
    DeleteAgent,
    DeletePool,
    GetAgent,
    Reply,
    Request,
    ResizePool,
    Stop,
)
from schedulemesh.core.records import MESH_KEY, AgentRecord, PoolRecord, Record
from schedulemesh.core.states import ENDED, AgentState, PoolState
from schedulemesh.supervisor.events import Asked

if TYPE_CHECKING:
    from ray_world import Actor
    from stage import Stage

    from schedulemesh.supervisor.effects import Decision, Launch
    from schedulemesh.supervisor.events import Event
    from schedulemesh.supervisor.mesh import Mesh

START_FAILED = ("AgentStartError", "AgentStartTimeoutError")
SETTLED = ENDED | {AgentState.RUNNING, AgentState.RESTARTING}


@dataclass
class Wish:
    """Someone's wish that something ends. What no one wished to end may only end by itself."""

    body: DeleteAgent | DeletePool | Stop
    granted_at: float | None = None

    def means(self, agent: AgentRecord) -> bool:
        if self.granted_at is not None and self.granted_at < agent.created_at:
            return False
        match self.body:
            case DeleteAgent(name=name):
                return name == agent.name
            case DeletePool(name=name):
                return name == agent.pool
            case Stop():
                return True


class Judge:
    """`violation` is the first that was found. `strays` are actors that were made under a lease that was given up."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.violation: str | None = None
        self.strays: set[str] = set()
        self._late: set[str] = set()
        self._came_up: set[str] = set()
        self._had_start: set[str] = set()
        self._booked: dict[str, set[str]] = defaultdict(set)
        self._alone: set[str] = set()
        self._wishes: list[Wish] = []
        self._resized_by_force: set[str] = set()
        self._answered: dict[str, tuple[Request, Reply]] = {}
        self._running: set[str] = set()
        self._over: set[str] = set()
        self._before: object = None

    def fail(self, what: str) -> None:
        if self.violation is None:
            self.violation = what
            self.stage.note("VIOLATION: ", what)

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.fail(what)

    # -- the world -----------------------------------------------------------------------------------------------

    def made(self, actor: Actor, order: Launch, *, late: bool) -> None:
        """P1 and P2: one living actor behind a name, and only where the store says that capacity is held.

        `late`: the supervisor that gave the lease is dead and another one is there, or it has given the lease up.
        """
        record = self.stage.shelf.agent(actor.uid)
        held = record is not None and record.state not in ENDED
        self.stage.note("Ray: ", f"{actor.actor_id} of {order.agent} ({actor.uid}) is made")
        if late:
            self._late.add(actor.actor_id)
        if self._is_stray(actor, held=held):
            return
        self.expect(held, f"{order.agent} ({actor.uid}) has an actor, and nothing is held for it")
        self.expect(actor.uid not in self._over, f"{order.agent} ({actor.uid}) has an actor after its end was answered")
        started = (self._booked[actor.uid] & self._had_start) - self.strays
        self.expect(not started, f"{order.agent} ({actor.uid}) is given a second start after that of {started}")
        for other in self._proper():
            if other is not actor:
                there = self.stage.shelf.agent(other.uid)
                same = there is not None and record is not None and there.name == record.name
                twice = other.uid == actor.uid or (other.name, other.namespace) == (actor.name, actor.namespace)
                self.expect(not same and not twice, f"two living actors are behind {order.agent}")

    def came_up(self, actor: Actor) -> None:
        self.stage.note("Ray: ", f"{actor.actor_id} ({actor.uid}) comes up")
        self._came_up.add(actor.actor_id)
        self._had_start.add(actor.actor_id)

    def dropped(self, actor: Actor) -> None:
        self.stage.note("Ray: ", f"{actor.actor_id} ({actor.uid}) is dropped before it was begun to be made")

    def restarts(self, actor: Actor) -> None:
        self.stage.note("Ray: ", f"{actor.actor_id} ({actor.uid}) crashes and is started again")

    def ends_by_itself(self, actor: Actor) -> None:
        self.stage.note("Ray: ", f"{actor.actor_id} ({actor.uid}) ends by itself")
        self._alone.add(actor.uid)
        self._had_start.add(actor.actor_id)

    def ends_by_order(self, actor: Actor) -> None:
        """P3 and P4: what was answered to be there is ended only because someone wished it."""
        self.stage.note("Ray: ", f"{actor.actor_id} ({actor.uid}) ends by order")
        record = self.stage.shelf.agent(actor.uid)
        if actor.uid in self._running and record is not None:
            wished = any(wish.means(record) for wish in self._wishes)
            self.expect(wished, f"{record.name} was answered to be there and is ended, and nobody wished it")

    def _is_stray(self, actor: Actor, *, held: bool) -> bool:
        """Its launcher made it so late that the supervisor had found no actor. It has to be killed then."""
        if actor.actor_id in self._late and not held:
            self.strays.add(actor.actor_id)
        return actor.actor_id in self.strays

    def _proper(self) -> list[Actor]:
        return [actor for actor in self.stage.ray.living() if actor.actor_id not in self.strays]

    # -- the mesh ------------------------------------------------------------------------------------------------

    def about_to_step(self, mesh: Mesh, event: Event) -> None:
        if isinstance(event, Asked):
            self._before = _numbers(mesh)

    def stepped(self, mesh: Mesh, event: Event | None, decision: Decision) -> None:
        """The mesh's own invariants, and P2 by its books; P6 for what is refused."""
        try:
            mesh.check()
        except AssertionError as error:
            self.fail(str(error))
        books = mesh._books
        for actor in self._proper():
            agent = books.agents.get(actor.uid)
            held = agent is not None and agent.record.state not in ENDED
            if self._is_stray(actor, held=held):
                continue
            self.expect(held, f"{actor.actor_id} ({actor.uid}) lives, and the books hold nothing for it")
        for pool in books.pools.values():
            account = books.ledger.account(pool.uid)
            fits = pool.name in self._resized_by_force or account.used.fits_in(account.capacity)
            self.expect(fits, f"pool {pool.name} has {account.capacity} and {account.used} of it is used")
        if isinstance(event, Asked) and not self._is_remembered(event.request.request_id):
            for answer in decision.answers:
                if answer.request_id == event.request.request_id and answer.reply.refusal is not None:
                    self.expect(not decision.writes, "a refused request wrote")
                    self.expect(not decision.effects, "a refused request gave orders")
                    self.expect(_numbers(mesh) == self._before, "a refused request changed the books")

    def stored(self, key: str, record: Record | None) -> None:
        """P2 and P3 by the store: nothing is written off that lives, and no record is lost."""
        self.stage.changed()
        self.stage.note("store: ", f"{key} {_in_short(record)}")
        if isinstance(record, AgentRecord) and record.actor_id is not None:
            self._booked[record.uid].add(record.actor_id)
        if isinstance(record, AgentRecord) and record.state in ENDED:
            lives = any(actor.uid == record.uid for actor in self._proper())
            self.expect(not lives, f"{record.name} is written to have ended, and its actor lives")
        elif isinstance(record, PoolRecord) and record.state is not PoolState.ACTIVE:
            wished = any(not isinstance(wish.body, DeleteAgent) for wish in self._wishes)
            self.expect(wished, f"pool {record.name} is written to be deleted, and nobody wished it")
        elif record is None and key == MESH_KEY:
            self.mesh_ended()
        elif record is None and not key.startswith("blob/") and not self.stage.shelf.being_wiped:
            self.fail(f"the record {key} was deleted")

    def mesh_ended(self) -> None:
        """The mesh's own record is gone, or its supervisor for good: nothing else is left."""
        self.expect(not self.stage.shelf.kept, f"the mesh has ended and left {sorted(self.stage.shelf.kept)}")
        self.expect(not self._proper(), "the mesh has ended and left living actors")
        self._answered.clear()
        self._over.clear()
        self._running.clear()
        self._booked.clear()  # who asks the next mesh the same again is given another agent

    # -- the clients ---------------------------------------------------------------------------------------------

    def wished(self, body: AnyBody) -> Wish | None:
        if isinstance(body, ResizePool) and body.force:
            self._resized_by_force.add(body.name)
        if isinstance(body, (DeleteAgent, DeletePool, Stop)):
            self._wishes.append(Wish(body))
            return self._wishes[-1]
        return None

    def answered(self, request: Request, reply: Reply) -> None:
        """P3: what a client was told is in the store at that moment, and true. P6: what was refused is not there."""
        self.stage.note("answer to ", f"{request.request_id}: {_outcome(reply)}")
        shelf = self.stage.shelf
        body = request.body
        if shelf.being_wiped or self.stage.over or not shelf.kept:
            return
        if reply.refusal is not None and reply.refusal.error not in START_FAILED:
            self.expect(
                not self._is_remembered(request.request_id), f"{request.request_id} was refused and left a trace"
            )
            return
        self._answered[request.request_id] = (request, reply)
        if isinstance(body, CreateAgent):
            self._created(body, reply)
        elif isinstance(body, GetAgent):
            info = (reply.result or {})["agent"]
            if AgentState(info["state"]) in ENDED:
                self._ended(self._of(info))
        else:
            self._changed(request.request_id, body)

    def _changed(self, request_id: str, body: AnyBody) -> None:
        shelf = self.stage.shelf
        match body:
            case DeleteAgent():
                ended = [agent for agent in shelf.agents() if request_id in agent.stopped_by]
                self.expect(len(ended) == 1, f"the end of {body.name} was answered and is not in the store")
                self._ended(ended)
            case CreatePool():
                there = any(pool.name == body.name for pool in shelf.pools())
                self.expect(there, f"pool {body.name} was answered and is not in the store")
            case ResizePool() | DeletePool():
                changed = [pool for pool in shelf.pools() if request_id in pool.changed_by]
                self.expect(len(changed) == 1, f"a change of pool {body.name} was answered and is not in the store")
                if isinstance(body, DeletePool):
                    deleted = all(pool.state is PoolState.DELETED for pool in changed)
                    self.expect(deleted, f"the end of pool {body.name} was answered and is not in the store")
                    self._ended([a for a in shelf.agents() if any(a.pool_uid == pool.uid for pool in changed)])
            case _:
                pass  # looked up

    def _created(self, body: CreateAgent, reply: Reply) -> None:
        if reply.refusal is not None:
            record = self.stage.shelf.agent(body.request_id)
            if record is not None:  # else it waited for another's start
                self._ended([record])
            return
        result = reply.result or {}
        found = self._of(result["agent"])
        self.expect(len(found) == 1, f"{body.name} was answered and is not in the store")
        for record in found:
            self.expect(record.started_at is not None, f"{body.name} was answered, and its start is not in the store")
            self.expect(result["created"] is (record.uid == body.request_id), f"{body.name}: who created it?")
            self.expect(record.actor_id in self._came_up, f"{body.name} was answered, and its constructor not done")
            self._running.add(record.uid)

    def _ended(self, agents: list[AgentRecord]) -> None:
        for agent in agents:
            self.expect(agent.state in ENDED, f"the end of {agent.name} was answered, and it is {agent.state.value}")
            lives = any(actor.uid == agent.uid for actor in self._proper())
            self.expect(not lives, f"the end of {agent.name} was answered, and its actor lives")
            self._over.add(agent.uid)

    def _of(self, info: dict[str, Any]) -> list[AgentRecord]:
        agents = self.stage.shelf.agents()
        return [a for a in agents if (a.name, a.created_at) == (info["name"], info["created_at"])]

    def _is_remembered(self, request_id: str) -> bool:
        shelf = self.stage.shelf
        return (
            f"agent/{request_id}" in shelf.records
            or f"pool/{request_id}" in shelf.records
            or any(request_id in agent.stopped_by for agent in shelf.agents())
            or any(request_id in pool.changed_by for pool in shelf.pools())
        )

    # -- at rest -------------------------------------------------------------------------------------------------

    def at_rest(self, mesh: Mesh) -> None:
        """Nothing is under way any more: books, store and world are one."""
        shelf = self.stage.shelf
        living = {actor.uid: actor for actor in self.stage.ray.living()}
        for record in shelf.agents():
            self.expect(record.state in SETTLED, f"{record.name} ({record.uid}) is {record.state.value} for ever")
            actor = living.get(record.uid)
            if record.state not in ENDED:
                self.expect(actor is not None, f"{record.name} ({record.uid}) is {record.state.value} without an actor")
            if actor is not None:
                self.expect(actor.actor_id == record.actor_id, f"{record.name} has another actor than the books say")
        known = {record.uid for record in shelf.living()}
        self.expect(set(living) <= known, f"actors are left behind: {sorted(set(living) - known)}")
        self.expect(len(living) == len(self.stage.ray.living()), "an agent has two actors")
        blobs = {key for key in shelf.kept if key.startswith("blob/")}
        kept_warm = {f"blob/{pool.environment}" for pool in shelf.pools() if pool.warm_agents}
        self.expect(blobs == kept_warm, f"launch kits are left behind, or missing: {blobs ^ kept_warm}")
        self._used_is_what_lives(mesh)
        self.expect(mesh._books.deadlines.next() is None, "a deadline is left behind")
        waiting = [*mesh._books._waiting_for_start, *mesh._books._waiting_for_end]
        self.expect(not waiting, f"someone waits for ever: {waiting}")
        for uid in self._running:
            there = shelf.agent(uid)
            self.expect(there is not None, f"agent {uid} was answered and is forgotten")
            if there is not None and there.state in ENDED:
                wished = uid in self._alone or any(wish.means(there) for wish in self._wishes)
                self.expect(wished, f"{there.name} was answered and is {there.state.value}: {there.cause}")

    def _used_is_what_lives(self, mesh: Mesh) -> None:
        """P2 at rest, by what the world says: what is used is what the living actors were booked with."""
        for pool in mesh._books.pools.values():
            used = Amounts()
            for actor in self.stage.ray.living():
                record = self.stage.shelf.agent(actor.uid)
                if record is not None and record.pool_uid == pool.uid:
                    used = used.plus(record.need)
            booked = mesh._books.ledger.account(pool.uid).used
            self.expect(used == booked, f"pool {pool.name} says {booked} is used, and {used} is")

    def to_be_asked_again(self) -> list[tuple[Request, Reply]]:
        """What was done and answered; asked again, it must be answered the same."""
        return [
            (request, reply)
            for request, reply in self._answered.values()
            if not isinstance(request.body, Stop) and self._is_remembered(request.request_id)
        ]

    def answered_again(self, request: Request, first: Reply, again: Reply) -> None:
        self.expect(same_answer(first, again), f"{request.request_id}: first {_outcome(first)}, then {_outcome(again)}")


def _numbers(mesh: Mesh) -> object:
    books = mesh._books
    used = [books.ledger.account(pool.uid).used for pool in books.pools.values()]
    return len(books.agents), len(books.old_pools), books.mesh.state, books.ledger.committed, used


def _in_short(record: Record | None) -> str:
    if isinstance(record, AgentRecord):
        return f"{record.name} {record.state.value} (goal {record.goal.value})"
    return "" if record is None else record.state.value


def _outcome(reply: Reply) -> str:
    if reply.refusal is not None:
        return f"{reply.refusal.error} {str(reply.refusal.as_error())[:200]}"
    result = reply.result or {}
    info = result.get("agent") or result.get("pool") or {}
    return " ".join(
        str(part) for part in (info.get("name"), info.get("state"), result.get("created")) if part is not None
    )
