"""The cluster: which one this process is connected to, and how it comes to be connected to one."""

from __future__ import annotations

import os
import sys
from typing import Any

import ray

from schedulemesh.core.brief import brief
from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.raycompat.local_clusters import any_runs_here

_LOCAL = (
    "schedulemesh: started a local Ray cluster, which ends with this process{because}; to use another, pass "
    "connect(address=...) or set RAY_ADDRESS"
)


def join_cluster(address: str | None, *, log_to_driver: bool) -> None:
    """Connect this process to a Ray cluster, if it is not connected yet.

    Args:
        address: as `ray.init()` takes it. None: RAY_ADDRESS, else a cluster that runs on this machine, else a local
            cluster is started, and one line on stderr says so.
        log_to_driver: passed on to `ray.init()`.

    Raises:
        InvalidRequestError: the process is connected to another cluster than `address` names.
        ConnectionError: Ray cannot connect to `address`.
    """
    if address is not None and not isinstance(address, str):
        raise InvalidRequestError(field="address", problem=f"must be a string, not {type(address).__name__}")
    if ray.is_initialized():
        _check_same(address)
        return
    if address is not None or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=log_to_driver)
        return
    because = ""
    try:
        # A plain ray.init() misses a cluster that was started with --temp-dir; this looks for its processes.
        ray.init(address="auto", log_to_driver=log_to_driver)
    except (ConnectionError, RuntimeError) as error:
        ray.shutdown()
        if any_runs_here():
            because = f" (one that runs on this machine does not take this process: {brief(str(error), 120)})"
    else:
        return
    ray.init(log_to_driver=log_to_driver)
    sys.stderr.write(_LOCAL.format(because=because) + "\n")


def _check_same(address: str | None) -> None:
    if address is None or address in ("auto", "local") or "://" in address:
        return
    context: Any = ray.get_runtime_context()
    connected = str(context.gcs_address)
    if connected != address:
        problem = f"is {brief(address)}, and this process is connected to {connected}; call ray.shutdown() first"
        raise InvalidRequestError(field="address", problem=problem)
