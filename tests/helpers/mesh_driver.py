"""A mesh on a bench: a hand-set clock, a dictionary for a store, and everything that was ordered and answered."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from schedulemesh.core import records
from schedulemesh.core.amounts import Amounts
from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import ScheduleMeshError
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreatePool,
    DeleteAgent,
    GetAgent,
    GetPool,
    ListAgents,
    ListPools,
    Place,
    Reply,
    Request,
    Status,
    decode_reply,
    encode_reply,
)
from schedulemesh.core.records import AgentRecord, PoolRecord
from schedulemesh.supervisor.effects import Decision, Effect, KillActor, Launch, Note
from schedulemesh.supervisor.events import (
    ActorPhase,
    ActorSeen,
    Asked,
    ClusterSeen,
    Event,
    LaunchReady,
    Node,
    TableRead,
    Tick,
)
from schedulemesh.supervisor.mesh import Mesh

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PENDING, RESTARTING, ALIVE, DEAD = ActorPhase
MESH_NAMESPACE = "mesh-ns"
INSTANT = 0.001
"""Every step takes this long, as no two events of a real clock come at the same time."""

AnyEffect = TypeVar("AnyEffect", bound=Effect)
AnyError = TypeVar("AnyError", bound=ScheduleMeshError)


def node(name: str = "n1", **amounts: float) -> Node:
    total = Amounts.parse(amounts, "node")
    return Node(name, total, total)


NODES = (node("n1", cpu=16, memory=64_000, gpu=4, fpga=2), node("n2", cpu=8, memory=32_000))


class Bench:
    """Drives one mesh through its door, applies what it writes, and checks its invariants after every step."""

    def __init__(self, *, headroom: float = 0.0, nodes: tuple[Node, ...] = NODES) -> None:
        self.now = 1_700_000_000.0
        self.headroom = headroom
        self.nodes = nodes
        self.store: dict[str, bytes] = {}
        self.effects: list[Effect] = []
        self.answers: dict[str, list[Reply]] = {}
        self.notes: list[Note] = []
        self.wake_at: float | None = None
        self._ids = count(1)
        self.mesh = self._new_mesh()
        self.step(ClusterSeen(nodes))

    # -- the door ------------------------------------------------------------------------------------------------

    def step(self, event: Event) -> Decision:
        self.now += INSTANT
        decision = self.mesh.step(event, self.now)
        self.carry_out(decision)
        self.mesh.check()
        return decision

    def carry_out(self, decision: Decision) -> None:
        for write in decision.writes:
            if write.value is None:
                self.store.pop(write.key, None)
            else:
                self.store[write.key] = write.value
        self.effects += decision.effects
        for answer in decision.answers:
            self.answers.setdefault(answer.request_id, []).append(answer.reply)
        self.notes += decision.notes
        self.wake_at = decision.wake_at

    def restart(self) -> Decision:
        """The supervisor's process died and another one comes back from the store."""
        self.now += INSTANT
        self.mesh = self._new_mesh()
        self.mesh.step(ClusterSeen(self.nodes), self.now)
        stored = {key: b"" if key.startswith("blob/") else value for key, value in self.store.items()}
        decision = self.mesh.restore(stored, self.now)
        self.carry_out(decision)
        self.mesh.check()
        return decision

    def _new_mesh(self) -> Mesh:
        return Mesh(name="mesh", namespace=MESH_NAMESPACE, headroom=self.headroom, about={"mesh": "test"})

    # -- asking --------------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        return f"r{next(self._ids)}"

    def ask(self, body: AnyBody, request_id: str | None = None) -> Reply | None:
        """The answer that came at once, or None when it is to come later."""
        request_id = self.new_id() if request_id is None else request_id
        if isinstance(body, CreateAgent):
            body = msgspec.structs.replace(body, request_id=request_id)
        decision = self.step(Asked(Request(request_id, body)))
        return next((answer.reply for answer in decision.answers if answer.request_id == request_id), None)

    def result(self, body: AnyBody, request_id: str | None = None) -> dict[str, Any]:
        return result(self.ask(body, request_id))

    def refusal(self, body: AnyBody, kind: type[AnyError]) -> AnyError:
        """The error of a request that is refused at once; a refused request leaves no trace."""
        before = self.everything()
        writes, effects = len(self.store), len(self.effects)
        error = refusal(self.ask(body), kind)
        assert (len(self.store), len(self.effects)) == (writes, effects)
        assert self.everything() == before
        return error

    def answer(self, request_id: str) -> Reply:
        """The one answer that this request has got so far."""
        (reply,) = self.answers[request_id]
        return reply

    def error_of(self, request_id: str) -> ScheduleMeshError:
        """The error that this request was answered with in the end."""
        return refusal(self.answer(request_id), ScheduleMeshError)

    def listed(self, body: ListAgents | ListPools, kind: str) -> list[dict[str, Any]]:
        """All that is listed, page after page."""
        listed: list[dict[str, Any]] = []
        while True:
            page = self.result(body)
            listed += page[kind]
            if page["next"] is None:
                return listed
            body = msgspec.structs.replace(body, after=Place(**page["next"]))

    def everything(self) -> dict[str, Any]:
        """All that the mesh shows of itself, and all that it has stored."""
        agents = self.listed(ListAgents(None, {}), "agents")
        return {
            "store": dict(self.store),
            "status": self.result(Status()),
            "pools": sorted(self.listed(ListPools(), "pools"), key=lambda pool: str(pool["name"])),
            "agents": sorted(agents, key=lambda agent: str(agent["name"])),
        }

    # -- pools and agents ----------------------------------------------------------------------------------------

    def create_pool(self, name: str = "p", *, target: int = 0, overcommit: bool = False, **amounts: float) -> None:
        self.result(CreatePool(name, {}, amounts or {"cpu": 4}, target, overcommit))

    def create(self, name: str = "w1", *, pool: str = "p", request_id: str | None = None, **changes: Any) -> str:
        """Ask for an agent that starts; returns its uid, which is the id of the request."""
        body = agent_body(name, pool=pool, request_id=request_id or self.new_id(), **changes)
        assert self.ask(body, body.request_id) is None
        return body.request_id

    def run(self, name: str = "w1", **changes: Any) -> str:
        """Create an agent and see it come up; returns its uid."""
        uid = self.create(name, **changes)
        self.come_up(uid)
        return uid

    def come_up(self, uid: str, actor_id: str | None = None) -> None:
        self.see(uid, ALIVE, actor_id=actor_id)
        self.step(LaunchReady(uid, self.launch(uid).attempt, actor_id or actor_of(uid)))

    def delete(self, name: str = "w1", *, grace_s: float = 30.0, force: bool = False) -> str:
        """Ask for an agent's end; returns the id of the request."""
        request_id = self.new_id()
        assert self.ask(DeleteAgent(name, grace_s, force), request_id) is None
        return request_id

    def agent(self, name: str = "w1") -> dict[str, Any]:
        found: dict[str, Any] = self.result(GetAgent(name))["agent"]
        return found

    def pool(self, name: str = "p") -> dict[str, Any]:
        found: dict[str, Any] = self.result(GetPool(name))["pool"]
        return found

    def free(self, kind: str = "cpu", pool: str = "p") -> float:
        amount: float = self.pool(pool)["available_resources"][kind]
        return amount

    # -- the world -----------------------------------------------------------------------------------------------

    def see(self, uid: str, phase: ActorPhase, **changes: Any) -> Decision:
        return self.step(self.sight(uid, phase, **changes))

    def sight(self, uid: str, phase: ActorPhase, *, actor_id: str | None = None, **changes: Any) -> ActorSeen:
        """What Ray's table would say of the agent's actor."""
        record = self.records().get(uid)
        seen = ActorSeen(
            uid=uid,
            actor_id=actor_id or actor_of(uid),
            name=record.actor_name if record else "unknown",
            namespace=record.namespace if record else MESH_NAMESPACE,
            phase=phase,
            restarts=0,
            node_id="n1",
            pid=None if phase is PENDING else 4711,
            cause="its process was killed" if phase is DEAD else None,
        )
        return msgspec.structs.replace(seen, **changes)

    def read_table(self, *actors: ActorSeen, asked_ago: float = 0.0, traceless: Iterable[str] = ()) -> Decision:
        """A whole reading of the actor table, asked for just now."""
        self.now += INSTANT
        return self.step(TableRead(actors, self.now - asked_ago, frozenset(traceless)))

    def pass_time(self, seconds: float) -> Decision:
        self.now += seconds
        return self.step(Tick())

    # -- what was ordered ----------------------------------------------------------------------------------------

    def launch(self, uid: str) -> Launch:
        """The last launch of that agent."""
        return [order for order in self.orders(Launch) if order.uid == uid][-1]

    def orders(self, kind: type[AnyEffect]) -> list[AnyEffect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def killed(self) -> list[str]:
        return [order.address.uid for order in self.orders(KillActor)]

    def records(self) -> dict[str, AgentRecord]:
        """The agents as they stand in the store, by uid."""
        loaded = (records.decode(key, data) for key, data in self.store.items() if key.startswith("agent/"))
        return {record.uid: record for record in loaded if isinstance(record, AgentRecord)}

    def pool_records(self) -> dict[str, PoolRecord]:
        loaded = (records.decode(key, data) for key, data in self.store.items() if key.startswith("pool/"))
        return {record.uid: record for record in loaded if isinstance(record, PoolRecord)}

    def blobs(self) -> set[str]:
        return {key for key in self.store if key.startswith("blob/")}


def actor_of(uid: str) -> str:
    return f"actor-{uid}"


def agent_body(name: str = "w1", *, pool: str = "p", request_id: str = "r", **changes: Any) -> CreateAgent:
    """A request for an agent of one cpu."""
    body = CreateAgent(
        request_id=request_id,
        name=name,
        pool=pool,
        class_name="Worker",
        class_blob=b"the class",
        args_blob=b"the arguments",
        environment=Environment(node_id="n1"),
        namespace="driver-ns",
        resources={"cpu": 1.0},
        options={},
        decorator={},
        labels={},
        timeout_s=300.0,
    )
    return msgspec.structs.replace(body, **changes)


def result(answer: Reply | None) -> dict[str, Any]:
    reply = _sent(answer)
    assert reply.refusal is None, reply.refusal
    assert reply.result is not None
    return reply.result


def refusal(answer: Reply | None, kind: type[AnyError]) -> AnyError:
    reply = _sent(answer)
    assert reply.refusal is not None, f"not refused: {reply.result}"
    error = reply.refusal.as_error()
    assert isinstance(error, kind), error
    return error


def _sent(reply: Reply | None) -> Reply:
    """The reply as a client gets it: everything in it has to survive the way."""
    assert reply is not None, "there is no answer yet"
    return decode_reply(encode_reply(reply))


def amounts_of(info: Mapping[str, float]) -> Amounts:
    """A reply's plain numbers as amounts, for exact comparison."""
    return Amounts.parse(info, "info")
