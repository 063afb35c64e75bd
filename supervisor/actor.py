"""SupervisorActor: the Ray actor that stands for the mesh. Puts the runner and the real ports together.

It takes bytes and gives bytes, so that nothing of a user's is unpickled here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from importlib.metadata import version
from typing import Any

import msgspec
import ray

from schedulemesh.core.messages import PROTOCOL
from schedulemesh.core.names import mesh_label
from schedulemesh.core.records import RecordError
from schedulemesh.supervisor.cluster import RayCluster
from schedulemesh.supervisor.door import Door
from schedulemesh.supervisor.launchers import RayLaunchers
from schedulemesh.supervisor.logs import log_to_stderr
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import SWEEP_PERIOD_S, Runner
from schedulemesh.supervisor.store import GcsStore
from schedulemesh.supervisor.watcher import GcsWatcher

_PAUSE_S = 1.0
"""Before a start that failed is tried again by Ray, which itself does not wait."""


class Settings(msgspec.Struct, frozen=True):
    """What a mesh is started with. `headroom` is the share (0..1) of the cluster that pools may not have."""

    name: str
    namespace: str
    headroom: float = 0.0
    launcher_idle_s: float = 300.0


class SupervisorActor:
    """One mesh's supervisor. Clients call `call`; everything else is inside."""

    async def __init__(self, settings: bytes) -> None:  # type: ignore[misc]  # Ray awaits it
        wanted = msgspec.msgpack.decode(settings, type=Settings)
        log_to_stderr()
        context = ray.get_runtime_context()
        store = GcsStore(wanted.name, wanted.namespace)
        about = {
            "mesh": wanted.name,
            "namespace": wanted.namespace,
            "version": version("schedulemesh"),
            "protocol": PROTOCOL,
            "ray_version": ray.__version__,
            "pid": os.getpid(),
            "started_at": time.time(),
        }
        self._runner = Runner(
            Mesh(name=wanted.name, namespace=wanted.namespace, headroom=wanted.headroom, about=about),
            store=store,
            launchers=RayLaunchers(wanted.name, wanted.namespace, store, wanted.launcher_idle_s),
            watcher=GcsWatcher(context.gcs_address, mesh_label(wanted.name, wanted.namespace)),
            cluster=RayCluster(),
            clock=time.time,
            die=_die,
            ended=self._exit,
            sweep_s=min(SWEEP_PERIOD_S, wanted.launcher_idle_s),
        )
        self._door = Door(wanted.name, self._runner)
        try:
            await self._runner.start()
            gc.freeze()  # Ray itself and the restored agents are here to stay: no collection need walk over them
        except RecordError as error:
            # Starting again would not help. Whoever asks is told what has to be done; nothing is changed.
            self._door.closed = str(error)
        except Exception as error:  # noqa: BLE001 - an exception in a constructor would end the actor for good
            await asyncio.sleep(_PAUSE_S)
            _die(f"it could not start: {error!r}")

    async def call(self, payload: Any) -> bytes:
        """Answer one encoded request with one encoded reply. Never raises for what a client sent."""
        return await self._door.call(payload)

    async def ready(self) -> bool:
        return True

    def _exit(self) -> None:
        """The mesh was stopped and wiped. A client whose answer is cut off by this finds no supervisor: it is done."""
        asyncio.get_running_loop().call_soon(ray.kill, ray.get_runtime_context().current_actor)


def _die(reason: str) -> None:
    """End the process without any clean-up; Ray starts it again, and it comes back from the store."""
    sys.stderr.write(f"schedulemesh supervisor ends: {reason}\n")
    sys.stderr.flush()
    os._exit(1)
