"""Warm workers: idle processes in a launcher's environment, on its node, which the next agents take.

Ray starts an actor in a process that is there and idle if its environment is the same; that takes tenths of a second
where a process start takes one or two. The raylet tells which processes are idle, but not in which environment. That
is seen on the processes themselves: one of the same environment was started with the same variables as this one.

Not public in Ray: `_spill_on_unavailable` of a node affinity, so that an agent goes elsewhere where there is no room.
If it goes, such agents are placed as all others, and find a ready process only if Ray happens to choose that node.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.core.launch_protocol import WarmWorkersSeen

KEEP_ALIVE_S = 3600
"""An idle process older than that may be ended by Ray where it has more of them than cpus, and is then replaced."""
PATIENCE_S = 15.0
"""How long those that were asked for are waited for before more are."""
_BACK_AT_ONCE = 8
_OF_ONE_PROCESS = ("RAY_", "SPT_", "OMP_NUM_THREADS")
"""Variables that differ between processes of one environment."""


class WarmWorkers:
    """Those of this launcher. Asks nobody before `keep` is called for the first time."""

    def __init__(self) -> None:
        self._raylet: Any = None
        self._traits = _traits("self")
        self._turn = asyncio.Lock()
        self._seen: set[int] = set()
        self._ready = self._coming = 0
        self._patient_until = 0.0
        remote: Any = ray.remote
        self._taker = remote(_Taker)  # once: Ray exports a class for each time this is called

    async def keep(self, count: int) -> WarmWorkersSeen:
        """Go some way towards having so many ready; returns how many are, and how many more may still come."""
        from schedulemesh.runtime.raylet import NotOfferedError, Raylet  # noqa: PLC0415 - gRPC, for warm pools only

        try:
            if self._raylet is None:
                self._raylet = await Raylet.of_this_node()
            return await self._keep(count)
        except NotOfferedError:
            return WarmWorkersSeen(0, 0, offered=False)

    async def _keep(self, count: int) -> WarmWorkersSeen:
        async with self._turn:
            await self._look()
            if self._ready > count:
                await self._give_back(min(self._ready - count, _BACK_AT_ONCE))
                await self._look()
            else:
                await self._add(count - self._ready - self._coming)
            return WarmWorkersSeen(self._ready, self._coming)

    def placement(self, options: Mapping[str, Any]) -> Any:
        """Where an agent of a warm pool that may go anywhere is best put: here while one is ready and there is room."""
        if self._ready <= 0 or options.get("label_selector"):
            return "DEFAULT"
        self._ready -= 1  # until it is looked again: this agent takes one
        here = ray.get_runtime_context().get_node_id()
        return NodeAffinitySchedulingStrategy(here, soft=True, _spill_on_unavailable=True)

    async def _look(self) -> None:
        there = {pid for pid in await self._raylet.idle() if _traits(str(pid)) == self._traits}
        came = len(there - self._seen)
        self._coming = max(0, self._coming - came) if time.monotonic() < self._patient_until else 0
        self._seen, self._ready = there, len(there)

    async def _add(self, missing: int) -> None:
        """Ask for some. Ray starts as many at a time as it has cores, and drops the rest."""
        asked = min(missing, (os.cpu_count() or 1) - self._coming)
        if asked > 0:
            self._coming += asked
            self._patient_until = time.monotonic() + PATIENCE_S
            await self._raylet.prestart(asked, KEEP_ALIVE_S)

    async def _give_back(self, count: int) -> None:
        """End idle processes, by taking them as any actor would: none is ended that an agent has just got."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        takers = [self._taker.options(num_cpus=0, scheduling_strategy=here).remote() for _ in range(count)]
        await asyncio.gather(*(one.__ray_ready__.remote() for one in takers))
        for one in takers:
            ray.kill(one)


class _Taker:
    """Takes a process, to be ended with it."""


def _traits(pid: str) -> frozenset[bytes]:
    """What a process was started with, as far as its environment decides it; nothing of one that is gone."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return frozenset()
    prefixes = tuple(prefix.encode() for prefix in _OF_ONE_PROCESS)
    return frozenset(variable for variable in variables if variable and not variable.startswith(prefixes))
