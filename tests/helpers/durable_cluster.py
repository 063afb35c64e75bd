"""A real cluster whose GCS keeps its tables in Redis, so that the GCS, and whole nodes, can be killed and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from raycluster import eventually, free_ports, listens, processes_of

NODES_S = 10
"""After so many seconds without a sign of life Ray takes a node for dead; its own default is some 25."""


class Process(NamedTuple):
    """Enough of a process to start it once more."""

    pid: int
    command: list[str]
    env: dict[str, str]


class DurableCluster:
    """A head without cpus, so that agents live on workers, and as many workers as are added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis_port, self.gcs_port, self.client_port, self.agent_port = free_ports(4)
        self.address = f"127.0.0.1:{self.gcs_port}"
        self.env = {
            **os.environ,
            "RAY_TMPDIR": str(folder),
            "RAY_ADDRESS": self.address,
            "RAY_REDIS_ADDRESS": f"127.0.0.1:{self.redis_port}",
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": str(NODES_S * 100),
            "RAY_health_check_failure_threshold": "5",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_num_workers_soft_limit": "2",
            "RAY_enable_metrics_collection": "0",
            "REPORTER_UPDATE_INTERVAL_MS": "60000",
            "METRICS_RECORD_INTERVAL_S": "60",
            "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
            "PYTHONUNBUFFERED": "1",
        }
        self._redis: subprocess.Popen[bytes] | None = None
        self._gcs: Process | None = None
        self._workers: dict[str, set[int]] = {}

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.redis_port), "--save", "", "--dir", str(self.folder)]
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=self.env)
        assert eventually(lambda: listens(self.redis_port)), "Redis did not come up"
        self.start_head()

    def start_head(self) -> None:
        """The head: the first one, or the one that takes the place of a head that was lost."""
        self._ray_start(
            "--head",
            f"--port={self.gcs_port}",
            f"--ray-client-server-port={self.client_port}",
            "--include-dashboard=false",
            f"--dashboard-agent-listen-port={self.agent_port}",
            f"--temp-dir={self.folder}",
            "--num-cpus=0",
        )
        self._gcs = self._process("gcs_server")

    def add_worker(self, name: str) -> None:
        """A node with 2 cpus and one unit of a resource of its own name."""
        (port,) = free_ports(1)
        before = set(processes_of(self.folder))
        self._ray_start(
            f"--address={self.address}",
            f"--dashboard-agent-listen-port={port}",
            "--include-log-monitor=false",  # the head's reads all files of this machine
            "--num-cpus=2",
            f'--resources={{"{name}": 1}}',
        )
        self._workers[name] = set(processes_of(self.folder)) - before

    def kill_worker(self, name: str) -> None:
        """SIGKILL of all the node's processes at once, as when its power is cut: also of what runs on it."""
        _kill(_with_children(self._workers.pop(name)))

    def kill_gcs(self) -> None:
        assert self._gcs is not None
        _kill({self._gcs.pid})

    def start_gcs(self) -> None:
        """The same command once more."""
        assert self._gcs is not None
        log = (self.folder / "gcs_again.txt").open("ab")
        started = subprocess.Popen(self._gcs.command, env=self._gcs.env, stdout=log, stderr=log)
        self._gcs = self._gcs._replace(pid=started.pid)
        assert eventually(lambda: listens(self.gcs_port), timeout_s=60), "the GCS did not come back"

    def kill_head(self) -> None:
        """The head's power is cut, and that of all that runs on it: the GCS and the supervisor among them."""
        away = {pid for pids in self._workers.values() for pid in _with_children(pids)}
        redis = self._redis.pid if self._redis else 0
        _kill({pid for pid in processes_of(self.folder) if pid != redis and pid not in away})
        # On a machine of its own the next head would not find this note that a cluster is running here.
        (self.folder / "ray_current_cluster").unlink(missing_ok=True)

    def stop(self) -> None:
        redis = self._redis.pid if self._redis else 0
        _kill({pid for pid in processes_of(self.folder) if pid != redis})
        if self._redis is not None:
            self._redis.terminate()
            self._redis.wait(30)

    def _ray_start(self, *arguments: str) -> None:
        ray = Path(sys.executable).parent / "ray"
        command = [str(ray), "start", *arguments, "--object-store-memory=100000000", "--disable-usage-stats"]
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _process(self, program: str) -> Process:
        (pid,) = (pid for pid, command in processes_of(self.folder).items() if program in command.split()[0])
        entry = Path(f"/proc/{pid}")
        command = [part.decode() for part in (entry / "cmdline").read_bytes().split(b"\0")[:-1]]
        pairs = (part.decode().partition("=") for part in (entry / "environ").read_bytes().split(b"\0") if part)
        return Process(pid, command, {name: value for name, _, value in pairs})


def _with_children(pids: set[int]) -> set[int]:
    """These processes and all that they started, as far as they live."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = pids & parents.keys()
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _kill(pids: set[int]) -> None:
    """SIGKILL; true when it returns: all of them are gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(_lives(pid) for pid in pids)), "killed processes did not go"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
