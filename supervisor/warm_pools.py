"""Warm pools: for which pools idle processes are to be kept ready, in which environment, and how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from schedulemesh.core.records import PoolRecord, digest
from schedulemesh.supervisor.effects import Decision, KeepReady
from schedulemesh.supervisor.kits import Kits


class WarmPools:
    """What is wanted stands in the pools' records; what is ready is known only while this process lives."""

    def __init__(self, kits: Kits) -> None:
        self._kits = kits
        self._wanted: Counter[str] = Counter()
        self._ready: dict[str, int] = {}

    def wanted(self) -> Mapping[str, int]:
        """How many are wanted, by environment."""
        return self._wanted

    def ready(self) -> int:
        return sum(self._ready.values())

    def ready_for(self, pool: PoolRecord) -> int:
        """Pools of one environment share what is ready there."""
        return min(pool.warm_agents, self._ready.get(pool.environment, 0))

    def seen(self, environment: str, ready: int) -> None:
        self._ready[environment] = ready
        if not ready:
            del self._ready[environment]

    def enter(self, pool: PoolRecord) -> None:
        """Count what this pool wants."""
        if pool.warm_agents:
            self._kits.need([pool.environment])
            self._wanted[pool.environment] += pool.warm_agents

    def change(self, pool: PoolRecord, count: int, environment: bytes, out: Decision) -> None:
        """From now on, so many are to be ready for this pool, in that environment. Who calls this saves the pool."""
        before, had = pool.environment, pool.warm_agents
        pool.warm_agents, pool.environment = count, digest(environment) if count else ""
        if count:
            self._kits.put(pool.environment, environment, out)
            self.enter(pool)
        if had:  # given up last: it may be the same environment
            self._wanted[before] -= had
            self._kits.drop([before], out)
        changed = dict.fromkeys(one for one in (before, pool.environment) if one)
        out.effects += [KeepReady(one, self._wanted[one]) for one in changed]
        if not self._wanted[before]:
            del self._wanted[before]
