"""The birth of a supervisor: runs `python -m schedulemesh.supervisor` where it inherits nothing of this driver."""

from __future__ import annotations

from typing import Any

import ray

from schedulemesh.client.environment import is_ray_client
from schedulemesh.core.errors import SupervisorUnavailableError
from schedulemesh.runtime.clean_process import run_module


def start_supervisor(mesh: str, namespace: str, *, headroom: float, timeout_s: float) -> None:
    """Start the supervisor if there is none; true when it returns: it answers.

    Raises SupervisorUnavailableError with the reason if it could not be started in time.
    """
    arguments = ["--address", ray.get_runtime_context().gcs_address, "--name", mesh]
    arguments += ["--namespace", namespace, "--headroom", str(headroom)]
    if is_ray_client():
        # This machine is not part of the cluster, so the process is started on the head node.
        remote: Any = ray.remote
        there = remote(run_module).options(num_cpus=0, resources={"node:__internal_head__": 0.001}, max_retries=0)
        problem = ray.get(there.remote("schedulemesh.supervisor", arguments, timeout_s=timeout_s))
    else:
        problem = run_module("schedulemesh.supervisor", arguments, timeout_s=timeout_s)
    if problem:
        raise SupervisorUnavailableError(mesh=mesh, timeout_s=timeout_s, reason=f"it could not be started: {problem}")
