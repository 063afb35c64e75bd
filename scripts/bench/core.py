"""The core on one processor: decisions a second, with few and with many agents in the books. Starts no Ray.

    python scripts/bench/core.py            # 100, 10,000 and 100,000 agents
    python scripts/bench/core.py 5000       # another number

A mesh of ten pools is filled through `step` itself, then agents come and go in it. Each round of five decisions admits
an agent, sees it ready, refuses another one because its pool is full, is asked to delete the one that has run longest,
and observes its end. What the shell does is not timed: requests are decoded before, and decisions are thrown away.
Counted is the processor's time, not the wall's: what others take does not count. It still costs when they are busy (up
to a third on a machine whose processors share a core), so only a quiet machine gives a number to keep.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, cycle, islice
from typing import Any

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.environments import Environment
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreatePool,
    DeleteAgent,
    Request,
    decode_request,
    encode_request,
)
from schedulemesh.supervisor.books import HISTORY_MAX
from schedulemesh.supervisor.effects import Decision
from schedulemesh.supervisor.events import ActorPhase, ActorSeen, Asked, ClusterSeen, Event, LaunchReady, Node
from schedulemesh.supervisor.mesh import Mesh

SIZES = (100, 10_000, 100_000)
DECISIONS = 50_000
ROUNDS = 5
INSTANT = 0.001
"""Every decision is taken that much later than the one before, by the clock that the core is given."""
DECISIONS_A_TURN = 5
_BATCH = 500
"""Events that are made at a time: few enough to be as near in memory as what has just come in."""
_POOLS = 10
_AGENTS_A_NODE = 100
_NAMESPACE = "schedulemesh"
_NODE = "7e3a" * 14
_CLASS = b"a pickled class " * 128


class SteadyMesh:
    """A mesh that is full but for one place in each pool, and the events that keep it so."""

    def __init__(self, agents: int) -> None:
        self.mesh = Mesh(name="bench", namespace=_NAMESPACE)
        self.now = 1_700_000_000.0
        self._ids = count(1)
        self._running: list[deque[tuple[str, str]]] = [deque() for _ in range(_POOLS)]
        self.step(ClusterSeen(tuple(_node(n) for n in range(agents // _AGENTS_A_NODE + 2))))
        for pool in range(_POOLS):
            self.step(self._asked(_pool_body(pool, agents // _POOLS + 1)))
        for n in range(agents // _POOLS * _POOLS):
            for event in self._comes_up(n % _POOLS):
                self.step(event)
        for event in self.events(DECISIONS_A_TURN * (HISTORY_MAX + 1)):  # until each end drops one from the history
            self.step(event)
        gc.collect()
        gc.freeze()  # as the supervisor does when it has come back from the store

    def step(self, event: Event) -> Decision:
        self.now += INSTANT
        return self.mesh.step(event, self.now)

    def events(self, decisions: int) -> list[Event]:
        """As many events as that, each of which is one decision; they have to be taken in before others are made."""
        turns = (self._turn(pool) for pool in cycle(range(_POOLS)))
        return list(islice((event for turn in turns for event in turn), decisions))

    def check(self) -> None:
        """Assert that one turn is what it is said to be, and that the books agree with themselves."""
        admitted, ready, refused, asked, ended = (self.step(event) for event in self.events(DECISIONS_A_TURN))
        if not (admitted.effects and admitted.writes and ready.answers[0].reply.result):
            raise AssertionError("the agent was not admitted, or did not come up")
        refusal = refused.answers[0].reply.refusal
        if refusal is None or refusal.error != "InsufficientPoolCapacityError" or refused.writes:
            raise AssertionError("the pool was not full")
        if not (asked.effects and asked.writes and ended.answers[0].reply.result):
            raise AssertionError("the agent was not ended")
        self.mesh.check()

    def _turn(self, pool: int) -> Iterator[Event]:
        yield from self._comes_up(pool)
        yield self._asked(_agent_body(pool, next(self._ids)))
        name, uid = self._running[pool].popleft()
        yield self._asked(DeleteAgent(name, 30.0, force=False))
        yield ActorSeen(
            uid=uid,
            actor_id=_actor_id(uid),
            name=name,
            namespace=_NAMESPACE,
            phase=ActorPhase.DEAD,
            restarts=0,
            node_id=_NODE,
            pid=4711,
            cause="The actor exited by its own request: intended.",
        )

    def _comes_up(self, pool: int) -> Iterator[Event]:
        body = _agent_body(pool, next(self._ids))
        self._running[pool].append((body.name, body.request_id))
        yield self._asked(body)
        yield LaunchReady(body.request_id, 1, _actor_id(body.request_id), _NODE, 4711)

    def _asked(self, body: AnyBody) -> Asked:
        """The request as it is after its way through the wire: nothing in it is shared with another one."""
        request_id = body.request_id if isinstance(body, CreateAgent) else _uid(next(self._ids))
        return Asked(decode_request(encode_request(Request(request_id, body))))


def decisions_per_second(agents: int, decisions: int) -> float:
    """The median of several rounds of that many decisions, while about that many agents run."""
    return statistics.median(rates([agents], decisions)[agents])


def rates(sizes: Sequence[int], decisions: int) -> dict[int, list[float]]:
    """Decisions a second for each size and round. The sizes take turns, so that a busy minute is shared by all."""
    meshes = {agents: SteadyMesh(agents) for agents in sizes}
    measured: dict[int, list[float]] = {agents: [] for agents in sizes}
    for _ in range(ROUNDS):
        for agents, steady in meshes.items():
            measured[agents].append(decisions / _seconds(steady, decisions))
    for steady in meshes.values():
        steady.check()
    return measured


def _seconds(steady: SteadyMesh, decisions: int) -> float:
    spent, taken = 0.0, 0
    while taken < decisions:
        events = steady.events(min(_BATCH, decisions - taken))
        started = time.process_time()
        for event in events:
            steady.step(event)
        spent += time.process_time() - started
        taken += len(events)
    return spent


def _pool_body(pool: int, agents: int) -> CreatePool:
    """Every other pool says what each agent gets; in the others each agent says so itself."""
    labels = {"team": f"team-{pool % 3}", "tier": "batch" if pool % 2 else "online"}
    one = _resources(pool)
    if pool % 2 == 0:
        return CreatePool(f"pool-{pool}", labels, one, agents, overcommit=False)
    whole = {kind: value * agents for kind, value in one.items()}
    return CreatePool(f"pool-{pool}", labels, whole, 0, overcommit=False)


def _resources(pool: int) -> dict[str, float]:
    return {"cpu": 1.0, "memory": 2048.0} if pool % 3 else {"cpu": 0.5, "memory": 1024.0, "gpu": 0.25}


def _agent_body(pool: int, n: int) -> CreateAgent:
    options: dict[str, Any] = {"max_concurrency": 16} if pool % 4 == 0 else {}
    return CreateAgent(
        request_id=_uid(n),
        name=f"agent-{n:07}",
        pool=f"pool-{pool}",
        class_name="Worker",
        class_blob=_CLASS,
        args_blob=b"pickled arguments of agent %d" % n * 8,
        environment=_environment(pool % 3),
        namespace="",
        resources=_resources(pool) if pool % 2 else None,
        options=options,
        decorator={},
        labels={"shard": str(n % 64)},
        timeout_s=300.0,
    )


def _environment(driver: int) -> Environment:
    """Three drivers, each with its own."""
    runtime_env = {
        "working_dir": f"gcs://_ray_pkg_{driver:032x}.zip",
        "env_vars": {"PYTHONUNBUFFERED": "1", "DRIVER": str(driver)},
    }
    return Environment(runtime_env, [f"/srv/driver-{driver}", "/srv/shared"], _NODE)


def _node(n: int) -> Node:
    total = Amounts.parse({"cpu": 128, "memory": 512 * 1024, "gpu": 32}, "node")
    return Node(f"{n:056x}", total, total)


def _uid(n: int) -> str:
    return f"{n * 0x9E3779B97F4A7C15 % 2**128:032x}"  # spread, as the client's random ids are


def _actor_id(uid: str) -> str:
    return f"{uid[:22]}01000000"


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    for agents, measured in rates(sizes, DECISIONS).items():
        print(
            f"{agents:>9,} agents: {statistics.median(measured):>9,.0f} decisions/s on one core "
            f"(median of {ROUNDS} rounds of {DECISIONS:,}; {min(measured):,.0f} to {max(measured):,.0f})"
        )


if __name__ == "__main__":
    main()
