"""The driver's environment: what an agent needs so that the driver's classes can be imported there."""

from __future__ import annotations

import os
import sys
import sysconfig
import uuid
from pathlib import Path

import ray
from ray.util.client import ray as ray_client

from schedulemesh.core.messages import Environment


def is_ray_client() -> bool:
    """Whether this process talks to its cluster through `ray://`."""
    return bool(ray_client.is_connected())


def session() -> tuple[str, str]:
    """Which connection to Ray this process has; after `ray.shutdown()` and `ray.init()` it is another."""
    context = ray.get_runtime_context()
    return context.get_job_id(), context.get_node_id()


def current_environment() -> Environment:
    """This process's runtime_env as Ray resolved it, and the code paths that Ray gives this driver's own workers."""
    context = ray.get_runtime_context()
    runtime_env = {
        name: value for name, value in context.runtime_env.to_dict().items() if value and not name.startswith("_")
    }
    paths = [] if is_ray_client() else _code_paths(has_working_dir="working_dir" in runtime_env)
    known = str((runtime_env.get("env_vars") or {}).get("PYTHONPATH", "")).split(os.pathsep)
    return Environment(
        runtime_env=runtime_env,
        paths=[path for path in dict.fromkeys(paths) if path not in known],
        node_id=context.get_node_id(),
    )


def current_namespace() -> str:
    """This driver's own Ray namespace; empty when Ray made one up, where nobody would find a name again."""
    namespace = str(ray.get_runtime_context().namespace)
    try:
        return "" if str(uuid.UUID(namespace)) == namespace else namespace
    except ValueError:
        return namespace


def is_driver() -> bool:
    """Whether this process is a driver, not a task or an actor."""
    return is_ray_client() or (ray.get_runtime_context().get_actor_id() is None and not _in_task())


def _in_task() -> bool:
    # A driver has a task id too, so that does not tell them apart; the program that runs does.
    return Path(sys.argv[0]).name == "default_worker.py"


def _code_paths(*, has_working_dir: bool) -> list[str]:
    if not is_driver():
        return _worker_paths()
    if has_working_dir:
        return []  # the package in the working_dir is the code; the folder it came from must not shadow it
    paths = []
    main = sys.modules.get("__main__")
    if getattr(main, "__file__", None):
        script_folder = os.path.dirname(os.path.realpath(sys.argv[0]))  # noqa: PTH120 - as Ray computes it
        if script_folder in sys.path:
            paths.append(script_folder)
    return [*paths, os.path.abspath(os.curdir)]  # noqa: PTH100 - as Ray computes it


def _worker_paths() -> list[str]:
    """What Ray put on a worker's path for its driver: all that is neither Python's own nor a runtime_env's."""
    installed = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    return [
        path
        for path in sys.path
        if path
        and Path(path).is_dir()
        and not any(Path(path).is_relative_to(root) for root in installed)
        and "runtime_resources" not in Path(path).parts
        and "site-packages" not in Path(path).parts
    ]
