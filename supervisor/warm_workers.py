"""Warm workers: idle processes in a launcher's environment, on its node, which the next agents take.

Ray starts an actor in a process that is there and idle if its environment is the same; that takes tenths of a second
where a process start takes one or two. The raylet tells which processes are idle, but not in which environment. So
those that appear after this one asked are taken for its own; the supervisor has one launcher ask at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.supervisor.cluster import Raylet

KEEP_ALIVE_S = 3600
"""An idle process older than that may be ended by Ray where it has more of them than cpus, and is then replaced."""
_APPEAR_S = 10.0
_LOOK_S = 0.05


class WarmWorkers:
    """Not for use by two callers at the same time."""

    def __init__(self, raylet: Raylet) -> None:
        self._raylet = raylet
        self._own: set[bytes] = set()

    async def keep(self, count: int) -> int:
        """Go some way towards having so many ready; returns how many there are now."""
        idle = await self._raylet.idle()
        self._own &= idle
        if len(self._own) < count:
            await self._add(count - len(self._own), idle)
        elif len(self._own) > count:
            await self._give_back(len(self._own) - count)
        return len(self._own)

    def placement(self, options: Mapping[str, Any]) -> Any:
        """Where an agent that may go anywhere is best put: here while one is ready and there is room, else anywhere."""
        if not self._own or options.get("label_selector"):
            return "DEFAULT"
        here = ray.get_runtime_context().get_node_id()
        return NodeAffinitySchedulingStrategy(here, soft=True, _spill_on_unavailable=True)

    async def _add(self, count: int, there: set[bytes]) -> None:
        await self._raylet.prestart(count, KEEP_ALIVE_S)
        until = time.monotonic() + _APPEAR_S
        while True:
            appeared = await self._raylet.idle() - there
            if appeared or time.monotonic() > until:
                break
            await asyncio.sleep(_LOOK_S)
        self._own |= appeared

    async def _give_back(self, count: int) -> None:
        """End idle processes, by taking them as any actor would: none is ended that an agent has just got."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        taker: Any = ray.remote(_Taker).options(num_cpus=0, scheduling_strategy=here)
        takers = [taker.remote() for _ in range(count)]
        await asyncio.gather(*(one.__ray_ready__.remote() for one in takers))
        self._own &= await self._raylet.idle()
        for one in takers:
            ray.kill(one)


class _Taker:
    """Takes a process, to be ended with it."""
