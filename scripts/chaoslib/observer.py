"""The observer: a process that reads Ray's actor table and the mesh's keys again and again, one JSON line each time.

Private parts of Ray used here: a GCS client of its own. It is a process of its own because a client that cannot reach
the GCS for a minute ends its process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from ray._raylet import GcsClient  # type: ignore[attr-defined]  # Cython, without types
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc, without types

from chaoslib.history import Actor, Table, encode
from chaoslib.processes import start_time

PERIOD_S = 0.25
_TIMEOUT_S = 5
_AGENT_LABEL = "schedulemesh-agent"
_CLASSES = {"LauncherActor": "launcher", "SupervisorActor": "supervisor"}


async def main(address: str, keys: bytes) -> None:
    gcs: Any = GcsClient(address=address)
    while True:
        at, wall = time.monotonic(), time.time()
        try:
            rows = await gcs.async_get_all_actor_info(timeout=_TIMEOUT_S)
            stored = await gcs.async_internal_kv_keys(b"", namespace=keys, timeout=_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the GCS is away, which is what this run is about
            sys.stderr.write(f"unreadable: {error!r}\n")
        else:
            actors = [seen for row in rows.values() if (seen := _seen(row)) is not None]
            table = Table(at=at, wall=wall, took=time.monotonic() - at, actors=actors, keys=len(stored))
            os.write(1, encode(table) + b"\n")
        await asyncio.sleep(PERIOD_S)


def _seen(row: Any) -> Actor | None:
    role = "agent" if _AGENT_LABEL in row.labels else _CLASSES.get(row.class_name, "")
    if not role or row.state == ActorTableData.DEAD:
        return None
    node = row.node_id or row.address.node_id
    return Actor(
        actor_id=row.actor_id.hex(),
        name=row.name,
        role=role,
        state=ActorTableData.ActorState.Name(row.state),
        pid=row.pid,
        start=start_time(row.pid) if row.pid else 0,
        node=node.hex() if node.strip(b"\xff") else "",
        cpu=row.required_resources.get("CPU", 0.0),
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2].encode()))
