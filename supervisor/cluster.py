"""The cluster: which nodes there are, what they have, and what of it is free.

Private parts of Ray used here, in one place:
- `ray._private.state.available_resources_per_node`: what each node has free. It only sharpens the message of a start
  that timed out; without it that message says "no node has room" less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ray
from ray._private.state import available_resources_per_node

from schedulemesh.core.amounts import GRAIN, MB, Amounts
from schedulemesh.supervisor.events import ClusterSeen, Node

_KINDS = {"CPU": "cpu", "GPU": "gpu", "memory": "memory"}


class RayCluster:
    """Asks the GCS, from a thread: these calls block, for up to a minute when the GCS is away."""

    async def look(self) -> ClusterSeen:
        return await asyncio.to_thread(self._look)

    def _look(self) -> ClusterSeen:
        free = available_resources_per_node()
        return ClusterSeen(
            tuple(
                Node(node["NodeID"], _amounts(node["Resources"]), _amounts(free.get(node["NodeID"], {})))
                for node in ray.nodes()
                if node["Alive"]
            )
        )


def _amounts(resources: Mapping[str, Any]) -> Amounts:
    units: dict[str, int] = {}
    for name, value in resources.items():
        # Bundles of placement groups appear as resources of their own; they are parts of the node's, not more.
        if name == "object_store_memory" or "_group_" in name or name.startswith(("node:", "bundle")):
            continue
        units[_KINDS.get(name, name)] = int(value * GRAIN // MB) if name == "memory" else round(value * GRAIN)
    return Amounts({kind: value for kind, value in units.items() if value})
