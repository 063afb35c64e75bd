"""The agent of a chaos run. It says in each answer who it is, and leaves proof of its life outside of Ray.

The proof is a lock on a file of its name, which the kernel frees with the process and never before. Who comes up and
finds it held has met another process of the same name, and notes whom, and until when.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

import schedulemesh

VARIABLE = "CHAOS_PROBE"


class Probe(schedulemesh.AgentActor):
    """Answers with its identity. `journal` is the folder of the proofs.

    `variable` is what its environment must hold, in each of its processes; without that it does not come up.
    """

    def __init__(
        self, name: str, labels: Mapping[str, str], supervisor: Any = None, *, journal: str, variable: str
    ) -> None:
        super().__init__(name, labels, supervisor)
        if os.environ.get(VARIABLE, "") != variable:
            raise RuntimeError(f"{VARIABLE} is {os.environ.get(VARIABLE)!r}, not {variable!r}")
        context = ray.get_runtime_context()
        self.identity = {
            "actor_id": context.get_actor_id(),
            "pid": os.getpid(),
            "start": _own_start_time(),
            "node": context.get_node_id(),
        }
        self._journal = Path(journal)
        self._note("born", self.identity)
        self._lock = os.open(self._journal / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._meet()
        else:
            self._sign()

    def who(self) -> dict[str, Any]:
        return {**self.identity, "at": time.monotonic()}

    def _meet(self) -> None:
        other = json.loads(os.pread(self._lock, 4096, 0) or b"{}")
        mine = {"actor_id": self.identity["actor_id"], "pid": self.identity["pid"]}
        self._note("met", {**mine, "other_actor_id": other.get("actor_id", ""), "other_pid": other.get("pid", 0)})

        def wait() -> None:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._sign()
            self._note("alone", mine)

        threading.Thread(target=wait, daemon=True).start()

    def _sign(self) -> None:
        """Say in the locked file who holds it; one write, so that nobody reads half of it."""
        os.pwrite(self._lock, json.dumps(self.identity).encode().ljust(512), 0)

    def _note(self, kind: str, fields: dict[str, Any]) -> None:
        line = {"type": kind, "at": time.monotonic(), "wall": time.time(), "agent": self.name, **fields}
        file = os.open(self._journal / "journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)


def _own_start_time() -> int:
    """When this process started, in ticks since the machine did, as `chaoslib.processes.start_time` says of others.

    That one cannot be used: in an agent's process only the driver's own folder is sure to be importable.
    """
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
