"""A real Ray cluster of two nodes or one on this machine, and ways to look at what really runs in it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from ray._raylet import GcsClient  # type: ignore[attr-defined]  # Cython, without types
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]  # made by protoc

HEAD_RESOURCES = '{"fpga": 4, "special_hardware": 2, "tpu": 4, "head_only": 1}'
WORKER_RESOURCES = '{"worker_only": 1}'
MEMORY = 128 * 1024**3
PORTS = range(20_000, 32_000)
"""Above those that Ray gives to its workers, below those of outgoing connections."""
UP_S = 150
"""How long a node may take to come up; 5 s on an idle machine, and other work may keep it from its cores."""


class RealCluster:
    """`ray start` in processes of its own, so that drivers come and go as they do in life."""

    def __init__(self, folder: Path, *, nodes: int = 2, dashboard: bool = False) -> None:
        self._count = nodes
        self._dashboard = dashboard
        self.folder = folder
        self.gcs_port, self.client_port, self.dashboard_port, self.agent_port, self.second_agent_port = free_ports(5)
        self.address = f"127.0.0.1:{self.gcs_port}"
        self.dashboard = f"http://127.0.0.1:{self.dashboard_port}"
        self.client_address = f"ray://127.0.0.1:{self.client_port}"
        self.env = {
            **os.environ,
            "RAY_ADDRESS": self.address,
            "RAY_TMPDIR": str(folder),
            # As many workers as are asked for: the nodes claim more cpus than this machine has.
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_num_workers_soft_limit": "2",
            # What nobody looks at here takes an eighth of this machine otherwise.
            "RAY_enable_metrics_collection": "0",
            "REPORTER_UPDATE_INTERVAL_MS": "60000",
            "METRICS_RECORD_INTERVAL_S": "60",
            # Each log monitor lists all log files twice a second then, instead of ten times.
            "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
            "PYTHONUNBUFFERED": "1",
            # Ray Client's server forks a process for each client, and gRPC's own fork handlers end that child with
            # SIGSEGV now and then, before it has become anything: "Starting Ray client server failed".
            "GRPC_ENABLE_FORK_SUPPORT": "0",
            # Test modules, whose classes agents run, import the helpers beside this file.
            "PYTHONPATH": str(Path(__file__).parent),
        }
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._start(
            "--head",
            f"--port={self.gcs_port}",
            f"--ray-client-server-port={self.client_port}",
            f"--include-dashboard={str(self._dashboard).lower()}",
            "--dashboard-host=127.0.0.1",
            # What starts submitted jobs; other clusters on this machine have one too.
            f"--dashboard-agent-listen-port={self.agent_port}",
            f"--dashboard-port={self.dashboard_port}",
            f"--temp-dir={self.folder}",
            "--num-cpus=16",
            "--num-gpus=8",
            f"--resources={HEAD_RESOURCES}",
        )
        assert eventually(lambda: listens(self.gcs_port), timeout_s=UP_S), "the head node did not come up"
        if self._count > 1:
            self._start_second()
        assert eventually(self._has_all_nodes, timeout_s=UP_S), "the nodes did not come up"

    def stop(self) -> None:
        for node in reversed(self._nodes):
            node.terminate()
        for node in self._nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(timeout=30)
        for pid in processes_of(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def logs(self) -> list[Path]:
        """Every log file of the session."""
        return [path for path in (self.folder / "session_latest" / "logs").rglob("*") if path.is_file()]

    def _start(self, *arguments: str) -> None:
        ray = Path(sys.executable).parent / "ray"
        command = [str(ray), "start", "--block", *arguments, f"--memory={MEMORY}", "--object-store-memory=100000000"]
        log = (self.folder / f"node{len(self._nodes)}.txt").open("wb")
        self._nodes.append(
            subprocess.Popen(command, env=self.env, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)
        )

    def _start_second(self) -> None:
        self._start(
            f"--address={self.address}",
            f"--dashboard-agent-listen-port={self.second_agent_port}",
            "--include-log-monitor=false",  # one is enough on one machine
            "--num-cpus=8",
            "--num-gpus=0",
            f"--resources={WORKER_RESOURCES}",
        )

    def _has_all_nodes(self) -> bool:
        if self._nodes[-1].poll() is not None and self._count > 1:
            self._start_second()  # Ray itself gives a node 30 s to come up, and ends it then
        nodes: dict[Any, Any] = GcsClient(address=self.address).get_all_node_info()
        return len([node for node in nodes.values() if node.state == GcsNodeInfo.ALIVE]) == self._count


def eventually(condition: Callable[[], Any], *, timeout_s: float = 30.0) -> bool:
    """Whether the condition came to hold before the deadline; it is looked at every 50 ms."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def processes_of(folder: Path) -> dict[int, str]:
    """The living processes that belong to the cluster in this folder, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environ = (entry / "environ").read_bytes().decode(errors="replace")
                # A process that has given itself a title has lost its command and environment; nodes start in the folder.
                inside = (entry / "cwd").readlink().is_relative_to(folder)
                if state != "Z" and (inside or str(folder) in command or f"RAY_TMPDIR={folder}" in environ):
                    found[int(entry.name)] = command[:200]
    return found


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, of which none is one that the kernel gives to outgoing connections.

    Such a one may be taken before a cluster that starts gets to it; then that process of Ray ends, and the node with it.
    """
    shuffled = random.sample(PORTS, len(PORTS))
    return list(islice((port for port in shuffled if not listens(port)), count))
