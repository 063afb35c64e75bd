"""The ledger: what each pool may hold, what it holds, and what the cluster can back. Sums are kept, never recounted.

A hold is the capacity booked for one agent. It is released exactly as it was booked, and only once.
"""

from __future__ import annotations

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.errors import InsufficientClusterCapacityError, InsufficientPoolCapacityError
from schedulemesh.core.records import PoolRecord


class Account:
    """One pool's side of the ledger: its capacity and the holds on it, by agent uid."""

    def __init__(self, capacity: Amounts, *, overcommit: bool) -> None:
        self.capacity = capacity
        self.overcommit = overcommit
        self.used = Amounts()
        self.holds: dict[str, Amounts] = {}

    @property
    def available(self) -> Amounts:
        return self.capacity.minus(self.used)

    def short_for(self, need: Amounts) -> tuple[str, ...]:
        """The kinds of which too little is available; empty when there is room."""
        used, capacity = self.used.units, self.capacity.units
        short: tuple[str, ...] = ()
        for kind, value in need.units.items():
            if used.get(kind, 0) + value > capacity.get(kind, 0):
                short += (kind,)
        return short


class Ledger:
    """All accounts, and the promise that together they fit into the cluster."""

    def __init__(self, headroom: float) -> None:
        self.headroom = headroom
        self.cluster = Amounts()
        self.committed = Amounts()
        self._accounts: dict[str, Account] = {}

    def account(self, pool_uid: str) -> Account:
        return self._accounts[pool_uid]

    def open(self, pool: PoolRecord) -> None:
        account = Account(capacity_of(pool.resources, pool.target_agents), overcommit=pool.overcommit)
        self._accounts[pool.uid] = account
        if not account.overcommit:
            self.committed = self.committed.plus(account.capacity)

    def resize(self, pool_uid: str, capacity: Amounts) -> None:
        account = self._accounts[pool_uid]
        if not account.overcommit:
            self.committed = self.committed.minus(account.capacity).plus(capacity)
        account.capacity = capacity

    def close(self, pool_uid: str) -> None:
        account = self._accounts.pop(pool_uid)
        if account.holds:
            raise AssertionError(f"pool {pool_uid} closed with {len(account.holds)} holds")
        if not account.overcommit:
            self.committed = self.committed.minus(account.capacity)

    def book(self, pool_uid: str, agent_uid: str, need: Amounts) -> None:
        account = self._accounts[pool_uid]
        if agent_uid in account.holds:
            raise AssertionError(f"agent {agent_uid} booked twice")
        account.holds[agent_uid] = need
        account.used = account.used.plus(need)

    def release(self, pool_uid: str, agent_uid: str) -> None:
        account = self._accounts[pool_uid]
        account.used = account.used.minus(account.holds.pop(agent_uid))

    def check_room(self, pool: PoolRecord, agent: str, need: Amounts) -> None:
        """Raise InsufficientPoolCapacityError if the pool has no room for the agent now."""
        account = self._accounts[pool.uid]
        short = account.short_for(need)
        if short:
            raise InsufficientPoolCapacityError(
                agent=agent,
                pool=pool.name,
                short=short,
                asked=need.as_dict(),
                available=account.available.as_dict(account.capacity, need),
                capacity=account.capacity.as_dict(need),
                could_ever_fit=need.fits_in(account.capacity),
            )

    def check_cluster(self, pool: str, capacity: Amounts, *, instead_of: Amounts) -> None:
        """Raise InsufficientClusterCapacityError if the cluster cannot back `capacity` beside the other pools.

        A kind that does not grow is not checked: a cluster that lost a node must not keep a pool from shrinking.
        """
        others = self.committed.minus(instead_of)
        usable = self.cluster.less(self.headroom)
        left = usable.minus(others)
        short = tuple(kind for kind in capacity.short_of(left) if capacity[kind] > instead_of[kind])
        if short:
            raise InsufficientClusterCapacityError(
                pool=pool,
                short=short,
                asked=capacity.as_dict(),
                available=left.as_dict(capacity),
                cluster=self.cluster.as_dict(capacity),
                headroom=self.headroom,
            )

    def check(self) -> None:
        """Assert the invariants: used is the sum of holds, committed the sum of capacities."""
        committed = Amounts()
        for uid, account in self._accounts.items():
            used = Amounts()
            for need in account.holds.values():
                used = used.plus(need)
            if used != account.used:
                raise AssertionError(f"pool {uid} says used {account.used}, its holds sum to {used}")
            if not account.overcommit:
                committed = committed.plus(account.capacity)
        if committed != self.committed:
            raise AssertionError(f"committed is {self.committed}, capacities sum to {committed}")


def capacity_of(resources: Amounts, target_agents: int) -> Amounts:
    """A pool's capacity: `resources` for each of `target_agents`, or `resources` itself when there is no target."""
    return resources.times(target_agents) if target_agents else resources
