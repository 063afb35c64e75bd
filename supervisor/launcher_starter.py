"""Starting launchers of the mesh's own: in a job like the driver's, from a clean process, or the bare one."""

from __future__ import annotations

import asyncio

import msgspec
import ray
from ray.exceptions import RayError

from schedulemesh.core.environments import Environment
from schedulemesh.core.launch_protocol import BARE
from schedulemesh.runtime.clean_process import run_module
from schedulemesh.runtime.launcher_actor import create_launcher

START_S = 120.0
"""How long a launcher in a job of its own may take to start: a connection to Ray, and the runtime_env."""


class RayLauncherStarter:
    """Implements the port `LauncherStarter`. Holds no handle: a launcher asks for orders once it is up."""

    def __init__(self, mesh: str, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace

    async def start(self, environment_key: str, environment: Environment) -> str:
        arguments = ["--address", ray.get_runtime_context().gcs_address, "--mesh", self._mesh]
        arguments += ["--namespace", self._namespace, "--key", environment_key]
        folder = environment.paths[-1] if environment.paths else ""
        return await asyncio.to_thread(
            run_module,
            "schedulemesh.runtime",
            arguments,
            timeout_s=START_S,
            given=msgspec.json.encode(environment),
            folder=folder,
        )

    async def start_bare(self) -> str:
        try:
            await asyncio.to_thread(create_launcher, self._mesh, self._namespace, BARE, own=True)
        except (ValueError, RayError) as error:
            return f"{type(error).__name__}: {error}"
        return ""
