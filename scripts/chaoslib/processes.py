"""Processes of the run: started with a mark in their environment, by which all that came of them is found again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PARTS = Path(__file__).resolve().parent
_LOOK_S = 0.05
_GONE_S = 30.0


class Child:
    """A process whose output lines are handed on as they come; its error output goes into a file."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path, log: Path, line: Callable[[bytes], None]
    ) -> None:
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(  # noqa: S603 - our own scripts
                command,
                env=dict(env),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, args=(line,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def ended(self, timeout_s: float) -> bool:
        """Whether the process ended in time; then all its lines were handed on."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join()
        return True

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-400:] if self.log.exists() else ""

    def _read(self, line: Callable[[bytes], None]) -> None:
        assert self.process.stdout is not None  # noqa: S101 - it was asked for
        for one in self.process.stdout:
            line(one)


def python(part: str, *arguments: str) -> list[str]:
    """The command of one of the parts: a module of this package, or a script of the drivers."""
    script = PARTS / part
    return [sys.executable, *([str(script)] if script.suffix else ["-m", f"chaoslib.{part}"]), *arguments]


def start_time(pid: int) -> int:
    """With it a pid names one process for ever; 0 when there is no such process, or only what is left of it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[19]) if fields[0] not in "ZX" else 0


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> dict[int, str]:
    """The living processes of the cluster with this mark, `NAME=folder`, by pid: it is in their environment.

    Redis and Ray's agents give themselves titles, and lose their environment by it; they are at home in the folder.
    """
    folder = mark.partition("=")[2]
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes().split(b"\0")
            at_home = str((entry / "cwd").readlink()).startswith(folder)
            if (at_home or mark.encode() in environ) and start_time(int(entry.name)) and int(entry.name) != os.getpid():
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(entry.name)] = command[:120]
    return found


def end_marked(mark: str) -> dict[int, str]:
    """Kill every process with the mark; returns those that would not go."""
    until = time.monotonic() + _GONE_S
    while (left := marked(mark)) and time.monotonic() < until:
        for pid in left:
            kill(pid)
        time.sleep(_LOOK_S)
    return left
