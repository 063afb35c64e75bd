"""Probes: the classes that run on both sides. Light to import, as each new process does it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

STEP_S = 0.001


class Probe:
    """An agent, and a raw actor, of one and the same class. `async`, so that Ray's defaults are the same for both."""

    def __init__(self, name: str, labels: Mapping[str, str], supervisor: Any = None) -> None:
        self.name = name
        self.labels = labels
        self.supervisor = supervisor

    async def ping(self) -> None:
        pass

    async def pid(self) -> int:
        return os.getpid()


class Bare:
    """The bare async actor that a supervisor is held against."""

    async def ping(self) -> None:
        pass

    async def pid(self) -> int:
        return os.getpid()

    async def worst_stall(self, seconds: float) -> tuple[float, float]:
        return await worst_stall(seconds)


class Served:
    """The same for Ray Serve, which makes a deployment of it."""

    async def ping(self) -> None:
        pass

    async def pid(self) -> int:
        return os.getpid()


async def worst_stall(seconds: float) -> tuple[float, float]:
    """The longest time by which the event loop was late for a step of a millisecond, and its thread's work in it.

    What is late and no work was spent in waiting: for the processor, or for other threads that hold Python's lock.
    """
    worst, until = (0.0, 0.0), time.perf_counter() + seconds
    while (now := time.perf_counter()) < until:
        worked = time.thread_time()
        await asyncio.sleep(STEP_S)
        worst = max(worst, (time.perf_counter() - now - STEP_S, time.thread_time() - worked))
    return worst
