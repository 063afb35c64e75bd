"""The watcher: when the GCS was away, it subscribes anew and then reads the table, so that nothing is missed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from schedulemesh.supervisor import watcher
from schedulemesh.supervisor.watcher import GcsWatcher

if TYPE_CHECKING:
    from schedulemesh.supervisor.events import TableRead


class Subscriber:
    """Ray's subscriber; the first one finds the GCS away, and the next hears nothing."""

    journal: list[str]

    def __init__(self, address: str) -> None:
        self.address = address

    async def subscribe(self) -> None:
        self.journal.append("subscribe")

    async def poll(self, batch_size: int) -> list[Any]:
        assert batch_size > 0
        if self.journal.count("subscribe") > 1:
            await asyncio.Event().wait()
        self.journal.append("away")
        return []

    async def close(self) -> None:
        self.journal.append("close")


class Table:
    async def async_get_all_actor_info(self, **_: object) -> dict[Any, Any]:
        return {}


def test_after_an_outage_it_subscribes_anew_and_then_reads_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    journal: list[str] = []
    read_twice = asyncio.Event()
    monkeypatch.setattr(Subscriber, "journal", journal, raising=False)
    monkeypatch.setattr(watcher, "GcsAioActorSubscriber", Subscriber)
    monkeypatch.setattr(watcher, "_gcs", Table)

    async def table(read: TableRead) -> None:
        assert read.actors == ()
        journal.append("table")
        if journal.count("table") > 1:
            read_twice.set()

    async def scenario() -> None:
        watching = asyncio.ensure_future(GcsWatcher("address", "mesh").watch(lambda _: None, table))
        await asyncio.wait_for(read_twice.wait(), 30)
        watching.cancel()
        await asyncio.wait({watching})

    asyncio.run(scenario())
    assert journal == ["subscribe", "table", "away", "close", "subscribe", "table", "close"]
