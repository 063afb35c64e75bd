"""The pools' desk: answers what clients ask about pools, and refuses what the ledger cannot bear."""

from __future__ import annotations

from itertools import islice
from typing import Any

from schedulemesh.core.amounts import GRAIN, Amounts, check_one_agent
from schedulemesh.core.environments import encode_environment
from schedulemesh.core.errors import (
    InvalidRequestError,
    PoolExistsError,
    PoolNotEmptyError,
)
from schedulemesh.core.messages import CreatePool, DeletePool, ListPools, Reply, ResizePool
from schedulemesh.core.names import check_labels, check_name
from schedulemesh.core.records import PoolRecord, digest
from schedulemesh.core.states import PoolState
from schedulemesh.supervisor.books import Books
from schedulemesh.supervisor.effects import Answer, Decision, Note
from schedulemesh.supervisor.ledger import capacity_of
from schedulemesh.supervisor.lifecycle import Lifecycle
from schedulemesh.supervisor.roll import PAGE
from schedulemesh.supervisor.views import pool_info

MAX_POOLS = 10_000
MAX_TARGET = 1_000_000
MAX_WARM = 1_000
"""Idle processes of one pool; each takes some 90 MB."""
DELETE_GRACE_S = 30.0
"""What each agent gets to end in an orderly way when its pool or mesh is taken down by force."""


class PoolDesk:
    """Handles requests about pools. A method raises one of our errors to refuse, and has then changed nothing."""

    def __init__(self, books: Books, lifecycle: Lifecycle) -> None:
        self._books = books
        self._lifecycle = lifecycle

    def create(self, request_id: str, body: CreatePool, now: float, out: Decision) -> Reply:
        name = check_name(body.name, "pool name")
        labels = check_labels(body.labels, "labels")
        resources = Amounts.parse(body.resources, "resources")
        target = _check_target(body.target_agents)
        if target:
            check_one_agent(resources, "resources")
        again = self._books.pool_asked_by(request_id, name)
        if again is not None:
            return self._reply(again, created=True)
        self._books.check_serving()
        asked = {
            "labels": labels,
            "resources": resources,
            "target_agents": target,
            "overcommit": body.overcommit,
            "warm_agents": _check_warm(body.warm_agents),
        }
        existing = self._books.pools.get(name)
        if existing is not None:
            return self._existing(existing, asked, encode_environment(body.environment), out)
        if len(self._books.pools) >= MAX_POOLS:
            raise InvalidRequestError(field="pool", problem=f"the mesh has {MAX_POOLS:,} pools, which is the limit")
        if not body.overcommit:
            self._books.ledger.check_cluster(name, capacity_of(resources, target), instead_of=Amounts())
        pool = PoolRecord(
            uid=request_id,
            name=name,
            labels=labels,
            resources=resources,
            target_agents=target,
            overcommit=body.overcommit,
            state=PoolState.ACTIVE,
            created_at=now,
        )
        environment = encode_environment(body.environment)
        self._check_warm_total(body.warm_agents, instead_of=0)
        self._books.open_pool(pool)
        self._books.warm.change(pool, body.warm_agents, environment, out)
        self._books.save_pool(pool, out)
        out.notes.append(Note("pool_created", {"pool": name, "capacity": str(capacity_of(resources, target))}))
        return self._reply(pool, created=True)

    def get(self, name: str) -> Reply:
        return self._reply(self._books.pool(name))

    def list(self, body: ListPools) -> Reply:
        """A page of them; what is on it and where it ends."""
        page = list(islice(self._books.listed_pools.after(body.after), PAGE))
        pools = [self._books.pool_of(uid) for uid in page]
        more = self._books.listed_pools.place(page[-1]) if len(page) == PAGE else None
        return Reply(result={"pools": [self._info(pool) for pool in pools], "next": more})

    def resize(self, request_id: str, body: ResizePool, out: Decision) -> Reply:
        again = self._books.pool_asked_by(request_id, body.name)
        if again is not None:
            return self._reply(again)
        pool = self._books.active_pool(body.name)
        resources = pool.resources if body.resources is None else Amounts.parse(body.resources, "resources")
        target = pool.target_agents if body.target_agents is None else _check_target(body.target_agents)
        if bool(target) != bool(pool.target_agents) and body.resources is None:
            meaning = "one agent" if target else "the whole pool"
            problem = f"changes what resources mean, from now on those of {meaning}: give resources too"
            raise InvalidRequestError(field="target_agents", problem=problem)
        if target:
            check_one_agent(resources, "resources")
        account = self._books.ledger.account(pool.uid)
        capacity = capacity_of(resources, target)
        warm_agents = pool.warm_agents if body.warm_agents is None else _check_warm(body.warm_agents)
        self._check_warm_total(warm_agents, instead_of=pool.warm_agents)
        environment = encode_environment(body.environment)
        changes = body.resources is not None or body.target_agents is not None
        if changes and not account.used.fits_in(capacity) and not body.force:
            raise PoolNotEmptyError(
                pool=pool.name,
                agents=len(account.holds),
                used=account.used.as_dict(),
                capacity=capacity.as_dict(account.used),
            )
        if not pool.overcommit:
            self._books.ledger.check_cluster(pool.name, capacity, instead_of=account.capacity)
        if body.warm_agents is not None:
            self._books.warm.change(pool, warm_agents, environment, out)
        pool.resources, pool.target_agents = resources, target
        self._books.ledger.resize(pool.uid, capacity)
        self._books.remember(pool, request_id)
        self._books.save_pool(pool, out)
        out.notes.append(Note("pool_resized", {"pool": pool.name, "capacity": str(capacity)}))
        return self._reply(pool)

    def delete(self, request_id: str, body: DeletePool, now: float, out: Decision) -> Reply | None:
        """The reply, or None while the pool's agents are being ended (by force)."""
        pool = self._books.pool_asked_by(request_id, body.name) or self._books.pool(body.name)
        if pool.state is PoolState.DELETED:
            return self._reply(pool)
        account = self._books.ledger.account(pool.uid)
        if account.holds and not body.force and pool.state is PoolState.ACTIVE:
            raise PoolNotEmptyError(
                pool=pool.name, agents=len(account.holds), used=account.used.as_dict(), capacity=Amounts().as_dict()
            )
        if request_id not in pool.changed_by:
            self._books.remember(pool, request_id)
        if pool.state is PoolState.ACTIVE:
            self._books.drain(pool)
            out.notes.append(Note("pool_deleting", {"pool": pool.name, "agents": len(account.holds)}))
            for agent in list(self._books.children(pool)):
                self._lifecycle.delete(agent, DELETE_GRACE_S, force=False, now=now, out=out)
        self._books.save_pool(pool, out)
        self._books.wait(pool.uid, request_id)
        return None

    def resume(self) -> None:
        """After a restart: go on deleting."""
        for pool in self._books.pools.values():
            if pool.state is PoolState.DELETING:
                self._books.drain(pool)

    def settle(self, now: float, out: Decision) -> None:
        """Close the pools whose last agent has ended, and answer those who waited for that."""
        emptied, self._books.emptied = self._books.emptied, []
        for pool in emptied:
            self._books.close_pool(pool, now, out)
            out.notes.append(Note("pool_deleted", {"pool": pool.name}))
            reply = self._reply(pool)
            out.answers += [Answer(request_id, reply) for request_id in self._books.waiters(pool.uid)]

    def _check_warm_total(self, warm_agents: int, *, instead_of: int) -> None:
        """As many idle processes as cpus is what Ray itself keeps."""
        others = sum(self._books.warm.wanted().values()) - instead_of
        cpus = self._books.ledger.cluster["cpu"] // GRAIN
        if warm_agents > instead_of and others + warm_agents > cpus:
            problem = f"asks {warm_agents}, other pools have {others}, and the cluster has {cpus} cpus: ask for fewer"
            raise InvalidRequestError(field="warm_agents", problem=problem)

    def _existing(self, pool: PoolRecord, asked: dict[str, object], environment: bytes, out: Decision) -> Reply:
        there = {field: getattr(pool, field) for field in asked}
        other = [field for field in asked if there[field] != asked[field]]
        differs = [f"{field} is {there[field]!s:.200}, asked {asked[field]!s:.200}" for field in other]
        if pool.state is not PoolState.ACTIVE:
            differs = ["it is being deleted"]
        if differs:
            raise PoolExistsError(pool=pool.name, differs=differs)
        if pool.warm_agents and digest(environment) != pool.environment:  # this driver's agents are those to come
            self._books.warm.change(pool, pool.warm_agents, environment, out)
            self._books.save_pool(pool, out)
        return self._reply(pool, created=False)

    def _reply(self, pool: PoolRecord, **more: bool) -> Reply:
        return Reply(result={"pool": self._info(pool), **more})

    def _info(self, pool: PoolRecord) -> dict[str, Any]:
        account = None if pool.state is PoolState.DELETED else self._books.ledger.account(pool.uid)
        return pool_info(pool, account, self._books.warm.ready_for(pool))


def _check_warm(warm_agents: int) -> int:
    if not 0 <= warm_agents <= MAX_WARM:
        raise InvalidRequestError(field="warm_agents", problem=f"must be 0 to {MAX_WARM:,}, got {warm_agents:,}")
    return warm_agents


def _check_target(target: int) -> int:
    if not 0 <= target <= MAX_TARGET:
        raise InvalidRequestError(field="target_agents", problem=f"must be 0 to {MAX_TARGET:,}, got {target:,}")
    return target
