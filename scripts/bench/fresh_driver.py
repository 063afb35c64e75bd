"""A fresh driver of row 8: finds one agent, then all of them, and prints how long each took.

Python's own start and the imports come before the clock is started, on either side.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import ray
from reconnect import MESH

import schedulemesh


def main() -> None:
    side, count = sys.argv[1], int(sys.argv[2])
    times = {}
    connect = schedulemesh.connect  # imports the client
    began = time.perf_counter()
    ray.init()
    times["init"] = time.perf_counter() - began
    began = time.perf_counter()
    if side == "ours":
        scheduler = connect(MESH)
        handle: Any = scheduler.get_agent("agent-0")["agent"]["handle"]
    else:
        handle = ray.get_actor("agent-0", namespace="schedulemesh")
    times["found"] = time.perf_counter() - began
    ray.get(handle.ping.remote())
    times["answered"] = time.perf_counter() - began
    began = time.perf_counter()
    if side == "ours":
        found = [agent["handle"] for agent in scheduler.list_agents()["agents"]]
    else:
        found = [ray.get_actor(f"agent-{number}", namespace="schedulemesh") for number in range(count)]
    times["all"] = time.perf_counter() - began
    assert len(found) == count  # noqa: S101 - or something else was timed
    ray.get([handle.ping.remote() for handle in found])
    print(json.dumps(times))


if __name__ == "__main__":
    main()
