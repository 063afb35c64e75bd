"""The lifecycle: what an observation means for an agent, by the table in `transitions`, and what is ordered next."""

from __future__ import annotations

from schedulemesh.core.errors import AgentStartError, AgentStartTimeoutError, ScheduleMeshError
from schedulemesh.core.messages import Reply
from schedulemesh.core.records import AgentRecord
from schedulemesh.core.states import (
    ENDED,
    LEAVING,
    RECOVERING,
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    AgentState,
    Goal,
)
from schedulemesh.supervisor.agent import NO_NEWS, Agent
from schedulemesh.supervisor.books import Books
from schedulemesh.supervisor.effects import (
    Address,
    Answer,
    Decision,
    KillActor,
    Launch,
    Note,
    ReadTable,
    StopActor,
)
from schedulemesh.supervisor.events import (
    ActorPhase,
    ActorSeen,
    ClusterSeen,
    LaunchFailed,
    LaunchLost,
    LaunchReady,
    TableRead,
)
from schedulemesh.supervisor.transitions import Signal, after
from schedulemesh.supervisor.views import agent_info, ray_options

KILL_AGAIN_S = 5.0
"""A kill whose effect is not seen by then is given again."""
NO_ENVIRONMENT = ""
"""Whose launcher gave the order is not known; any can carry it out."""
MAX_CAUSE = 16 * 1024
"""Characters of a cause that are kept; it stands in the record and in every reply about the agent."""
_NOTED = 200
"""Characters of a cause that go into the log."""
MAX_LAUNCHES = 3
"""Launches of one agent. A class that kills its launcher while being loaded must not do so for ever."""

_GENTLY_ENDED = frozenset({RUNNING, RESTARTING, RECOVERING})
_SIGNALS = {
    ActorPhase.PENDING: Signal.PENDING,
    ActorPhase.ALIVE: Signal.ALIVE,
    ActorPhase.RESTARTING: Signal.RESTARTS,
    ActorPhase.DEAD: Signal.DEAD,
}
_REPORTS = {
    LaunchReady: Signal.READY,
    LaunchFailed: Signal.LAUNCH_FAILED,
    LaunchLost: Signal.LAUNCH_LOST,
}
_RANK = {ActorPhase.PENDING: 0, ActorPhase.RESTARTING: 1, ActorPhase.ALIVE: 2}
_FINAL_NEWS = (2**62, 0)


class Lifecycle:
    """Moves agents through their states. Holds no state of its own but the last view of the cluster's nodes."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.cluster = ClusterSeen(())

    # -- orders from the desks -----------------------------------------------------------------------------------

    def begin(self, agent: Agent, out: Decision) -> None:
        """The agent was admitted and booked: launch it."""
        self._launch(agent, out)

    def delete(self, agent: Agent, grace_s: float, *, force: bool, now: float, out: Decision) -> None:
        """Someone wants the agent's end. Only a running one has its hook run; others are killed."""
        record = agent.record
        before = record.state
        # Without a process there is nothing to ask: it waits for a place, and is ended at once.
        has_process = before is not RESTARTING or record.pid is not None
        gentle = before in _GENTLY_ENDED and has_process and not force
        deadline = now + (grace_s if gentle else 0.0)
        ending = record.goal in LEAVING
        if ending:
            deadline = min(deadline if gentle or force else now + grace_s, record.stop_deadline)
        sooner = not ending or deadline < record.stop_deadline
        state = self._follow(agent, Signal.DELETE, now)
        if not ending:
            self._books.aim(agent, Goal.STOP, out)
        record.stop_deadline = deadline
        if state is STOPPING:
            if before is not STOPPING:
                self._order_end(agent, now, out)
            elif sooner:
                self._books.deadlines.schedule(agent)
        self._books.save(agent, out)

    # -- observations --------------------------------------------------------------------------------------------

    def launch_reported(self, event: LaunchReady | LaunchFailed | LaunchLost, now: float, out: Decision) -> None:
        agent = self._books.agents.get(event.uid)
        if agent is None or event.attempt != agent.attempt or not agent.launching:
            return  # an answer from an earlier launch
        record = agent.record
        after(record.state, record.goal, _REPORTS[type(event)], agent.story)
        agent.launching = False
        if record.state in ENDED:
            return
        if isinstance(event, LaunchReady):
            if record.actor_id != event.actor_id:
                record.actor_id, record.node_id, record.pid, agent.news = event.actor_id, None, None, NO_NEWS
            record.handle = event.handle
            # Pushed news are newer than what a launcher read; they may also be on their way still.
            record.node_id, record.pid = record.node_id or event.node_id, record.pid or event.pid
            self._ready(agent, now, out)
        elif isinstance(event, LaunchFailed):
            if not record.failure:
                record.cause = clipped(event.cause) or record.cause
            self._end_or_stay(agent, Signal.LAUNCH_FAILED, now, out)
        else:
            agent.tell(f"launch lost: {event.cause[:80]}")
            why = event.cause.strip()[-_NOTED:]
            out.notes.append(Note("launch_lost", {"agent": record.name, "attempt": event.attempt, "cause": why}))
            record.cause = record.cause or clipped(event.cause)
            self._follow(agent, Signal.LAUNCH_LOST, now)
            out.effects.append(ReadTable({record.actor_id: record.uid} if record.actor_id else {}))

    def actor_seen(self, seen: ActorSeen, now: float, out: Decision) -> None:
        agent = self._books.agents.get(seen.uid)
        record = agent.record if agent else None
        # When it is launched again, its launcher says which actor counts, and whether that has come to an end.
        again = agent is not None and agent.launching and agent.attempt > 1
        if agent is None or record is None or record.state in ENDED or record.actor_id not in (None, seen.actor_id):
            if seen.phase is not ActorPhase.DEAD and not again:
                self._kill_stray(seen, out)
            return
        if seen.unmade or seen.actor_id in agent.dropped:
            self._unmade(agent, seen, now, out)
            return
        if again and (seen.phase is ActorPhase.DEAD or record.actor_id is None):
            return  # late news of an actor that was dropped would have this one ended in the other's place
        news = _FINAL_NEWS if seen.phase is ActorPhase.DEAD else (seen.restarts, _RANK[seen.phase])
        if news < agent.news:
            return  # a reading that was under way when something newer was pushed
        agent.news = news
        if seen.group_removed:
            record.actor_id = seen.actor_id
            self._group_removed(agent, now, out)
            return
        changed = seen.restarts > record.restarts or record.actor_id is None
        _take_in(record, seen)
        self._signalled(agent, _SIGNALS[seen.phase], now, out, changed=changed)

    def table_read(self, table: TableRead, now: float, out: Decision) -> None:
        """Take the whole table in. What it lacks is gone, unless it came to be after the table was asked for."""
        present = set(table.told)
        # The living first: one of them may be what came after an actor that is listed as dead.
        for seen in sorted(table.actors, key=lambda seen: seen.phase is ActorPhase.DEAD):
            if seen.phase is not ActorPhase.DEAD:
                present.add(seen.uid)
            self.actor_seen(seen, now, out)
        for agent in [a for a in self._books.agents.values() if a.record.state not in ENDED]:
            unseen = agent.record.uid not in present and not agent.launching
            if unseen and agent.changed_at < table.asked_at and agent.record.state is not STARTING:
                self._absent(agent, table, now, out)

    def tick(self, now: float, out: Decision) -> None:
        for agent in list(self._books.deadlines.due(now)):
            if agent.record.state is STARTING:
                self._late(agent, now, out)
            else:
                self._follow(agent, Signal.OVERDUE, now)
                self._order_end(agent, now, out)

    # -- inside --------------------------------------------------------------------------------------------------

    def _absent(self, agent: Agent, table: TableRead, now: float, out: Decision) -> None:
        record = agent.record
        if record.goal is Goal.START and record.actor_id is not None:
            if record.actor_id not in table.traceless:
                return  # it may have ended; the reading that asks for it by its id will tell
            _forget_actor(agent)  # it was never made, and is launched again
        record.cause = record.cause or "its actor is gone from Ray's table"
        self._signalled(agent, Signal.ABSENT, now, out)

    def _unmade(self, agent: Agent, seen: ActorSeen, now: float, out: Decision) -> None:
        """It had no start: its launcher ended before Ray had begun to make it, and a later one may."""
        record = agent.record
        if agent.launching or seen.actor_id in agent.dropped:
            return  # the loss of the launcher is about to be told, or it was told and this is a late reading
        record.actor_id = seen.actor_id
        _forget_actor(agent)
        record.cause = record.cause or clipped(seen.cause or "")
        self._signalled(agent, Signal.ABSENT, now, out)

    def _group_removed(self, agent: Agent, now: float, out: Decision) -> None:
        """Kill an agent that waits for a place in a placement group that is gone; a raw actor ends then, too."""
        record = agent.record
        before = record.state
        if self._follow(agent, Signal.GROUP_REMOVED, now) is before:
            return
        if record.goal not in LEAVING:
            record.cause = "its placement group was removed"
            record.failure = "start" if record.goal is Goal.START else ""
            self._books.aim(agent, Goal.GIVE_UP, out)
        record.node_id = record.pid = None
        record.stop_deadline = now
        self._order_end(agent, now, out)
        self._books.save(agent, out)

    def _signalled(self, agent: Agent, signal: Signal, now: float, out: Decision, *, changed: bool = False) -> None:
        record = agent.record
        before = record.state
        if before is RECOVERING and record.goal is Goal.START and agent.attempt >= MAX_LAUNCHES:
            record.failure = "start"
            self._books.aim(agent, Goal.GIVE_UP, out)
        if self._end_or_stay(agent, signal, now, out):
            return
        if before is RECOVERING:
            self._recovered(agent, signal, now, out)
        if record.state is not agent.stored or changed:
            self._books.save(agent, out)

    def _recovered(self, agent: Agent, signal: Signal, now: float, out: Decision) -> None:
        record = agent.record
        out.notes.append(_note("agent_recovered", record))
        if record.state is STARTING:
            self._launch(agent, out, adopt=record.actor_id if signal is not Signal.ABSENT else None)
            self._books.deadlines.schedule(agent)
        elif record.state is STOPPING:
            self._order_end(agent, now, out)

    def _ready(self, agent: Agent, now: float, out: Decision) -> None:
        record = agent.record
        if self._follow(agent, Signal.READY, now) is STOPPING:
            self._kill(agent, out)
            return
        record.started_at = now
        record.cause = None
        self._books.aim(agent, Goal.RUN, out)
        self._books.save(agent, out)
        out.notes.append(_note("agent_running", record))
        self._answer(record, out, creates=True)

    def _late(self, agent: Agent, now: float, out: Decision) -> None:
        record = agent.record
        record.failure = "timeout"
        record.cause = self._waiting_for(agent)
        self._follow(agent, Signal.LATE, now)
        self._books.aim(agent, Goal.GIVE_UP, out)
        record.stop_deadline = now
        self._order_end(agent, now, out)
        self._books.save(agent, out)

    def _end_or_stay(self, agent: Agent, signal: Signal, now: float, out: Decision) -> bool:
        """Follow the signal; when it ends the agent, settle everything that goes with its end."""
        record = agent.record
        if self._follow(agent, signal, now) not in ENDED:
            return False
        if record.goal is Goal.START and not record.failure:
            record.failure = "start"
        if record.state is STOPPED:
            record.failure = "start" if record.started_at is None else ""
            record.cause = "it was deleted while it was starting" if record.started_at is None else "deleted"
        record.cause = record.cause or "its actor ended, and Ray gave no reason"
        self._books.end(agent, now, out)
        out.notes.append(_note("agent_ended", record))
        self._answer(record, out, creates=True)
        self._answer(record, out, creates=False)
        return True

    def _answer(self, record: AgentRecord, out: Decision, *, creates: bool) -> None:
        """Answer those who wait for its start, or those who wait for its end."""
        for request_id in self._books.waiters(record.uid, creates=creates):
            reply = created(record, request_id) if creates else Reply(result={"agent": agent_info(record)})
            out.answers.append(Answer(request_id, reply))

    def _follow(self, agent: Agent, signal: Signal, now: float) -> AgentState:
        record = agent.record
        state = after(record.state, record.goal, signal, agent.story)
        self._books.move(agent, state, signal, now)
        return state

    def _launch(self, agent: Agent, out: Decision, adopt: str | None = None) -> None:
        record = agent.record
        agent.attempt += 1
        agent.launching = True
        out.effects.append(
            Launch(
                uid=record.uid,
                attempt=agent.attempt,
                agent=record.name,
                labels=record.labels,
                class_blob=record.class_blob,
                args_blob=record.args_blob,
                environment_key=record.environment,
                driver_node=record.driver_node,
                actor_name=record.actor_name,
                namespace=record.namespace,
                options=ray_options(record),
                adopt=adopt,
                inherits=bool(record.inherited_env),
                warm=self._books.pool_of(record.pool_uid).warm_agents > 0,
            )
        )

    def _order_end(self, agent: Agent, now: float, out: Decision) -> None:
        """Ask for the end while there is time for it, else kill; and look again when that should have worked."""
        record = agent.record
        if record.stop_deadline > now:
            out.effects.append(StopActor(address(record), record.environment, record.stop_deadline - now))
        else:
            self._kill(agent, out)
            record.stop_deadline = now + KILL_AGAIN_S
        self._books.deadlines.schedule(agent)

    def _kill(self, agent: Agent, out: Decision) -> None:
        out.effects.append(KillActor(address(agent.record), agent.record.environment))

    def _kill_stray(self, seen: ActorSeen, out: Decision) -> None:
        """An actor of ours that the books do not know: the launcher of a supervisor that crashed made it late."""
        out.effects.append(KillActor(Address(seen.uid, seen.actor_id, seen.name, seen.namespace), NO_ENVIRONMENT))
        out.notes.append(Note("stray_actor_killed", {"actor_id": seen.actor_id, "actor_name": seen.name}))

    def _waiting_for(self, agent: Agent) -> str:
        record = agent.record
        if record.pid:
            return f"its constructor was still running (pid {record.pid} on node {record.node_id})"
        if record.actor_id is None and agent.attempt > 1:
            return "it was launched again, and had not come up"
        if record.actor_id is None:
            return "its environment was still being built, or its class loaded"
        if any(record.need.fits_in(node.free) for node in self.cluster.nodes):
            return "its environment was still being built, or no node matched its scheduling strategy and labels"
        return f"no node has room for {record.need}"


def _take_in(record: AgentRecord, seen: ActorSeen) -> None:
    """Take over what Ray says of an agent's actor."""
    if not record.failure and record.goal is not Goal.GIVE_UP:  # what it was given up for is said already
        record.cause = clipped(seen.cause) if seen.cause else record.cause
        if seen.restarts > record.restarts and not seen.cause:  # Ray gives a reason only for the end
            where = f" (pid {record.pid}) on node {record.node_id}" if record.node_id else ""
            record.cause = f"its process{where} ended; Ray starts it again"
    record.actor_id, record.restarts = seen.actor_id, max(seen.restarts, record.restarts)
    if seen.phase is ActorPhase.RESTARTING:
        record.node_id = record.pid = None  # what Ray's table says is of the process that ended, or only planned
    elif seen.phase is not ActorPhase.DEAD:
        record.node_id, record.pid = seen.node_id or record.node_id, seen.pid or record.pid


def clipped(cause: str) -> str:
    """A cause as it is kept: the end of a long one, where a traceback says what happened, and its beginning."""
    if len(cause) <= MAX_CAUSE:
        return cause
    return f"{cause[: MAX_CAUSE // 4]}\n… {len(cause):,} characters in all …\n{cause[-MAX_CAUSE // 2 :]}"


def _forget_actor(agent: Agent) -> None:
    record = agent.record
    if record.actor_id is not None:
        agent.dropped |= {record.actor_id}
    record.actor_id, record.node_id, record.pid, agent.news = None, None, None, NO_NEWS
    record.handle = b""
    agent.stored = ""  # the store still has that actor


def address(record: AgentRecord) -> Address:
    return Address(record.uid, record.actor_id, record.actor_name, record.namespace)


def created(record: AgentRecord, request_id: str) -> Reply:
    """The answer to a request that waited for this agent's start; only one request created it."""
    error: ScheduleMeshError
    if record.failure == "timeout":
        error = AgentStartTimeoutError(
            agent=record.name, timeout_s=record.timeout_s, waiting_for=record.cause or "unknown"
        )
    elif record.failure == "start":
        error = AgentStartError(agent=record.name, cause=record.cause or "unknown")
    else:
        return Reply(result={"agent": agent_info(record), "created": request_id == record.uid})
    return Reply.refused(error)


def _note(event: str, record: AgentRecord) -> Note:
    fields = {
        "agent": record.name,
        "state": record.state.value,
        "actor_id": record.actor_id,
        "restarts": record.restarts,
    }
    if record.state in ENDED and record.cause:
        fields["cause"] = record.cause.splitlines()[0][:_NOTED]
    return Note(event, fields)
