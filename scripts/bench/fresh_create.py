"""A fresh driver of row 14: connects, creates its first actor or agent, and prints how long each step took.

Python's own start and the imports come before the clock is started, on either side.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from first_create import MESH
from harness.probes import Probe
from harness.sides import CPU, NAMESPACE, POOL

import schedulemesh
from schedulemesh.client.environment import current_environment
from schedulemesh.core.environments import environment_key
from schedulemesh.runtime.launcher_actor import create_launcher


def main() -> None:
    side, name = sys.argv[1], sys.argv[2]
    times = {}
    connect = schedulemesh.connect  # imports the client
    began = time.perf_counter()
    ray.init(namespace="bench-fresh", log_to_driver=False)
    scheduler = connect(MESH, start=False) if side == "ours" else None
    times["connected"] = time.perf_counter() - began
    created = time.perf_counter()
    handle: Any
    if scheduler is not None:
        handle = scheduler.create_agent(name, POOL, Probe, resources={"cpu": CPU})["agent"]["handle"]
    elif side == "raw":
        remote: Any = ray.remote
        options = {"lifetime": "detached", "max_restarts": -1, "max_task_retries": 3, "max_concurrency": 1000}
        handle = remote(Probe).options(name=name, namespace=NAMESPACE, num_cpus=CPU, **options).remote(name, {}, None)
    else:
        handle = create_launcher("nobody", NAMESPACE, environment_key(current_environment()))
    ray.get(handle.ping.remote() if side != "launcher" else handle.__ray_ready__.remote())
    times["created"] = time.perf_counter() - created
    times["whole"] = time.perf_counter() - began
    if scheduler is not None:
        scheduler.delete_agent(name, force=True)
    else:
        ray.kill(handle)
    sys.stdout.write(f"{json.dumps(times)}\n")


if __name__ == "__main__":
    main()
