"""Driver B: another process in another folder. Finds the agents by name and asks them all for a word."""

from __future__ import annotations

import logging
import sys

import ray

import schedulemesh


def main(word: str) -> None:
    ray.init(logging_level=logging.WARNING)
    scheduler = schedulemesh.connect(start=False)
    agents = scheduler.list_agents("index")["agents"]
    states = ", ".join(f"{agent['name']} {agent['state']}" for agent in agents)
    print(f"reconnected: {states}")
    found = ray.get([agent["handle"].best.remote(word) for agent in agents])
    hits = sorted((hit for part in found for hit in part), key=lambda hit: (not hit["defines"], -hit["count"]))
    for hit in hits[:4]:
        print(f"{hit['file']}:{hit['line']}: {hit['text'][:70]}  [{hit['count']}x, {hit['agent']}]")
    if not hits:
        print(f"no file has the word {word!r}")


if __name__ == "__main__":
    main(sys.argv[1])
