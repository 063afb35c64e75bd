"""Driver A: makes a pool of three index agents, gives each a third of the standard library, and exits."""

from __future__ import annotations

import logging
import sysconfig
import time
from pathlib import Path

import ray
from index_agent import IndexAgent

import schedulemesh

AGENTS = 3
_NOT_INDEXED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3"}


def main() -> None:
    ray.init(logging_level=logging.WARNING)
    began = time.monotonic()
    scheduler = schedulemesh.connect()
    print(f"supervisor up, pid {scheduler.status()['pid']} ({time.monotonic() - began:.1f} s)")
    pool = scheduler.create_pool(
        "index", labels={"corpus": "stdlib"}, resources={"cpu": 0.5, "memory": 200}, target_agents=AGENTS
    )["pool"]
    print(f"pool 'index': capacity cpu={pool['capacity']['cpu']:g}, memory={pool['capacity']['memory']:g} MB")
    files = source_files()
    began = time.monotonic()
    replies = scheduler.create_agents(
        [
            schedulemesh.AgentRequest(
                f"index-{number}", "index", IndexAgent, actor_kwargs={"files": files[number::AGENTS]}
            )
            for number in range(AGENTS)
        ]
    )
    for reply in replies:
        if isinstance(reply, schedulemesh.ScheduleMeshError):
            raise reply
        about = ray.get(reply["agent"]["handle"].about.remote())
        print(f"{reply['agent']['name']}: {about['files']} files, {about['words']:,} words, pid {about['pid']}")
    print(f"{len(files)} files of the standard library indexed in {time.monotonic() - began:.1f} s; this driver exits")


def source_files() -> list[str]:
    home = Path(sysconfig.get_path("stdlib"))
    return [str(path) for path in sorted(home.rglob("*.py")) if _NOT_INDEXED.isdisjoint(path.relative_to(home).parts)]


if __name__ == "__main__":
    main()
