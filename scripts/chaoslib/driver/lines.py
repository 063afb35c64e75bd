"""What a driver of the chaos run tells the run: JSON lines on the standard output it was started with."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any


class Lines:
    """Writes whole lines, each in one write, so that a driver that is killed leaves no half of one behind it.

    What anyone else prints, Ray and agents included, goes to the error output from here on.
    """

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        line = {"type": kind, "at": time.monotonic(), "wall": time.time(), **fields}
        with self._lock:
            os.write(self._out, json.dumps(line).encode() + b"\n")


def problem_of(error: BaseException) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)[-700:]}


def brief(agent: Any) -> dict[str, Any]:
    """An agent's info without its handle, labels and options."""
    kept = ("name", "pool", "state", "actor_id", "pid", "node_id", "restarts", "cause")
    return {**{key: agent[key] for key in kept}, "cpu": agent["resources"]["cpu"]}
