"""Children: scripts run as processes of their own, which clean up after themselves also when their time is over."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from harness.processes import kill, living

_CLEAN_UP_S = 60.0


def run(command: Sequence[str], env: Mapping[str, str], *, deadline_s: float | None = None) -> int | None:
    """The script's exit code, or None if it was not done in time."""
    child = subprocess.Popen(command, env=env, start_new_session=True)  # noqa: S603 - our own scripts
    try:
        return child.wait(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            child.terminate()  # it may have clusters of its own to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=_CLEAN_UP_S)
        for pid in living(child.pid):
            kill(pid)
        child.wait()


def clean_up_on_termination() -> None:
    """Have a SIGTERM unwind this process, so that what it started is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
