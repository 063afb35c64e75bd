"""A Ray cluster of our own: one node, in a folder of its own, started with `ray start` so that drivers come and go.

Prestarted workers make the first creates look forty times faster than the others, so there are none, and an idle
worker goes after a second. Nothing else is set that a user's cluster would not have.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from harness.processes import kill, living, spare_workers
from harness.waiting import LOOK_S, wait_until

FOLDER = "SCHEDULEMESH_BENCH_CLUSTER"
"""Where the cluster's folder stands in the environment of those that measure in it."""
_INNER = "inner"
"""The file in a cluster's folder that names the sessions that were started from inside it, and their folders."""
_LONGEST_BASE = 24
"""Ray's sockets lie under the temporary folder, and the path of a socket may have 107 characters."""
_UP_S = 120.0
_GONE_S = 30.0
_SPARE_S = 60.0
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_num_workers_soft_limit": "0",
    # Others' memory is no reason to end what is measured here.
    "RAY_memory_monitor_refresh_ms": "0",
    # What nobody looks at here takes an eighth of a small machine otherwise.
    "RAY_enable_metrics_collection": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "METRICS_RECORD_INTERVAL_S": "60",
    "PYTHONUNBUFFERED": "1",
}


class Cluster:
    """A cluster that runs. `env` is what its drivers need."""

    def __init__(self, folder: Path, env: dict[str, str], node: subprocess.Popen[bytes] | None = None) -> None:
        self.folder = folder
        self.env = env
        self._node = node

    @classmethod
    def start(cls, further: Mapping[str, str] | None = None) -> Cluster:
        """Start one; `further` is for the environment of its processes and of its drivers."""
        base = tempfile.gettempdir()
        folder = Path(tempfile.mkdtemp(prefix="smb", dir=base if len(base) <= _LONGEST_BASE else "/tmp"))  # noqa: S108
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        env = {**clean, **_SETTINGS, **(further or {}), "RAY_TMPDIR": str(folder), FOLDER: str(folder)}
        env["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # in the environment only
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder}"]
        command += ["--port=0", f"--ray-client-server-port={_free_port()}", "--dashboard-agent-listen-port=0"]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--include-dashboard=false"]
        command += [f"--object-store-memory={100 * 1024 * 1024}"]
        with (folder / "node.log").open("wb") as log:
            node = subprocess.Popen(  # noqa: S603 - this environment's own ray
                command,
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # whatever comes of it stays in that session
            )
        note_inner(node.pid, folder)
        cluster = cls(folder, env, node)
        try:
            env["RAY_ADDRESS"] = cluster._address(node)
        except BaseException:
            cluster.close()
            raise
        return cluster

    @classmethod
    def joined(cls) -> Cluster:
        """The cluster that this process was started for."""
        return cls(Path(os.environ[FOLDER]), dict(os.environ))

    def close(self) -> None:
        """End every process of it, and its files. Nothing in it is worth an orderly end.

        What was started from inside it ends with it, also when whoever started that was killed.
        """
        if self._node is None:
            return
        inner = self.folder / _INNER
        for line in inner.read_text().splitlines() if inner.exists() else ():
            session, _, folder = line.partition(" ")
            if Path(folder).exists():
                _end(int(session), Path(folder))
        _end(self._node.pid, self.folder)
        self._node.wait()

    def await_no_spare_worker(self) -> None:
        """Until the next create has to start a process."""
        wait_until("no worker is idle", lambda: not spare_workers(self.folder), timeout_s=_SPARE_S)

    def _address(self, node: subprocess.Popen[bytes]) -> str:
        file = self.folder / "ray_current_cluster"
        until = time.monotonic() + _UP_S
        while not (file.exists() and (address := file.read_text().strip())):
            if node.poll() is not None or time.monotonic() > until:
                log = (self.folder / "node.log").read_text(errors="replace")
                raise RuntimeError(f"the cluster did not start:\n{log[-2000:]}")
            time.sleep(LOOK_S)
        return address


def note_inner(session: int, folder: Path) -> None:
    """Note in the cluster around this process, if there is one, what is to end with it."""
    if FOLDER in os.environ:
        with (Path(os.environ[FOLDER]) / _INNER).open("a") as inner:
            inner.write(f"{session} {folder}\n")


def _end(session: int, folder: Path) -> None:
    until = time.monotonic() + _GONE_S
    while (left := living(session)) and time.monotonic() < until:
        for pid in left:
            kill(pid)
        time.sleep(LOOK_S)
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    """One that nobody listens on, and that the kernel gives to no outgoing connection before it is used."""
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
