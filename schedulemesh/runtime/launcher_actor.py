"""LauncherActor: the Ray actor of a launcher, and the call that creates one.

A driver creates it in its own job, so that agents get the driver's code paths, runtime_env, packages and variables by
Ray's own rules. Looking an actor up imports its class, so this module imports nothing heavy.

Not public in Ray: the `_labels` option, by which the supervisor knows its launchers in Ray's actor table. If it goes,
it would have to know them by their actor names.
"""

from __future__ import annotations

import functools
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from schedulemesh.core.launch_protocol import LABEL_LENGTH, LAUNCHER_LABEL, MESH_LABEL
from schedulemesh.core.names import launcher_name, mesh_label


class LauncherActor:
    """One launcher. A plain class with one call at a time: Ray runs its methods on the process's main thread."""

    def __init__(self, mesh: str, namespace: str, environment_key: str) -> None:
        from schedulemesh.runtime.launcher import Launcher  # noqa: PLC0415 - see the module's docstring

        self._launcher = Launcher(mesh, namespace, environment_key)

    def load_class(self, class_key: str) -> None:
        """Load a user's class, on the main thread as in a driver. Called by the launcher's own loop."""
        self._launcher.classes.load(class_key)


def create_launcher(mesh: str, namespace: str, environment_key: str, *, node_id: str = "", own: bool = False) -> Any:
    """Create the launcher of an environment in this process's job, if there is none. Does not wait for its process.

    Args:
        mesh: Ray name of the supervisor that it serves.
        namespace: Ray namespace of the mesh.
        environment_key: of the environment that this process runs in.
        node_id: the node to run on. Hard, as Ray heeds a soft affinity only of actors that need some resource.
        own: the mesh itself creates it, beside one of the driver's that may be there without answering.

    Returns its handle, which should not be kept: Ray calls the name of an actor taken as long as this process holds
    a handle of it. True when it returns: Ray has registered the actor. Safe to repeat.
    """
    options: dict[str, Any] = {}
    if node_id:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=False)
    launcher = _actor_class().options(
        name=launcher_name(mesh, environment_key) + (":own" if own else ""),
        namespace=namespace,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=-1,
        _labels={MESH_LABEL: mesh_label(mesh, namespace), LAUNCHER_LABEL: environment_key[:LABEL_LENGTH]},
        **options,
    )
    return launcher.remote(mesh, namespace, environment_key)


@functools.cache
def _actor_class() -> Any:
    """Return the one actor class: Ray exports a class again for each time that it is decorated."""
    remote: Any = ray.remote
    return remote(LauncherActor)
