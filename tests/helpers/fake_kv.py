"""A fake of the GCS's key-value store: what it keeps outlives every crash of a supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulemesh.core import records
from schedulemesh.core.records import MESH_KEY, AgentRecord, MeshRecord, PoolRecord, Record
from schedulemesh.core.states import ENDED, MeshState
from schedulemesh.supervisor.store import GcsStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor_process import SupervisorProcess


class Shelf:
    """What is kept. `changed` hears of every change once it is made."""

    def __init__(self, changed: Callable[[str, Record | None], None]) -> None:
        self.kept: dict[str, bytes] = {}
        self.records: dict[str, Record] = {}
        self.being_wiped = False
        self._changed = changed

    def put(self, key: str, value: bytes) -> None:
        self.kept[key] = value
        record = None
        if not key.startswith("blob/"):
            record = self.records[key] = records.decode(key, value)
        if isinstance(record, MeshRecord):
            self.being_wiped = False
        self._changed(key, record)

    def delete(self, key: str) -> None:
        mesh = self.records.get(MESH_KEY)
        if isinstance(mesh, MeshRecord) and mesh.state is MeshState.STOPPING and not key.startswith("blob/"):
            self.being_wiped = True
        self.kept.pop(key, None)
        self.records.pop(key, None)
        self._changed(key, None)

    def agent(self, uid: str) -> AgentRecord | None:
        record = self.records.get(f"agent/{uid}")
        return record if isinstance(record, AgentRecord) else None

    def agents(self) -> list[AgentRecord]:
        return [record for record in self.records.values() if isinstance(record, AgentRecord)]

    def living(self) -> list[AgentRecord]:
        return [record for record in self.agents() if record.state not in ENDED]

    def pools(self) -> list[PoolRecord]:
        return [record for record in self.records.values() if isinstance(record, PoolRecord)]


class KvClient:
    """One process's way to the shelf, behind the real store. The process may die before and after every change."""

    def __init__(self, process: SupervisorProcess, shelf: Shelf) -> None:
        self._process = process
        self._shelf = shelf

    async def async_internal_kv_put(
        self, key: bytes, value: bytes, overwrite: bool, *, namespace: bytes, timeout: float
    ) -> None:
        await self._process.takes("store")
        self._fail("a write fails")
        name = key.decode()
        self._process.point("before the write of ", name)
        self._shelf.put(name, value)
        self._process.point("after the write of ", name)
        self._fail("a write fails although it was done")
        await self._process.takes("store reply")

    async def async_internal_kv_del(self, key: bytes, by_prefix: bool, *, namespace: bytes, timeout: float) -> None:
        await self._process.takes("store")
        self._fail("a write fails")
        name = key.decode()
        self._process.point("before the deletion of ", name)
        self._shelf.delete(name)
        self._process.point("after the deletion of ", name)
        await self._process.takes("store reply")

    async def async_internal_kv_get(self, key: bytes, *, namespace: bytes, timeout: float) -> bytes | None:
        await self._process.takes("store")
        self._fail("a read fails")
        return self._shelf.kept.get(key.decode())

    async def async_internal_kv_keys(self, prefix: bytes, *, namespace: bytes, timeout: float) -> list[bytes]:
        await self._process.takes("store")
        self._fail("a read fails")
        return [key.encode() for key in self._shelf.kept]

    async def async_internal_kv_multi_get(
        self, keys: list[bytes], *, namespace: bytes, timeout: float
    ) -> dict[bytes, bytes]:
        await self._process.takes("store")
        self._fail("a read fails")
        found = {key: self._shelf.kept.get(key.decode()) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    def _fail(self, how: str) -> None:
        if self._process.chance.happens(how):
            self._process.disturbed = True
            raise ConnectionError(f"the store is away: {how}")


class ShelfStore(GcsStore):
    """The real store, on a shelf in place of the GCS."""

    def __init__(self, client: KvClient) -> None:  # the real one takes the client of a connected process
        self._namespace = b"the mesh"
        self._gcs = client
