"""The clean birth: starts a supervisor from a process of its own, which has no runtime_env.

In Ray an actor inherits the environment of the job that made it, and so do its children. Run as
`python -m schedulemesh.supervisor` from an empty folder, this process has nothing to pass on.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from typing import Any

import click
import msgspec
import ray

from schedulemesh.supervisor.actor import SupervisorActor
from schedulemesh.supervisor.service import Settings


@click.command()
@click.option("--address", required=True, help="GCS address of the cluster.")
@click.option("--name", required=True, help="Ray name of the supervisor.")
@click.option("--namespace", required=True, help="Ray namespace of the mesh.")
@click.option("--headroom", default=0.0, type=click.FloatRange(0, 0.9), help="Share of the cluster that pools leave.")
@click.option("--launcher-idle", default=30.0, type=click.FloatRange(0), help="Seconds until an idle launcher ends.")
def main(address: str, name: str, namespace: str, headroom: float, launcher_idle: float) -> None:
    """Start the supervisor if it is not there. Returns when it answers."""
    if not math.isfinite(headroom):  # FloatRange lets NaN through
        raise click.BadParameter(f"{headroom} is not a share", param_hint="--headroom")
    settings = Settings(name=name, namespace=namespace, headroom=headroom, launcher_idle_s=launcher_idle)
    os.environ.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
    ray.init(address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR)
    actor_class: Any = ray.remote(SupervisorActor)
    supervisor = actor_class.options(
        name=name,
        namespace=namespace,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=-1,
        # Waiting creators must not starve a look-up; in an async actor a waiting call costs next to nothing.
        max_concurrency=100_000,
        num_cpus=0,
        # Ray's own mark of the head node: a supervisor on a worker node would go with it.
        resources={"node:__internal_head__": 0.001},
    ).remote(msgspec.msgpack.encode(settings))
    ray.get(supervisor.ready.remote())


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the last word goes to whoever started this, in one line
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
