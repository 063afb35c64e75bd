"""Warmth: which environments are to have idle processes ready, and the watch over them. The supervisor's side.

One task for each such environment, and none where nobody asked. It has the environment's launcher make up what is
missing: at once when an agent was launched there, and from time to time, since processes end for reasons of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from schedulemesh.supervisor.events import WarmSeen

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.supervisor")

LOOK_S = 15.0
"""Between two looks when nothing has happened."""
_RETRY_S = 1.0
UNAVAILABLE = -1
"""What a launcher answers whose raylet does not offer what is needed."""

Keep = Callable[[str, int], Awaitable[int]]
"""Has an environment's launcher go some way towards so many ready processes; returns how many there are, or
UNAVAILABLE. Raises what a launcher can raise that is just being lost."""


class _Want:
    def __init__(self, count: int) -> None:
        self.count = count
        self.changed = asyncio.Event()


class Warmth:
    """`keep` does the work; `seen` is told what there is whenever that has changed."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._wants: dict[str, _Want] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()

    def want(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        """From now on, so many are to be ready. With 0 those that are there are given back."""
        want = self._wants.get(environment_key)
        if want is not None:
            want.count = count
            want.changed.set()
        elif count:
            self._wants[environment_key] = _Want(count)
            self._tasks[environment_key] = asyncio.ensure_future(self._watch(environment_key, seen))

    def is_wanted(self, environment_key: str) -> bool:
        return environment_key in self._wants

    def look(self, environment_key: str) -> None:
        """An agent was launched there, and may have taken one."""
        want = self._wants.get(environment_key)
        if want is not None:
            want.changed.set()

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _watch(self, environment_key: str, seen: Callable[[WarmSeen], None]) -> None:
        want, told = self._wants[environment_key], 0
        try:
            while True:
                want.changed.clear()
                ready, pause_s = await self._looked(environment_key, want)
                if ready != told:
                    seen(WarmSeen(environment_key, ready))
                    told = ready
                if not want.count and not told:
                    return
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(want.changed.wait(), pause_s)
        finally:
            del self._wants[environment_key], self._tasks[environment_key]

    async def _looked(self, environment_key: str, want: _Want) -> tuple[int, float]:
        """How many are ready, and when to look again."""
        wanted = want.count
        try:
            async with self._turn:
                ready = await self._keep(environment_key, wanted)
        except Exception as error:  # noqa: BLE001 - its launcher was lost, or cannot start; there will be another
            log.warning("warm_workers_unknown", environment=environment_key[:16], error=repr(error)[:300])
            return 0, LOOK_S
        if ready == UNAVAILABLE:
            log.warning("warm_workers_unavailable", environment=environment_key[:16])
            want.count = 0
            return 0, 0.0
        return ready, LOOK_S if ready == wanted else _RETRY_S
