"""The recorder: writes the history as it happens, and lets the run wait for what it shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from chaoslib.history import Actor, AnyEntry, Table, decode, encode

E = TypeVar("E", bound=AnyEntry)


class Recorder:
    """Takes entries from many threads. `table` is the last reading of Ray's table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._changed = threading.Condition()
        self._latest: dict[type, AnyEntry] = {}
        self._count = 0

    def record(self, entry: AnyEntry) -> None:
        self._take(encode(entry), entry)

    def line(self, line: bytes) -> None:
        """A line from a child; half of one, from a child that was killed, is dropped."""
        try:
            self._take(line.rstrip(b"\n"), decode(line))
        except msgspec.DecodeError:
            return

    def latest(self, kind: type[E]) -> E | None:
        found = self._latest.get(kind)
        return found if isinstance(found, kind) else None

    def actors(self, role: str) -> list[Actor]:
        """Those that lived at the last reading and had a process, in the order of their names."""
        table = self.latest(Table)
        found = [actor for actor in table.actors if actor.role == role and actor.pid] if table else []
        return sorted(found, key=lambda actor: (actor.name, actor.actor_id))

    def wait(self, kind: type[E], condition: Callable[[E], bool], timeout_s: float) -> E | None:
        """An entry of this kind that comes from now on and meets the condition, or None after the timeout."""
        until = time.monotonic() + timeout_s
        with self._changed:
            seen = self._latest.get(kind)
            while (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
                latest = self._latest.get(kind)
                if latest is not seen and isinstance(latest, kind) and condition(latest):
                    return latest
                seen = latest
        return None

    def close(self) -> None:
        with self._changed:
            self._file.close()

    def _take(self, line: bytes, entry: AnyEntry) -> None:
        with self._changed:
            if self._file.closed:
                return
            self._file.write(line + b"\n")
            self._latest[type(entry)] = entry
            self._changed.notify_all()


def merge(path: Path, further: Path) -> None:
    """Put what agents noted themselves into the history, and all of it into the order of time."""
    lines = path.read_bytes().splitlines()
    if further.exists():
        lines += further.read_bytes().splitlines()
    ordered = sorted(lines, key=lambda line: decode(line).at)
    path.write_bytes(b"".join(line + b"\n" for line in ordered))
