"""The last driver of a chaos run: waits until the mesh is at rest, tells what it says of itself, and stops it.

Uses the public API only. Stops the mesh when it reads a line on its input.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import ray
from lines import Lines, brief, problem_of

import schedulemesh

REST_S = 180.0
_CALL_S = 60.0
_LOOK_S = 0.5
_CALM = {"running", "failed"}


def main(mesh: str, journal: str) -> None:
    lines = Lines()
    ray.init(namespace="settle", logging_level=logging.ERROR)
    scheduler = schedulemesh.connect(mesh, start=False)
    until = time.monotonic() + REST_S
    while not (calm := _calm(scheduler)) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    agents = scheduler.list_agents()["agents"]
    calls = {agent["name"]: _call(agent) for agent in agents if agent["state"] == "running"}
    born = sorted(lock.stem for lock in Path(journal).glob("*.lock"))
    found = {name: _found(scheduler, name) for name in born}
    pools = scheduler.list_pools()["pools"]
    given = ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0.0)
    stranded = given - sum(agent["resources"]["cpu"] for agent in agents if agent["state"] == "running")
    lines.write("rest", pools=pools, agents=found, calls=calls, calm=calm, seen=[], stranded=stranded)
    if not sys.stdin.readline():
        os._exit(1)
    problem = ""
    try:
        scheduler.stop(force=True)
    except Exception as error:  # noqa: BLE001 - whatever it is goes into the history
        problem = str(problem_of(error))
    lines.write("left", actors=[], keys=0, processes=[], problem=problem)


def _calm(scheduler: schedulemesh.Scheduler) -> bool:
    """Whether no agent is on its way anywhere, and none is called running that cannot answer."""
    return all(agent["state"] in _CALM for agent in scheduler.list_agents()["agents"])


def _call(agent: Any) -> str:
    """The id of the actor that answers, or what went wrong."""
    try:
        return str(ray.get(agent["handle"].who.remote(), timeout=_CALL_S)["actor_id"])
    except Exception as error:  # noqa: BLE001 - whatever it is goes into the history
        return str(problem_of(error))


def _found(scheduler: schedulemesh.Scheduler, name: str) -> dict[str, Any] | None:
    try:
        return brief(scheduler.get_agent(name)["agent"])
    except schedulemesh.AgentNotFoundError:
        return None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
