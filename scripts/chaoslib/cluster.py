"""The cluster of a chaos run, from outside: a Redis server, and the keeper that holds Ray's nodes."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from chaoslib.processes import PARTS, Child, python

MESH = "chaos"
KEYS = f"schedulemesh/schedulemesh/{MESH}"
"""Where the mesh keeps its records in the GCS key-value store."""
INSTALL_REDIS = (
    "the chaos run needs redis-server: `apt-get update && apt-get install redis-server`, or your system's way"
)
WORKERS = 2
"""Nodes besides the head."""
_ORDER_S = 120.0
_UP_S = 30.0


class RunError(Exception):
    """The run itself went wrong; nothing is said about the mesh."""


class Cluster:
    """Started when it is made. `env` is what drivers need; `mark` is in the environment of every process of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"RAY_TMPDIR={folder}"
        self.workers: list[str] = []
        self.journal = folder / "journal"
        self.journal.mkdir()
        port = _free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.env = {
            **clean,
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # in the environment only
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(PARTS.parent),
            "PYTHONUNBUFFERED": "1",
        }
        redis = [shutil.which("redis-server") or "redis-server", "--port", str(port), "--bind", "127.0.0.1"]
        redis += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        Child(redis, env=self.env, folder=folder, log=folder / "redis.log", line=lambda _: None)
        _await_port(port)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        keeper_env = {
            **self.env,
            "RAY_REDIS_ADDRESS": f"127.0.0.1:{port}",
            # As many workers as are asked for: the nodes claim more cpus than this machine has.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_num_workers_soft_limit": "1",
            # Others' memory is no reason to kill agents here.
            "RAY_memory_monitor_refresh_ms": "0",
            # A node that went is declared dead after about ten seconds.
            "RAY_health_check_period_ms": "2000",
            "RAY_health_check_failure_threshold": "5",
        }
        self._keeper = Child(
            python("keeper"), env=keeper_env, folder=folder, log=folder / "keeper.log", line=self._answered
        )
        answer = self.order("address")
        self.head, self.address = str(answer["head"]), str(answer["address"])
        self.env["RAY_ADDRESS"] = self.address
        self.fill()

    def fill(self) -> list[str]:
        """Bring the worker nodes up to their number; returns those that are new.

        Ray gives a node half a minute to come up. On a busy machine that may be too little: then it is tried again
        when this is called again.
        """
        new = []
        with contextlib.suppress(RunError):
            while len(self.workers) < WORKERS:
                new.append(str(self.order("add-node")["node"]))
                self.workers.append(new[-1])
        return new

    def remove_node(self, node: str) -> None:
        self.order("remove-node", node)
        self.workers.remove(node)

    def order(self, *words: str) -> dict[str, Any]:
        """Have the keeper do something. Raises RunError if it could not."""
        order = " ".join(words)
        self._keeper.tell(order)
        until = time.monotonic() + _ORDER_S
        answer: dict[str, Any] = {}
        while answer.get("order") != order:  # a late answer may be to an earlier one
            try:
                answer = self._answers.get(timeout=0.2)
            except queue.Empty:
                if self._keeper.ended(timeout_s=0.0) or time.monotonic() > until:
                    answer = {"order": order, "problem": f"no answer; {self._keeper.last_words()}"}
        if "problem" in answer:
            raise RunError(f"the cluster could not {order}: {answer['problem']}")
        return answer

    def _answered(self, line: bytes) -> None:
        self._answers.put(json.loads(line))


def _free_port() -> int:
    """One that nobody listens on, and that the kernel gives to no outgoing connection before it is used."""
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _await_port(port: int) -> None:
    until = time.monotonic() + _UP_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > until:
            raise RunError("redis-server did not come up")
        time.sleep(0.05)
