"""Bounded: ended agents leave nothing that grows, and a decision costs the same among a few and among ten thousand."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
import structlog
from mesh_driver import ALIVE, DEAD, MESH_NAMESPACE, NODES, Bench, actor_of, agent_body
from service import Service
from turnover import Turnover

from schedulemesh.core.errors import InvalidRequestError, PoolNotFoundError
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreatePool,
    DeleteAgent,
    DeletePool,
    GetAgent,
    GetPool,
    ListPools,
    Request,
    ResizePool,
    Status,
)
from schedulemesh.core.names import MAX_LABEL_VALUE
from schedulemesh.supervisor.effects import Decision
from schedulemesh.supervisor.events import ActorSeen, Asked, ClusterSeen, Event, LaunchReady, Tick
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.pools import MAX_POOLS

# -- what has ended --------------------------------------------------------------------------------------------------

WARM, MANY = 5_000, 50_000


def collections_in(service: Service) -> dict[str, int]:
    """How much is in each collection that the supervisor keeps."""
    books, ledger = service.mesh._books, service.mesh._books.ledger
    owners = {"books": books, "ledger": ledger, "runner": service.runner, "launchers": service.runner._launchers}
    return {
        f"{owner}.{name}": len(value)
        for owner, whole in owners.items()
        for name, value in vars(whole).items()
        if hasattr(value, "__len__") and not isinstance(value, str)
    }


def footprint(service: Service) -> dict[str, int]:
    gc.collect()
    kept = service.store.kept
    return {
        "objects": len(gc.get_objects()),
        "blocks of memory": sys.getallocatedblocks(),
        "keys stored": len(kept),
        "bytes stored": sum(len(key) + len(value) for key, value in kept.items()),
    }


@pytest.fixture
def _in_silence() -> Iterator[None]:
    """Without the log, which pytest would keep."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_in_silence")
@pytest.mark.timeout(600)  # some 15 s of work, on a machine that has others to do
def test_fifty_thousand_ended_agents_leave_memory_and_store_where_they_were() -> None:
    service = Service()
    turnover = Turnover(service)
    turnover.keep_one_waiting()
    turnover.up_to(WARM)
    before, held = footprint(service), collections_in(service)
    turnover.up_to(MANY)
    after = footprint(service)
    for what, amount in before.items():
        assert after[what] <= amount * 1.05, f"{what}: {amount:,} after {WARM:,} agents, {after[what]:,} after {MANY:,}"
    for name, size in collections_in(service).items():
        assert size <= held[name] + 2_000, f"{name} grew from {held[name]:,} to {size:,}"
    service.mesh.check()
    service.close()


# -- what there is much of -------------------------------------------------------------------------------------------

FEW = 250
"""More than the names that are looked through for a close match."""


class Crowd:
    """A mesh with so many pools, and so many living agents."""

    def __init__(self, *, pools: int, agents: int) -> None:
        self.mesh = Mesh(name="mesh", namespace=MESH_NAMESPACE)
        self.now = 1_700_000_000.0
        self._ids = count()
        self.store: dict[str, bytes] = {}
        self.step(ClusterSeen(NODES))
        for number in range(pools):
            self.ask(CreatePool(f"pool-{number}", {"team": "a"}, {"cpu": 0.001}, 0, False))
        self.ask(CreatePool("crowded", {}, {"cpu": 1.0}, 1_000_000, True))
        for number in range(agents):
            self.run(f"agent-{number}")

    def step(self, event: Event) -> Decision:
        self.now += 0.001
        decision = self.mesh.step(event, self.now)
        for write in decision.writes:
            if write.value is None:
                del self.store[write.key]
            else:
                self.store[write.key] = write.value
        return decision

    def ask(self, body: AnyBody) -> Decision:
        ident = body.request_id if isinstance(body, CreateAgent) else f"request-{next(self._ids)}"
        return self.step(Asked(Request(ident, body)))

    def count_pools(self) -> int:
        """How many are listed, page after page."""
        counted, body = 0, ListPools()
        while True:
            page = self.result(body)
            counted += len(page["pools"])
            if page["next"] is None:
                return counted
            body = ListPools(page["next"])

    def run(self, name: str) -> str:
        uid = f"uid-{next(self._ids)}"
        self.ask(agent_body(name, pool="crowded", request_id=uid))
        self.step(ActorSeen(uid, actor_of(uid), name, MESH_NAMESPACE, ALIVE, 0, "n1", 4711, None))
        self.step(LaunchReady(uid, 1, actor_of(uid)))
        return uid

    def result(self, body: AnyBody) -> dict[str, Any]:
        (answer,) = self.ask(body).answers
        assert answer.reply.result is not None, answer.reply.refusal
        return answer.reply.result

    def refusal(self, body: AnyBody) -> Exception:
        (answer,) = self.ask(body).answers
        assert answer.reply.refusal is not None
        return answer.reply.refusal.as_error()


@pytest.fixture(scope="module")
def few() -> Crowd:
    return Crowd(pools=FEW, agents=FEW)


@pytest.fixture(scope="module")
def many() -> Crowd:
    """One pool short of the limit, as "crowded" is one of them and one more is made."""
    return Crowd(pools=MAX_POOLS - 2, agents=10_000)


def _a_pool_comes_and_goes(crowd: Crowd) -> None:
    crowd.result(CreatePool("one-more", {"team": "a"}, {"cpu": 0.001}, 0, False))
    crowd.result(ResizePool("one-more", {"cpu": 0.002}, None, False))
    crowd.result(DeletePool("one-more", False))


def _an_agent_comes_and_goes(crowd: Crowd) -> None:
    uid = crowd.run("one-more")
    crowd.ask(DeleteAgent("one-more", 0.0, True))
    gone = ActorSeen(uid, actor_of(uid), "one-more", MESH_NAMESPACE, DEAD, 0, "n1", 1, None)
    crowd.step(gone)


DECISIONS: dict[str, Callable[[Crowd], Any]] = {
    "a pool comes and goes": _a_pool_comes_and_goes,
    "an agent comes and goes": _an_agent_comes_and_goes,
    "a pool is looked up": lambda crowd: crowd.result(GetPool("pool-7")),
    "an agent is looked up": lambda crowd: crowd.result(GetAgent("agent-7")),
    "a name is mistyped": lambda crowd: crowd.refusal(GetPool("pol-7")),
    "status": lambda crowd: crowd.result(Status()),
    "time passes": lambda crowd: crowd.step(Tick()),
    "the cluster is looked at": lambda crowd: crowd.step(ClusterSeen(NODES)),
}
ROUNDS, AT_ONCE = 40, 10


def quickest(crowd: Crowd, decision: Callable[[Crowd], Any]) -> float:
    started = time.perf_counter()
    for _ in range(AT_ONCE):
        decision(crowd)
    return time.perf_counter() - started


@pytest.mark.parametrize("what", DECISIONS)
def test_a_decision_costs_the_same_among_a_few_and_among_ten_thousand(few: Crowd, many: Crowd, what: str) -> None:
    """Measured side by side, the quickest of many rounds each: what else the machine does slows some, not all."""
    decision = DECISIONS[what]
    times = [(quickest(few, decision), quickest(many, decision)) for _ in range(ROUNDS)]
    among_few, among_many = (min(column) for column in zip(*times, strict=True))
    assert among_many < 2 * among_few, f"{among_few / AT_ONCE * 1e6:.0f} µs, {among_many / AT_ONCE * 1e6:.0f} µs"


def test_pools_that_wait_for_their_last_agent_do_not_slow_other_decisions(few: Crowd) -> None:
    """Ten thousand of them would, if each decision looked at all."""
    crowd = Crowd(pools=0, agents=0)
    for number in range(MAX_POOLS - 2):
        crowd.result(CreatePool(f"pool-{number}", {}, {"cpu": 1.0}, 1, True))
        crowd.ask(agent_body(f"agent-{number}", pool=f"pool-{number}", request_id=f"uid-of-{number}"))
        crowd.ask(DeletePool(f"pool-{number}", force=True))
    decision = DECISIONS["status"]
    times = [(quickest(few, decision), quickest(crowd, decision)) for _ in range(ROUNDS)]
    among_few, among_many = (min(column) for column in zip(*times, strict=True))
    assert among_many < 2 * among_few, f"{among_few / AT_ONCE * 1e6:.0f} µs, {among_many / AT_ONCE * 1e6:.0f} µs"


def test_ten_thousand_pools_are_the_limit_and_all_are_listed(many: Crowd) -> None:
    many.result(CreatePool("the-last", {}, {"cpu": 0.001}, 0, False))
    refused = many.refusal(CreatePool("too-many", {}, {"cpu": 0.001}, 0, False))
    assert str(refused) == "pool: the mesh has 10,000 pools, which is the limit"
    assert many.count_pools() == MAX_POOLS
    many.result(DeletePool("the-last", False))


def test_a_mesh_of_ten_thousand_pools_comes_back_whole(many: Crowd) -> None:
    again = Mesh(name="mesh", namespace=MESH_NAMESPACE)
    again.restore(many.store, many.now)
    again.check()
    assert set(again._books.pools) == set(many.mesh._books.pools)
    assert set(again._books.agents) == set(many.mesh._books.agents)


# -- what is too long ------------------------------------------------------------------------------------------------


def test_a_label_of_50000_characters_is_refused_with_its_length_and_the_limit(bench: Bench) -> None:
    assert MAX_LABEL_VALUE < 50_000
    long = {"note": "x" * 50_000}
    says = "labels['note']: has 50,000 characters, the limit is 4,096"
    assert str(bench.refusal(CreatePool("p", long, {"cpu": 1.0}, 0, False), InvalidRequestError)) == says
    bench.create_pool("p", cpu=1)
    assert str(bench.refusal(agent_body(labels=long), InvalidRequestError)) == says


def test_a_name_of_50000_characters_is_refused_with_its_length_and_the_limit(bench: Bench) -> None:
    long = "x" * 50_000
    error = bench.refusal(CreatePool(long, {}, {"cpu": 1.0}, 0, False), InvalidRequestError)
    assert str(error) == "pool name: has 50,000 characters, the limit is 255"
    assert "'p'" in str(bench.refusal(GetPool("p"), PoolNotFoundError))
