"""The launchers of this mesh, as Ray's actor table has them. Knows no Ray."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import msgspec

from schedulemesh.supervisor.events import ActorPhase, LaunchersCounted, LauncherSeen

MAX_CRASHES = 5
"""Restarts of a launcher that has never asked, after which its environment is given up for those who wait."""
OWN = ":own"
"""How the actor name of a launcher ends that the mesh itself started."""


class LauncherTable:
    """Keeps what was last seen of each living launcher."""

    def __init__(self) -> None:
        self._living: dict[str, LauncherSeen] = {}
        self._unread: dict[str, LauncherSeen] = {}
        """Launchers that have asked for orders, and of which Ray has not told yet."""
        self._asked: dict[str, int] = {}
        """How often a launcher had been restarted when it last asked for orders."""
        self._missed: set[str] = set()
        self._changed = asyncio.Event()

    def see(self, seen: LauncherSeen) -> bool:
        """Take one observation in; returns whether the launcher's process has ended."""
        self._changed.set()
        self._missed.discard(seen.actor_id)
        self._unread.pop(seen.actor_id, None)
        before = self._living.get(seen.actor_id)
        if seen.phase is ActorPhase.DEAD:
            self._living.pop(seen.actor_id, None)
            self._asked.pop(seen.actor_id, None)
            return True
        self._living[seen.actor_id] = seen
        return seen.phase is ActorPhase.RESTARTING and (before is None or before.restarts < seen.restarts)

    def asked(self, actor_id: str, label: str) -> None:
        """This launcher's process works."""
        if actor_id in self._living:
            self._asked[actor_id] = self._living[actor_id].restarts
        else:  # it may terminate before Ray's table is read for the first time
            self._unread.setdefault(actor_id, LauncherSeen(label, actor_id, ActorPhase.ALIVE, 0))

    def absent(self, present: Iterable[LauncherSeen]) -> list[LauncherSeen]:
        """Forget the launchers that two readings of the table in a row do not have; one may be older than they are."""
        known = {**self._unread, **self._living}
        missing = known.keys() - {seen.actor_id for seen in present}
        gone = [seen for seen in known.values() if seen.actor_id in missing & self._missed]
        for seen in gone:
            for told in (self._living, self._unread, self._asked):
                told.pop(seen.actor_id, None)
        self._missed = missing - {seen.actor_id for seen in gone}
        self._changed.set()
        return [msgspec.structs.replace(seen, phase=ActorPhase.DEAD) for seen in gone]

    def living(self) -> list[LauncherSeen]:
        return list(self._living.values())

    def has(self, label: str) -> bool:
        """Whether Ray has a launcher of this environment, whatever it is doing."""
        return any(seen.label == label for seen in self._living.values())

    def crashes(self, label: str) -> bool:
        """Whether a launcher of this environment was restarted too often without asking for orders in between."""
        return any(
            seen.label == label and seen.restarts - self._asked.get(seen.actor_id, 0) >= MAX_CRASHES
            for seen in self._living.values()
        )

    def crowded(self, limit: int) -> bool:
        return len(self._living) > limit

    def count(self) -> LaunchersCounted:
        own = sum(seen.name.endswith(OWN) for seen in self._living.values())
        return LaunchersCounted(len(self._living), own)

    async def wait(self, timeout_s: float) -> None:
        """Return when something was seen, or after so many seconds."""
        self._changed.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)
