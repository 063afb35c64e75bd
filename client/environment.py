"""The driver's environment: what Ray knows of this process's job."""

from __future__ import annotations

import uuid

import ray
from ray.util.client import ray as ray_client

from schedulemesh.core.environments import Environment
from schedulemesh.raycompat.job_config import code_paths


def is_ray_client() -> bool:
    """Whether this process talks to its cluster through `ray://`."""
    return bool(ray_client.is_connected())


def session() -> tuple[str, str]:
    """Which connection to Ray this process has; after `ray.shutdown()` and `ray.init()` it is another."""
    context = ray.get_runtime_context()
    return context.get_job_id(), context.get_node_id()


def current_environment() -> Environment:
    """Return this process's job, runtime_env and node, as Ray has them."""
    context = ray.get_runtime_context()
    runtime_env = {
        name: value for name, value in context.runtime_env.to_dict().items() if value and not name.startswith("_")
    }
    return Environment(
        runtime_env=runtime_env,
        paths=[] if is_ray_client() else code_paths(),
        node_id=context.get_node_id(),
        job_id=context.get_job_id(),
        namespace=str(context.namespace),
    )


def current_namespace() -> str:
    """This driver's own Ray namespace; empty when Ray made one up, where nobody would find a name again."""
    namespace = str(ray.get_runtime_context().namespace)
    try:
        return "" if str(uuid.UUID(namespace)) == namespace else namespace
    except ValueError:
        return namespace
