"""Processes: what the kernel says of those below one cluster's folder."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def spare_workers(folder: Path) -> list[int]:
    """Worker processes of the cluster that run nothing: idle, or just starting. A create might take one of them."""
    return [
        pid
        for pid, command in commands()
        if (command.startswith("ray::IDLE") or _is_starting(command)) and _is_inside(pid, folder)
    ]


def living(session: int) -> list[int]:
    """The processes of a session, without those that only wait for their parent to notice their end."""
    found = []
    for pid, _ in commands():
        with contextlib.suppress(OSError):  # it ended while we looked
            state, _, _, owner = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(owner) == session and state not in "ZX":
                found.append(pid)
    return found


def is_alive(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)


def own_bytes(pid: int) -> int:
    """Memory that would come back if the process ended: what it shares with others does not count."""
    rollup = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Private_"))


def cpu_seconds(pid: int) -> float:
    """What all its threads have run so far, to the nanosecond: an idle process runs less than a tick of the clock."""
    total = 0
    for thread in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(OSError):  # it ended while we looked
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def commands() -> Iterator[tuple[int, str]]:
    """Every process of the machine, by its command; empty for one that has ended, or is the kernel's."""
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _is_starting(command: str) -> bool:
    """Whether it is a worker that has no title yet; the node's own command names the program of its workers too."""
    program, _, arguments = command.partition(" ")
    return Path(program).name.startswith("python") and "default_worker.py" in arguments


def _is_inside(pid: int, folder: Path) -> bool:
    """A process that has given itself a title has lost its command; workers run in the folder of their node."""
    try:
        return (_PROC / str(pid) / "cwd").readlink().is_relative_to(folder)
    except OSError:
        return False
