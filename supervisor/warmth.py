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
SOON_S, SELDOM_S = 0.25, 300.0
"""Between two looks while some are missing or too many; it grows while nothing changes, and more if nobody can be
asked."""
COMING_S = 1.0
"""The same while some are being started."""
TRIES = 5
"""To give back what is wanted no longer, where nobody can be asked. Their agents' node or environment may be gone."""
END_S = 20.0
"""How long the end of the mesh waits for all to be given back."""
UNAVAILABLE = -1
"""What a launcher answers whose raylet does not offer what is needed."""

Keep = Callable[[str, int], Awaitable[tuple[int, int]]]
"""Has an environment's launcher go some way towards so many ready processes; returns how many there are (or
UNAVAILABLE), and how many more may still come. Raises what a launcher can raise that is just being lost."""


class _Want:
    def __init__(self, count: int) -> None:
        self.count = count
        self.changed = asyncio.Event()


class Warmth:
    """`keep` does the work."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._wants: dict[str, _Want] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def want(self, environment_key: str, count: int, seen: Callable[[WarmSeen], None]) -> None:
        """From now on, so many are to be ready; `seen` is told how many are. With 0, those there are are given back."""
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

    async def close(self) -> None:
        """Give all back, as far as that can be done in time."""
        for want in self._wants.values():
            want.count = 0
            want.changed.set()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=END_S)
        for task in self._tasks.values():
            task.cancel()

    async def _watch(self, environment_key: str, seen: Callable[[WarmSeen], None]) -> None:
        want, told, tries, pause_s = self._wants[environment_key], 0, TRIES, SOON_S
        try:
            while True:
                want.changed.clear()
                wanted = want.count
                found = await self._looked(environment_key, want)
                ready, coming = found or (told, 0)
                if ready != told:
                    seen(WarmSeen(environment_key, ready))
                    told, pause_s = ready, SOON_S
                else:
                    pause_s = min(2 * pause_s, SELDOM_S if found is None else COMING_S if coming else LOOK_S)
                    tries -= not wanted and not coming
                gone = found is not None and not ready and not coming
                if not want.count and (gone or tries <= 0):
                    return
                settled = found is not None and ready == wanted and not coming
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(want.changed.wait(), LOOK_S if settled else pause_s)
        finally:
            del self._wants[environment_key], self._tasks[environment_key]

    async def _looked(self, environment_key: str, want: _Want) -> tuple[int, int] | None:
        """How many are ready and how many may come, or None when that is not known."""
        try:
            ready, coming = await self._keep(environment_key, want.count)
        except Exception as error:  # noqa: BLE001 - its launcher was lost, or cannot start; there will be another
            log.warning("warm_workers_unknown", environment=environment_key[:16], error=repr(error)[:300])
            return None
        if ready == UNAVAILABLE:
            log.warning("warm_workers_unavailable", environment=environment_key[:16])
            want.count = 0
            return 0, 0
        return ready, coming
