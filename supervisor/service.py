"""The service: one mesh's door, runner and real ports, put together in the supervisor's process."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import msgspec
import ray

from schedulemesh.core.messages import PROTOCOL
from schedulemesh.core.names import mesh_label
from schedulemesh.core.records import RecordError
from schedulemesh.supervisor.cluster import RayCluster
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.door import Door
from schedulemesh.supervisor.launcher_starter import RayLauncherStarter
from schedulemesh.supervisor.logs import log_to_stderr
from schedulemesh.supervisor.mesh import Mesh
from schedulemesh.supervisor.runner import Runner
from schedulemesh.supervisor.store import GcsStore
from schedulemesh.supervisor.watcher import GcsWatcher

_PAUSE_S = 1.0
"""Before a start that failed is tried again by Ray, which itself does not wait."""


class Settings(msgspec.Struct, frozen=True):
    """What a mesh is started with. `headroom` is the share (0..1) of the cluster that pools may not have."""

    name: str
    namespace: str
    headroom: float = 0.0
    launcher_idle_s: float = 30.0


class Service:
    """`ended` is called when the mesh was stopped and wiped."""

    def __init__(self, settings: Settings, *, ended: Callable[[], None]) -> None:
        log_to_stderr()
        mesh, namespace = settings.name, settings.namespace
        store = GcsStore(mesh, namespace)
        about = {
            "mesh": mesh,
            "namespace": namespace,
            "version": version("schedulemesh"),
            "protocol": PROTOCOL,
            "ray_version": ray.__version__,
            "pid": os.getpid(),
            "started_at": time.time(),
        }
        dispatch = Dispatch(
            mesh,
            namespace,
            store=store,
            starter=RayLauncherStarter(mesh, namespace),
            idle_s=settings.launcher_idle_s,
        )
        self._runner = Runner(
            Mesh(name=mesh, namespace=namespace, headroom=settings.headroom, about=about),
            store=store,
            launchers=dispatch,
            watcher=GcsWatcher(ray.get_runtime_context().gcs_address, mesh_label(mesh, namespace)),
            cluster=RayCluster(),
            clock=time.time,
            die=_die,
            ended=ended,
        )
        dispatch.tell_counts(self._runner.post)
        self.door = Door(mesh, self._runner, dispatch)

    async def start(self) -> None:
        """Come back from the store. A store that cannot be read closes the door; any other failure ends the process."""
        try:
            await self._runner.start()
            gc.collect()
            gc.freeze()  # Ray itself and the restored agents are here to stay: no collection need walk over them
        except RecordError as error:
            # Starting again would not help. Whoever asks is told what has to be done; nothing is changed.
            self.door.closed = str(error)
        except Exception as error:  # noqa: BLE001 - an exception in a constructor would end the actor for good
            await asyncio.sleep(_PAUSE_S)
            _die(f"it could not start: {error!r}")


def _die(reason: str) -> None:
    """End the process without any clean-up; Ray starts it again, and it comes back from the store."""
    sys.stderr.write(f"schedulemesh supervisor ends: {reason}\n")
    sys.stderr.flush()
    os._exit(1)
