"""The mesh: the one door to the state. `step` takes an event and returns everything that follows from it.

Pure: no Ray, no clock, no randomness, no I/O. Ids and times arrive in events. The shell in `runner` carries a
Decision out: persist, then act, then answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice
from typing import Any

from schedulemesh.core import messages, records
from schedulemesh.core.amounts import Amounts
from schedulemesh.core.errors import InvalidRequestError, MeshNotEmptyError, ScheduleMeshError
from schedulemesh.core.messages import Reply, Request
from schedulemesh.core.names import check_name
from schedulemesh.core.records import AgentRecord, MeshRecord, PoolRecord
from schedulemesh.core.states import ENDED, HOLDING, AgentState, MeshState, PoolState
from schedulemesh.supervisor.agent import Agent
from schedulemesh.supervisor.agents import AgentDesk
from schedulemesh.supervisor.books import Books
from schedulemesh.supervisor.effects import Answer, Decision, EndMesh, KeepReady, Note, ReadTable, Write
from schedulemesh.supervisor.events import (
    ActorSeen,
    ActorsSeen,
    Asked,
    ClusterSeen,
    Event,
    LaunchersCounted,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    TableRead,
    Tick,
    WarmSeen,
)
from schedulemesh.supervisor.lifecycle import Lifecycle
from schedulemesh.supervisor.pools import DELETE_GRACE_S, PoolDesk

_MESH = ""
"""Stands for the mesh among what is waited for; no agent or pool can have an empty uid."""
_EXAMPLES = 5
_SERVING = MeshState.SERVING


class Mesh:
    """One mesh: its pools, its agents, and what is owed to whom."""

    def __init__(
        self, *, name: str, namespace: str, headroom: float = 0.0, about: Mapping[str, Any] | None = None
    ) -> None:
        self._books = Books(headroom)
        self._lifecycle = Lifecycle(self._books)
        self._pools = PoolDesk(self._books, self._lifecycle)
        self._agents = AgentDesk(self._books, self._lifecycle, mesh=name, namespace=namespace)
        self._about = dict(about or {})
        self._ended = False
        self._launchers = LaunchersCounted(0, 0)

    def step(self, event: Event, now: float) -> Decision:
        """Take one event in. Raises ImpossibleError, with nothing changed, for what cannot happen."""
        out = Decision([], [], [], notes=[])
        if isinstance(event, Asked):
            self._asked(event.request, now, out)
        elif isinstance(event, (LaunchReady, LaunchFailed, LaunchLost)):
            self._lifecycle.launch_reported(event, now, out)
        elif isinstance(event, ActorSeen):
            self._lifecycle.actor_seen(event, now, out)
        elif isinstance(event, TableRead):
            self._lifecycle.table_read(event, now, out)
        elif isinstance(event, ActorsSeen):
            for seen in event.actors:
                self._lifecycle.actor_seen(seen, now, out)
        elif isinstance(event, Tick):
            self._lifecycle.tick(now, out)
        else:
            self._surroundings_seen(event)
        self._settle(now, out)
        out.wake_at = self._books.deadlines.next()
        return out

    def restore(self, stored: Mapping[str, bytes], now: float) -> Decision:
        """Come back from the store: `stored` holds every record, and each blob's key with any value.

        Every agent that held capacity is `recovering` until the actor table was read. Raises RecordError for a
        record this version cannot read.
        """
        out = Decision([], [], [], notes=[])
        loaded = {key: records.decode(key, data) for key, data in stored.items() if not key.startswith(records.BLOBS)}
        self._books.mesh = next((r for r in loaded.values() if isinstance(r, MeshRecord)), MeshRecord())
        for pool in sorted((r for r in loaded.values() if isinstance(r, PoolRecord)), key=lambda r: r.created_at):
            if pool.state is PoolState.DELETED:
                self._books.keep_old_pool(pool)
            else:
                self._books.open_pool(pool)
        ended = [r for r in loaded.values() if isinstance(r, AgentRecord) and r.state in ENDED]
        living = [r for r in loaded.values() if isinstance(r, AgentRecord) and r.state in HOLDING]
        for record in sorted(ended, key=lambda r: r.ended_at):
            self._books.add_ended(Agent(record, now))
        for record in living:
            agent = Agent(record, now)
            record.state = AgentState.RECOVERING
            agent.tell("restored", record.state)
            agent.attempt = 1  # it may have been launched before: a launcher must reckon with its actor
            self._books.add(agent)
        self._pools.resume()
        for key in stored:
            if key.startswith(records.BLOBS) and key.removeprefix(records.BLOBS) not in self._books.kits:
                out.writes.append(Write(key, None))
        out.effects.append(ReadTable({record.actor_id: record.uid for record in living if record.actor_id}))
        out.effects += [KeepReady(environment, count) for environment, count in self._books.warm.wanted().items()]
        out.notes.append(Note("mesh_restored", {"pools": len(self._books.pools), "agents": len(living)}))
        self._settle(now, out)
        return out

    def check(self) -> None:
        """Assert the invariants; raises AssertionError."""
        self._books.check()

    def _asked(self, request: Request, now: float, out: Decision) -> None:
        try:
            reply = self._answer(request, now, out)
        except ScheduleMeshError as error:
            reply = Reply.refused(error)
            out.notes.append(Note("refused", {"error": type(error).__name__, "message": str(error)[:300]}))
        if reply is not None:
            out.answers.append(Answer(request.request_id, reply))

    def _answer(self, request: Request, now: float, out: Decision) -> Reply | None:
        """The reply, or None when it comes later. Raises one of our errors to refuse."""
        body, request_id = request.body, check_name(request.request_id, "request_id")
        match body:
            case messages.CreateAgent():
                if body.request_id != request_id:
                    raise InvalidRequestError(field="request_id", problem="differs from that of its envelope")
                return self._agents.create(body, now, out)
            case messages.DeleteAgent():
                return self._agents.delete(request_id, body, now, out)
            case messages.CreatePool():
                return self._pools.create(request_id, body, now, out)
            case messages.ResizePool():
                return self._pools.resize(request_id, body, out)
            case messages.DeletePool():
                return self._pools.delete(request_id, body, now, out)
            case messages.Stop():
                return self._stop(request_id, now, out, force=body.force)
            case _:
                return self._look_up(body)

    def _look_up(self, body: messages.AnyBody) -> Reply:
        """Answer what changes nothing in the books."""
        match body:
            case messages.GetPool():
                return self._pools.get(body.name)
            case messages.ListPools():
                return self._pools.list(body)
            case messages.GetAgent():
                return self._agents.get(body.name)
            case messages.ListAgents():
                return self._agents.list(body)
            case messages.Status():
                return self._status()
            case _:
                raise InvalidRequestError(field="request", problem=f"{type(body).__name__} is not one request")

    def _surroundings_seen(self, event: Event) -> None:
        """Take in what is only shown or compared with, and kept nowhere."""
        if isinstance(event, ClusterSeen):
            self._cluster_seen(event)
        elif isinstance(event, LaunchersCounted):
            self._launchers = event
        elif isinstance(event, WarmSeen):
            self._books.warm.seen(event.environment_key, event.ready)

    def _cluster_seen(self, event: ClusterSeen) -> None:
        self._lifecycle.cluster = event
        total = Amounts()
        for node in event.nodes:
            total = total.plus(node.total)
        self._books.ledger.cluster = total

    def _status(self) -> Reply:
        ledger = self._books.ledger
        return Reply(
            result={
                **self._about,
                "state": self._books.mesh.state.value,
                "headroom": ledger.headroom,
                "cluster": ledger.cluster.as_dict(),
                "committed": ledger.committed.as_dict(ledger.cluster),
                "pools": len(self._books.pools),
                "agents": {state.value: self._books.counts[state] for state in AgentState},
                "launchers": {"living": self._launchers.living, "own": self._launchers.own},
                "warm_agents": {"wanted": sum(self._books.warm.wanted().values()), "ready": self._books.warm.ready()},
            }
        )

    def _stop(self, request_id: str, now: float, out: Decision, *, force: bool) -> Reply | None:
        if self._books.mesh.state is _SERVING:
            agents = self._books.holding()
            if agents and not force:
                some = islice(chain.from_iterable(map(self._books.children, self._books.pools.values())), _EXAMPLES)
                raise MeshNotEmptyError(agents=agents, examples=[agent.record.name for agent in some])
            self._books.mesh.state = MeshState.STOPPING
            out.notes.append(Note("mesh_stopping", {"agents": agents}))
            for agent in [agent for pool in self._books.pools.values() for agent in self._books.children(pool)]:
                self._lifecycle.delete(agent, DELETE_GRACE_S, force=False, now=now, out=out)
            self._books.save_mesh(out)  # last: after a crash in between, the stop is asked again and finds its agents
        self._books.wait(_MESH, request_id)
        return None

    def _settle(self, now: float, out: Decision) -> None:
        """Draw what follows from the change as a whole, and bring the writes into order."""
        if self._books.emptied:
            self._pools.settle(now, out)
        if self._books.mesh.state is not _SERVING:
            self._end_if_empty(out)
        if len(out.writes) > 1:
            _order(out.writes)

    def _end_if_empty(self, out: Decision) -> None:
        """When the mesh is being stopped and the last agent is gone, end it and answer those who waited."""
        if self._books.holding():
            return
        waiting = self._books.waiters(_MESH)
        if waiting or not self._ended:
            self._ended = True
            out.effects.append(EndMesh())
            out.answers += [Answer(request_id, Reply(result={"stopped": True})) for request_id in waiting]


def _order(writes: list[Write]) -> None:
    """Deletions last: a crash between two writes leaves too much in the store, never a record without its blobs."""
    deleting = False
    for write in writes:
        if write.value is None:
            deleting = True
        elif deleting:
            writes.sort(key=lambda write: write.value is None)
            return
