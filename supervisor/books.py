"""The books: every record and index of the mesh, and the one place where they change together.

Knows which agents and pools there are, and who waits for whom; what is due when is kept in `deadlines`. Decides
nothing: the desks (`pools`, `agents`) and `lifecycle` decide and tell the books, which note the write that goes with
each change.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator

from schedulemesh.core import records
from schedulemesh.core.errors import AgentNotFoundError, InvalidRequestError, PoolNotFoundError
from schedulemesh.core.names import check_name, close_matches
from schedulemesh.core.records import AgentRecord, MeshRecord, PoolRecord, key_of
from schedulemesh.core.states import ENDED, HOLDING, STOPPED, AgentState, Goal, MeshState, PoolState
from schedulemesh.supervisor.agent import Agent
from schedulemesh.supervisor.deadlines import Deadlines
from schedulemesh.supervisor.effects import Decision, Write
from schedulemesh.supervisor.kits import Kits, kit_of
from schedulemesh.supervisor.ledger import Ledger
from schedulemesh.supervisor.roll import Roll
from schedulemesh.supervisor.warm_pools import WarmPools

HISTORY_MAX = 1000
"""Ended agents (and deleted pools) that are kept, so that a late retry or a look-up still finds them."""
HISTORY_S = 3600.0
REMEMBERED_REQUESTS = 128
"""Request ids a record remembers: far more than clients that wait for one agent or pool at the same time."""
_USED = "was used before, about {}; take a new one"


class Books:
    """All state of one mesh. Nothing here touches the outside: changes are noted in a Decision."""

    def __init__(self, headroom: float) -> None:
        self.mesh = MeshRecord()
        self.ledger = Ledger(headroom)
        self.pools: dict[str, PoolRecord] = {}
        self._pools_by_uid: dict[str, PoolRecord] = {}
        self.old_pools: OrderedDict[str, PoolRecord] = OrderedDict()
        self.agents: dict[str, Agent] = {}
        self.deadlines = Deadlines(self.agents)
        self.counts: Counter[AgentState] = Counter()
        self.kits = Kits()
        self.warm = WarmPools(self.kits)
        self._latest: dict[str, str] = {}
        self.listed_pools = Roll()
        self.listed_agents = Roll()
        self._members: dict[str, Roll] = {}
        self._actor_names: dict[tuple[str, str], str] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._last_end = 0.0
        # Requests that wait for the start or the end of an agent, a pool or the mesh, by its uid; each once, in order.
        self._waiting_for_start: dict[str, dict[str, None]] = {}
        self._waiting_for_end: dict[str, dict[str, None]] = {}
        self.emptied: list[PoolRecord] = []
        """Pools that are being deleted and have just become empty."""
        # Which requests were about which pool or agent: two maps, as an id that a client reuses must not mix them.
        self._asked_of_pools: dict[str, str] = {}
        self._asked_of_agents: dict[str, str] = {}

    # -- finding ------------------------------------------------------------------------------------------------

    def pool(self, name: str) -> PoolRecord:
        """The pool of that name, in use or being deleted; raises PoolNotFoundError."""
        pool = self.pools.get(name)
        if pool is None:
            newest_first = reversed(self.pools)  # also after a restart, which opens them in the order of their creation
            raise PoolNotFoundError(pool=check_name(name, "pool name"), close=close_matches(name, newest_first))
        return pool

    def active_pool(self, name: str) -> PoolRecord:
        """The pool of that name, if it and the mesh take changes; raises PoolNotFoundError or InvalidRequestError."""
        self.check_serving()
        pool = self.pool(name)
        if pool.state is not PoolState.ACTIVE:
            raise PoolNotFoundError(pool=name)
        return pool

    def check_serving(self) -> None:
        if self.mesh.state is not MeshState.SERVING:
            problem = "is being stopped and takes nothing new; connect() starts another when it has ended"
            raise InvalidRequestError(field="mesh", problem=problem)

    def pool_asked_by(self, request_id: str, name: str) -> PoolRecord | None:
        """The pool that this request created, resized or deleted before; a retry is answered from it.

        Raises InvalidRequestError if that was a pool of another name: then it is no retry.
        """
        uid = self._asked_of_pools.get(request_id)
        pool = (self.old_pools.get(uid) or self._pools_by_uid.get(uid)) if uid else None
        if pool is not None and pool.name != name:
            raise InvalidRequestError(field="request_id", problem=_USED.format(f"pool {pool.name!r}"))
        return pool

    def agent_asked_by(self, request_id: str, name: str) -> Agent | None:
        """The agent that this request created or deleted before; otherwise as `pool_asked_by`."""
        agent = self.agents.get(self._asked_of_agents.get(request_id, ""))
        if agent is not None and agent.record.name != name:
            raise InvalidRequestError(field="request_id", problem=_USED.format(f"agent {agent.record.name!r}"))
        return agent

    def agent(self, name: str) -> Agent:
        """The latest agent of that name, ended or not; raises AgentNotFoundError."""
        uid = self._latest.get(name)
        if uid is None:
            # Those that are there, newest first: of many names few are looked at, and a typo is of a name just given.
            listed = (self.agents[uid].record.name for uid in self.listed_agents.newest())
            raise AgentNotFoundError(agent=check_name(name, "agent name"), close=close_matches(name, listed))
        return self.agents[uid]

    def living(self, name: str) -> Agent | None:
        uid = self._latest.get(name)
        agent = self.agents[uid] if uid else None
        return agent if agent and agent.record.state not in ENDED else None

    def holder_of(self, namespace: str, actor_name: str) -> Agent | None:
        """The living agent whose actor has this Ray name."""
        uid = self._actor_names.get((namespace, actor_name))
        return self.agents[uid] if uid else None

    def pool_of(self, uid: str) -> PoolRecord:
        return self._pools_by_uid[uid]

    def members(self, pool: PoolRecord | None) -> Roll:
        """The agents of a pool, or of all, that are there or failed; who was asked to go and went is not listed."""
        return self._members[pool.uid] if pool else self.listed_agents

    def children(self, pool: PoolRecord) -> Iterator[Agent]:
        """The pool's agents that hold capacity."""
        return (self.agents[uid] for uid in self.ledger.account(pool.uid).holds)

    def holding(self) -> int:
        """How many agents hold capacity, in all pools."""
        return sum(self.counts[state] for state in HOLDING)

    # -- changing -----------------------------------------------------------------------------------------------

    def open_pool(self, pool: PoolRecord) -> None:
        self.pools[pool.name] = pool
        self._pools_by_uid[pool.uid] = pool
        self._members[pool.uid] = Roll()
        self.listed_pools.add(pool.uid, pool.created_at)
        self.ledger.open(pool)
        self.warm.enter(pool)
        for request_id in (pool.uid, *pool.changed_by):
            self._asked_of_pools[request_id] = pool.uid

    def close_pool(self, pool: PoolRecord, now: float, out: Decision) -> None:
        """The pool is empty and goes; its record stays for a while, to answer late retries."""
        pool.state = PoolState.DELETED
        pool.ended_at = now
        self.warm.change(pool, 0, b"", out)
        self.ledger.close(pool.uid)
        for uid in self._members.pop(pool.uid):
            self.listed_agents.discard(uid)
        self.listed_pools.discard(pool.uid)
        del self.pools[pool.name], self._pools_by_uid[pool.uid]
        self.save_pool(pool, out)
        self.keep_old_pool(pool)
        while len(self.old_pools) > HISTORY_MAX:
            self._forget_pool(next(iter(self.old_pools)), out)

    def drain(self, pool: PoolRecord) -> None:
        """The pool is to go: it is drained now, or with the end of its last agent."""
        pool.state = PoolState.DELETING
        if not self.ledger.account(pool.uid).holds:
            self.emptied.append(pool)

    def keep_old_pool(self, pool: PoolRecord) -> None:
        self.old_pools[pool.uid] = pool
        for request_id in (pool.uid, *pool.changed_by):
            self._asked_of_pools[request_id] = pool.uid

    def add(self, agent: Agent) -> None:
        """Enter a living agent: its hold, its names, its launch kit, its deadline."""
        record = agent.record
        self.ledger.book(record.pool_uid, record.uid, record.need)
        self._actor_names[record.namespace, record.actor_name] = record.uid
        if record.goal is Goal.START:
            self.kits.need(kit_of(record))
        self._enter(agent)
        self.deadlines.schedule(agent)

    def add_ended(self, agent: Agent) -> None:
        """Enter an agent that has ended, when coming back from the store: in the order of their ends, then the living.

        So whoever is entered last has the name.
        """
        self._enter(agent)
        self._ended[agent.record.uid] = self._last_end = agent.record.ended_at

    def move(self, agent: Agent, state: AgentState, why: str, now: float) -> None:
        """Set the state; `why` goes into the agent's story."""
        record = agent.record
        if state is not record.state:
            self.counts[record.state] -= 1
            self.counts[state] += 1
            record.state = state
            agent.tell(why, state)
        agent.changed_at = now

    def aim(self, agent: Agent, goal: Goal, out: Decision) -> None:
        """Set the goal. The launch kit is dropped when the agent will not be launched again."""
        record = agent.record
        if record.goal is Goal.START and goal is not Goal.START:
            self.kits.drop(kit_of(record), out)
        record.goal = goal

    def end(self, agent: Agent, now: float, out: Decision) -> None:
        """The agent's end was observed: give its hold back, free its names, keep its record for a while."""
        record = agent.record
        # Ends keep their order when the clock steps back, for those who come back from the store.
        self._last_end = record.ended_at = max(now, math.nextafter(self._last_end, math.inf))
        self.ledger.release(record.pool_uid, record.uid)
        pool = self._pools_by_uid[record.pool_uid]
        if pool.state is PoolState.DELETING:
            self.drain(pool)
        del self._actor_names[record.namespace, record.actor_name]
        if record.state is STOPPED or record.stopped_by:
            self.dismiss(agent)
        self.save(agent, out)
        if record.goal is Goal.START:
            self.kits.drop(kit_of(record), out)
        self._ended[record.uid] = record.ended_at
        self._trim_history(now, out)

    def dismiss(self, agent: Agent) -> None:
        """List an ended agent no longer; it can still be looked up by name for a while."""
        agent.record.dismissed = True
        self._unlist(agent.record)

    def remember(self, record: AgentRecord | PoolRecord, request_id: str) -> None:
        """Note that this request was about that agent or pool, so that a retry finds it."""
        if isinstance(record, AgentRecord):
            asked_by, index = record.stopped_by, self._asked_of_agents
        else:
            asked_by, index = record.changed_by, self._asked_of_pools
        asked_by.append(request_id)
        while len(asked_by) > REMEMBERED_REQUESTS:
            index.pop(asked_by.pop(0), None)
        index[request_id] = record.uid

    def save(self, agent: Agent, out: Decision) -> None:
        record = agent.record
        agent.stored = record.state
        out.writes.append(Write(key_of("agent", record.uid), records.encode(record), record.state in ENDED))

    def save_pool(self, pool: PoolRecord, out: Decision) -> None:
        out.writes.append(Write(key_of("pool", pool.uid), records.encode(pool)))

    def save_mesh(self, out: Decision) -> None:
        out.writes.append(Write(records.MESH_KEY, records.encode(self.mesh)))

    # -- waiting ------------------------------------------------------------------------------------------------

    def wait(self, uid: str, request_id: str, *, creates: bool = False) -> None:
        waiting = self._waiting_for_start if creates else self._waiting_for_end
        waiting.setdefault(uid, {})[request_id] = None

    def waiters(self, uid: str, *, creates: bool = False) -> list[str]:
        """Take the requests that wait for its end, or those that wait for its start; the others go on waiting."""
        waiting = self._waiting_for_start if creates else self._waiting_for_end
        return list(waiting.pop(uid, ()))

    # -- history ------------------------------------------------------------------------------------------------

    def _enter(self, agent: Agent) -> None:
        record = agent.record
        earlier = self._latest.get(record.name)
        self.agents[record.uid] = agent
        self.counts[record.state] += 1
        for request_id in (record.uid, *record.stopped_by):
            self._asked_of_agents[request_id] = record.uid
        if earlier is not None:  # a failed namesake is superseded: listed no longer, kept for retries
            self._unlist(self.agents[earlier].record)
        self._latest[record.name] = record.uid
        listed = record.state is not STOPPED and not record.dismissed
        if listed and record.pool_uid in self._members:
            self._members[record.pool_uid].add(record.uid, record.created_at)
            self.listed_agents.add(record.uid, record.created_at)

    def _unlist(self, record: AgentRecord) -> None:
        self.listed_agents.discard(record.uid)
        if record.pool_uid in self._members:
            self._members[record.pool_uid].discard(record.uid)

    def _trim_history(self, now: float, out: Decision) -> None:
        while self._ended:
            uid, ended_at = next(iter(self._ended.items()))
            if len(self._ended) <= HISTORY_MAX and ended_at > now - HISTORY_S:
                return
            self._forget_agent(uid, out)

    def _forget_agent(self, uid: str, out: Decision) -> None:
        agent = self.agents.pop(uid)
        record = agent.record
        self.counts[record.state] -= 1
        self._ended.pop(uid, None)
        self._unlist(record)
        for request_id in (uid, *record.stopped_by):
            self._asked_of_agents.pop(request_id, None)
        if self._latest.get(record.name) == uid:
            del self._latest[record.name]
        out.writes.append(Write(key_of("agent", uid), None, frees=True))

    def _forget_pool(self, uid: str, out: Decision) -> None:
        pool = self.old_pools.pop(uid)
        for request_id in (uid, *pool.changed_by):
            self._asked_of_pools.pop(request_id, None)
        out.writes.append(Write(key_of("pool", uid), None))

    def check(self) -> None:
        """Assert what must hold after every step; used by tests and cheap enough to call from a debugger."""
        self.ledger.check()
        holding = {uid for uid, agent in self.agents.items() if agent.record.state not in ENDED}
        booked = {uid for pool in self.pools.values() for uid in self.ledger.account(pool.uid).holds}
        if holding != booked:
            raise AssertionError(f"holding states {holding ^ booked} disagree with holds")
        names = [self.agents[uid].record.name for uid in holding]
        if len(names) != len(set(names)):
            raise AssertionError(f"a name has two living agents: {sorted(names)}")
        if set(self._actor_names.values()) != holding:
            raise AssertionError("an actor name is kept without an agent, or the other way round")
        counted = Counter(agent.record.state for agent in self.agents.values())
        if +counted != +self.counts:
            raise AssertionError(f"counts say {self.counts}, there are {counted}")
        kits = Counter(pool.environment for pool in self.pools.values() if pool.warm_agents)
        for uid in holding:
            if self.agents[uid].record.goal is Goal.START:
                kits.update(kit_of(self.agents[uid].record))
        self.kits.check(kits)
        going = [pool for pool in self.pools.values() if pool.state is PoolState.DELETING]
        if not all(self.ledger.account(pool.uid).holds for pool in going):
            raise AssertionError(f"one of the pools {going} is to go, is empty, and is still there")
        ended = {uid for uid, agent in self.agents.items() if agent.record.state in ENDED}
        if ended != set(self._ended) or len(ended) > HISTORY_MAX:
            raise AssertionError(f"history holds {len(self._ended)}, {len(ended)} agents have ended")
