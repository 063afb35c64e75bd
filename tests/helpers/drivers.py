"""Drivers of their own: scripts in folders of their own, run as processes against the cluster of the tests."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

from raycluster import RealCluster

MESH = "mesh-of-tests"
"""The Ray name of the supervisor that tests share."""


def start_supervisor(cluster: RealCluster, mesh: str, *, launcher_idle_s: float) -> None:
    """Start one with the command that `connect()` uses too; here it is said when idle launchers are ended."""
    command = [sys.executable, "-m", "schedulemesh.supervisor", "--address", cluster.address, "--name", mesh]
    command += ["--namespace", "schedulemesh", "--launcher-idle", str(launcher_idle_s)]
    subprocess.run(command, env=cluster.env, cwd=cluster.folder, check=True)


class DriverRunner:
    """Runs scripts as drivers of their own: in the folder that they share, or, where one is named, in that."""

    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.shared = cluster.folder / "drivers"

    def start(
        self, code: str, *, folder: str | None = None, env: dict[str, str] | None = None, stdin: bool = False
    ) -> subprocess.Popen[str]:
        home = self.folder / folder if folder else self.shared
        home.mkdir(exist_ok=True)
        script = home / f"driver_{secrets.token_hex(4)}.py"
        script.write_text(code)
        return subprocess.Popen(
            [sys.executable, str(script)],
            cwd=home,
            env={**self.cluster.env, **(env or {})},
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *, folder: str | None = None, env: dict[str, str] | None = None) -> str:
        """What the driver printed; its error output is shown when it fails."""
        process = self.start(code, folder=folder, env=env)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"driver failed:\n{out}\n{err}\n{self._server_logs()}"
        return out

    def _server_logs(self) -> str:
        """What Ray Client's servers said last: a driver only hears that they failed."""
        logs = [path for path in self.cluster.logs() if path.name.startswith("ray_client_server")]
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in logs)
