"""The supply of launchers: waits until a mailbox's orders are taken, and starts a launcher where none comes.

Knows no Ray. A driver creates the launcher of its own job before it asks for an agent, so there is one in most cases.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import structlog

from schedulemesh.core.environments import Environment
from schedulemesh.core.launch_protocol import BARE
from schedulemesh.core.records import key_of
from schedulemesh.supervisor.launcher_table import LauncherTable
from schedulemesh.supervisor.mailbox import ABSENT_S, Mailbox
from schedulemesh.supervisor.ports import LauncherStarter, Store

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.supervisor")

NEWS_S = 1.0
"""How long an order waits for the news of a launcher that its driver created a moment before."""
COMING_S = 60.0
"""How long a launcher that Ray has may take to ask for the first time, until another is started beside it."""
STARTS_AT_ONCE = 4
"""Launchers that the mesh starts at a time; each is a process that connects to Ray."""


class LauncherSupply:
    """Watches over the mailboxes in which orders wait. `served` is told of each whose orders are all taken."""

    def __init__(
        self, table: LauncherTable, store: Store, starter: LauncherStarter, served: Callable[[Mailbox], None]
    ) -> None:
        self._table = table
        self._store = store
        self._starter = starter
        self._served = served
        self._watched: dict[Mailbox, asyncio.Task[None]] = {}
        self._starts: asyncio.Semaphore | None = None

    def see_served(self, box: Mailbox) -> None:
        """Watch over this mailbox until its orders are taken, or given up because no launcher can be had."""
        if box not in self._watched:
            self._watched[box] = asyncio.get_running_loop().create_task(self._serve(box))

    async def _serve(self, box: Mailbox) -> None:
        loop = asyncio.get_running_loop()
        since, started = loop.time(), False
        while box.waiting:
            box.changed.clear()
            now = loop.time()
            if box.is_served(now):
                await waited(box.changed, ABSENT_S)
                since, started = loop.time(), False
                continue
            if box.key != BARE:
                box.turn_away()
            problem = box.failure
            if problem:
                pass
            elif self._table.crashes(box.label):
                problem = "its launcher's process ended again and again while it was starting"
            elif now - since < (COMING_S if started or self._table.has(box.label) else NEWS_S):
                await waited(box.changed, NEWS_S)
            elif started:
                problem = f"its launcher did not come up within {COMING_S:g} s"
            else:
                problem = await self._start(box)
                since, started = loop.time(), True
            if problem:
                log.warning("launcher_failed", environment=box.key[:16], problem=problem[:300])
                box.failure = ""
                box.refuse(problem)
        del self._watched[box]  # with the look at the mailbox above, and not one turn of the event loop later
        self._served(box)

    async def _start(self, box: Mailbox) -> str:
        """Start a launcher of the mesh's own for this mailbox; returns what prevented it."""
        self._starts = self._starts or asyncio.Semaphore(STARTS_AT_ONCE)
        async with self._starts:
            log.info("launcher_started", environment=box.key[:16])
            try:
                if box.key == BARE:
                    return await self._starter.start_bare()
                encoded = await self._store.get(key_of("blob", box.key))
                return await self._starter.start(box.key, msgspec.json.decode(encoded, type=Environment))
            except KeyError:
                return "it was deleted before it was launched"
            except Exception as error:  # noqa: BLE001 - the store is away, or no process can be started here
                return f"{type(error).__name__}: {error}"


async def waited(event: asyncio.Event, timeout_s: float) -> None:
    """Return when the event is set, or after so many seconds."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), max(timeout_s, 0.0))
