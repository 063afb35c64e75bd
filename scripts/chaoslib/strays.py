"""Strays: worker processes that Ray itself loses when its GCS is killed, found and ended so that a long run can go on.

Ray 2.60 asks a node for a worker before it makes an actor. When the GCS dies in between, the new one asks for another,
and the node keeps the first, with its process and its cpus, until it goes itself; with plain Ray it is the same. Such a
process is idle for ever: it has not become an actor. The mesh knows nothing of it, and cannot end it.
"""

from __future__ import annotations

import os
from pathlib import Path

from chaoslib.processes import kill, marked, start_time

OLD_S = 45.0
"""A worker that is idle for so long was not asked for by anybody: starts of agents take seconds."""
_TITLE = "ray::IDLE"


def end_strays(mark: str) -> list[int]:
    """Kill them; returns their pids."""
    old = float(Path("/proc/uptime").read_text().split()[0]) - OLD_S
    ticks = os.sysconf("SC_CLK_TCK")
    strays = [pid for pid, command in marked(mark).items() if command.startswith(_TITLE)]
    strays = [pid for pid in strays if 0 < start_time(pid) / ticks < old]
    for pid in strays:
        kill(pid)
    return strays
