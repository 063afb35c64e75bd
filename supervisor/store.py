"""The store: the GCS key-value store, where Ray keeps what it needs itself. It lives as long as the actors do.

Private parts of Ray used here, in one place:
- `ray._private.worker.global_worker.gcs_client` (its `internal_kv_*` calls and their `async_` twins). Ray's libraries
  use the same; `ray.experimental.internal_kv` is the synchronous fallback if it goes.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

from ray._private.worker import global_worker

from schedulemesh.core.records import BLOBS, MESH_KEY

_TIMEOUT_S = 60
_READ_BATCH = 1000


def read(mesh: str, namespace: str, key: str) -> bytes | None:
    """One value of a mesh, for a process that is not its supervisor. Waits while the GCS is away, up to a minute."""
    gcs: Any = global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects
    value = gcs.internal_kv_get(key.encode(), namespace=_keys_of(mesh, namespace), timeout=_TIMEOUT_S)
    return None if value is None else bytes(value)


def _keys_of(mesh: str, namespace: str) -> bytes:
    """Without a colon in it: Ray splits what it stores at the first one, and would give other keys back."""
    return f"schedulemesh/{_plain(namespace)}/{_plain(mesh)}".encode()


def _plain(name: str) -> str:
    return name.replace("%", "%25").replace(":", "%3A")


class GcsStore:
    """One mesh's keys, in a key-value namespace of their own."""

    def __init__(self, mesh: str, namespace: str) -> None:
        self._namespace = _keys_of(mesh, namespace)
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

    async def put(self, key: str, value: bytes) -> None:
        await self._gcs.async_internal_kv_put(key.encode(), value, True, namespace=self._namespace, timeout=_TIMEOUT_S)

    async def delete(self, key: str) -> None:
        await self._gcs.async_internal_kv_del(key.encode(), False, namespace=self._namespace, timeout=_TIMEOUT_S)

    async def wipe(self) -> None:
        keys = await self._keys()
        await asyncio.gather(*(self.delete(key) for key in keys if key != MESH_KEY))
        await self.delete(MESH_KEY)

    async def _keys(self) -> list[str]:
        keys = await self._gcs.async_internal_kv_keys(b"", namespace=self._namespace, timeout=_TIMEOUT_S)
        return [key.decode() for key in keys]
