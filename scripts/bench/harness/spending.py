"""Spending: how much of the processor each kind of process takes, those that come and go included."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from pathlib import Path

from harness.processes import commands

_LOOK_S = 0.02
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_KINDS = {
    "raylet/raylet": "raylet",
    "gcs_server": "GCS",
    "setup_worker.py": "`setup_worker.py`: Python and Ray, to set the environment",
    "default_worker.py": "the worker, until it has a name",
    "ray::": "the worker, from then on",
}
"""What stands in a command, and what such a process is called here; the first that fits. A node's own command names the
programs of its workers too."""
_ELSE = "all other"


class Spending:
    """Looks at all processes from its beginning until it is asked. What one runs between two looks goes to what it is
    at the second; what it ran after the last one is lost.
    """

    def __init__(self) -> None:
        self._last = {pid: ticks for pid, _, ticks in _processes()}
        self._spent: Counter[str] = Counter()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def seconds(self) -> dict[str, float]:
        self._over.set()
        self._looking.join()
        return {kind: ticks * _TICK_S for kind, ticks in self._spent.most_common()}

    def _look(self) -> None:
        while not self._over.wait(_LOOK_S):
            for pid, command, ticks in _processes():
                if pid == os.getpid():
                    continue
                known = (kind for text, kind in _KINDS.items() if text in command)
                self._spent[next(known, _ELSE)] += max(0, ticks - self._last.get(pid, 0))
                self._last[pid] = ticks


def _processes() -> list[tuple[int, str, int]]:
    """Each process with its command, and the ticks of the clock that it ran."""
    found = []
    for pid, command in commands():
        with contextlib.suppress(OSError):  # it ended while we looked
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if command:
                found.append((pid, command, int(fields[11]) + int(fields[12])))
    return found
