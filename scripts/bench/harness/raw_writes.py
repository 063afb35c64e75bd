"""Raw writes: the GCS key-value store from inside an actor, with nothing around it. The floor for durable answers.

Private parts of Ray used here, in one place: `ray._private.worker.global_worker.gcs_client`, as in the mesh's store.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ray._private.worker import global_worker

_NAMESPACE = b"bench-raw-writes"
_TIMEOUT_S = 60


class RawWrites:
    """An actor's class."""

    async def put(self, count: int, in_flight: int, size: int, tag: str) -> float:
        """Seconds for so many new values."""
        gcs: Any = global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects
        numbers = iter(range(count))
        value = b"v" * size

        async def writer() -> None:
            for number in numbers:
                key = f"{tag}/{number}".encode()
                await gcs.async_internal_kv_put(key, value, True, namespace=_NAMESPACE, timeout=_TIMEOUT_S)

        began = time.perf_counter()
        await asyncio.gather(*(writer() for _ in range(in_flight)))
        return time.perf_counter() - began
