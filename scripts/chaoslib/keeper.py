"""The keeper: a process that holds a Ray cluster of several nodes, and takes parts of it away on orders from its input.

An order is a line of words, the answer a JSON object. Private parts of Ray used here: what `ray.cluster_utils` is
made of, to kill and start the GCS of the head node.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ray.cluster_utils import Cluster

CPUS = 64
"""Of each node, and made up: room enough for all pools when a node is away, and for what Ray strands (see `strays`)."""
_STORE = 80 * 1024 * 1024


class Keeper:
    def __init__(self) -> None:
        self._cluster = Cluster()
        self._head = self._add_node()

    def _add_node(self) -> Any:
        return self._cluster.add_node(
            num_cpus=CPUS, object_store_memory=_STORE, include_dashboard=False, dashboard_agent_listen_port=0
        )

    def do(self, order: str, *words: str) -> dict[str, Any]:
        match order:
            case "address":
                return {"address": self._cluster.address, "head": self._head.node_id}
            case "kill-gcs":
                self._head.kill_gcs_server()
            case "start-gcs":
                self._head.start_gcs_server()
            case "add-node":
                return {"node": self._add_node().node_id}
            case "remove-node":
                (node,) = [node for node in self._cluster.worker_nodes if node.node_id == words[0]]
                self._cluster.remove_node(node, allow_graceful=False)
            case _:
                raise ValueError(f"no such order: {order}")
        return {}


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is not an answer
    keeper = Keeper()
    while line := sys.stdin.readline():
        try:
            answer = keeper.do(*line.split())
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the answer
            answer = {"problem": f"{type(error).__name__}: {error}"}
        os.write(out, json.dumps({**answer, "order": line.strip()}).encode() + b"\n")


if __name__ == "__main__":
    main()
