"""Reconnect: one driver makes an agent and exits; another process finds it by name, with all that it remembers.

Run it with `python examples/reconnect.py`. It starts the two drivers itself, one after the other. The cluster has to
outlive a driver for this: it is the one of RAY_ADDRESS, one that runs on this machine, or one that this script holds.
"""

from __future__ import annotations

import os
import subprocess
import sys

import ray

import schedulemesh

POOL = "reconnect-pool"


class Notebook(schedulemesh.AgentActor):
    lines: tuple[str, ...] = ()

    def add(self, line: str) -> int:
        self.lines = (*self.lines, line)
        return len(self.lines)

    def read(self) -> list[str]:
        return list(self.lines)


def first() -> None:
    scheduler = schedulemesh.connect()
    scheduler.create_pool(POOL, resources={"cpu": 0.2, "memory": 128}, target_agents=1)
    notebook = scheduler.create_agent("notebook", POOL, Notebook)["agent"]["handle"]
    ray.get(notebook.add.remote(f"written by process {os.getpid()}"))
    print(f"driver {os.getpid()} made the agent, wrote a line, and exits")


def second() -> None:
    scheduler = schedulemesh.connect(start=False)  # SupervisorNotRunningError if there is no mesh
    agent = scheduler.get_agent("notebook")["agent"]
    print(f"driver {os.getpid()} found it, {agent['state']}, and reads:", ray.get(agent["handle"].read.remote()))


def main() -> None:
    ray.init()
    scheduler = schedulemesh.connect()
    address = os.environ.get("RAY_ADDRESS") or ray.get_runtime_context().gcs_address
    try:
        for driver in ("first", "second"):
            command = [sys.executable, __file__, driver]
            subprocess.run(command, env={**os.environ, "RAY_ADDRESS": address}, check=True)  # noqa: S603 - this script
    finally:
        if any(pool["name"] == POOL for pool in scheduler.list_pools()["pools"]):
            scheduler.delete_pool(POOL, force=True)


if __name__ == "__main__":
    {"first": first, "second": second}.get(sys.argv[-1], main)()
