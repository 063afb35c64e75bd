"""The store: the GCS key-value store, where Ray keeps what it needs itself. It lives as long as the actors do.

Private parts of Ray used here, in one place:
- `ray._private.worker.global_worker.gcs_client` (its `internal_kv_*` calls and their `async_` twins). Ray's libraries
  use the same; `ray.experimental.internal_kv` is the synchronous fallback if it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import islice
from typing import Any

from ray._private.worker import global_worker

from schedulemesh.core.records import BLOBS, MESH_KEY, keys_of

_TIMEOUT_S = 60
_READ_BATCH = 1000


class GcsStore:
    """One mesh's keys, in a key-value namespace of their own."""

    def __init__(self, mesh: str, namespace: str) -> None:
        self._namespace = keys_of(mesh, namespace)
        self._gcs: Any = global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects

    async def load(self) -> dict[str, bytes]:
        keys = await self._keys()
        stored = {key: b"" for key in keys if key.startswith(BLOBS)}
        wanted = iter([key.encode() for key in keys if not key.startswith(BLOBS)])
        while batch := list(islice(wanted, _READ_BATCH)):
            values = await self._gcs.async_internal_kv_multi_get(batch, namespace=self._namespace, timeout=_TIMEOUT_S)
            stored.update((key.decode(), value) for key, value in values.items())
        return stored

    async def get(self, key: str) -> bytes:
        value = await self._gcs.async_internal_kv_get(key.encode(), namespace=self._namespace, timeout=_TIMEOUT_S)
        if value is None:
            raise KeyError(key)
        return bytes(value)

    # Ray's own futures, and no coroutines around them: asyncio would make a task of each.

    def put(self, key: str, value: bytes) -> Awaitable[object]:
        put: Awaitable[object] = self._gcs.async_internal_kv_put(
            key.encode(), value, True, namespace=self._namespace, timeout=_TIMEOUT_S
        )
        return put

    def delete(self, key: str) -> Awaitable[object]:
        deleted: Awaitable[object] = self._gcs.async_internal_kv_del(
            key.encode(), False, namespace=self._namespace, timeout=_TIMEOUT_S
        )
        return deleted

    async def wipe(self) -> None:
        keys = await self._keys()
        await asyncio.gather(*(self.delete(key) for key in keys if key != MESH_KEY))
        await self.delete(MESH_KEY)

    async def _keys(self) -> list[str]:
        keys = await self._gcs.async_internal_kv_keys(b"", namespace=self._namespace, timeout=_TIMEOUT_S)
        return [key.decode() for key in keys]
