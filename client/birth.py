"""The birth of a supervisor: runs `python -m schedulemesh.supervisor` where it inherits nothing of this driver."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import ray

from schedulemesh.client.environment import is_ray_client
from schedulemesh.core.errors import SupervisorUnavailableError

# What would give the new process a runtime_env, a namespace or a job of this one's. Access (RAY_AUTH_*, RAY_TLS_*)
# and Ray's own settings stay.
_INHERITED = (
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_RUNTIME_ENV_HOOK",
    "RAY_ADDRESS",
    "RAY_NAMESPACE",
    "RAY_JOB_ID",
    "RAY_JOB_NAME",
    "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR",
)


def start_supervisor(mesh: str, namespace: str, *, headroom: float, timeout_s: float) -> None:
    """Start the supervisor if there is none; true when it returns: it answers.

    Raises SupervisorUnavailableError with the reason if it could not be started in time.
    """
    address = ray.get_runtime_context().gcs_address
    if is_ray_client():
        # This machine is not part of the cluster, so the process is started on the head node.
        there = ray.remote(_give_birth).options(num_cpus=0, resources={"node:__internal_head__": 0.001}, max_retries=0)
        problem = ray.get(there.remote(address, mesh, namespace, headroom, timeout_s))
    else:
        problem = _give_birth(address, mesh, namespace, headroom, timeout_s)
    if problem:
        raise SupervisorUnavailableError(mesh=mesh, timeout_s=timeout_s, reason=f"it could not be started: {problem}")


def _give_birth(address: str, mesh: str, namespace: str, headroom: float, timeout_s: float) -> str:
    """Returns what went wrong, or nothing."""
    command = [sys.executable, "-m", "schedulemesh.supervisor", "--address", address]
    command += ["--name", mesh, "--namespace", namespace, "--headroom", str(headroom)]
    clean = {name: value for name, value in os.environ.items() if name not in _INHERITED}
    clean["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else Ray copies the environment of a parent `uv run`
    with tempfile.TemporaryDirectory(prefix="schedulemesh-") as empty:
        try:
            done = subprocess.run(  # noqa: S603 - our own module, with our own arguments
                command, cwd=empty, env=clean, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return f"not up after {timeout_s:g} s"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
