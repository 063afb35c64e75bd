"""SupervisorActor: the Ray actor that stands for the mesh.

It takes bytes and gives bytes, so that nothing of a user's is unpickled here. Whoever looks the supervisor up imports
this module, as Ray does with any actor's class; so it imports the supervisor itself only where that runs.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray


class SupervisorActor:
    """One mesh's supervisor. Clients call `call`; everything else is inside. Its settings are encoded `Settings`."""

    async def __init__(self, settings: bytes) -> None:  # type: ignore[misc]  # Ray awaits it
        import msgspec  # noqa: PLC0415 - see the module's words

        from schedulemesh.supervisor.service import Service, Settings  # noqa: PLC0415

        service = Service(msgspec.msgpack.decode(settings, type=Settings), ended=self._exit)
        self._door = service.door
        await service.start()

    async def call(self, payload: Any) -> bytes:
        """Answer one encoded request with one encoded reply. Never raises for what a client sent."""
        return await self._door.call(payload)

    async def ready(self) -> bool:
        return True

    def _exit(self) -> None:
        """The mesh was stopped and wiped. A client whose answer is cut off by this finds no supervisor: it is done."""
        asyncio.get_running_loop().call_soon(ray.kill, ray.get_runtime_context().current_actor)
