"""Starts a launcher in a new job that is like a driver's: `python -m schedulemesh.runtime`.

For the agents of a driver whose own launcher has gone. The new job gets the recorded code paths, runtime_env and
namespace, so that Ray itself gives its workers what it gave the driver's. The environment is read from standard input.

Not public in Ray: `_py_driver_sys_path` of a JobConfig, the code paths of a job. If it goes, modules beside a driver's
script are not found by agents that are launched after the driver's own launcher has gone.
"""

from __future__ import annotations

import logging
import sys

import click
import msgspec
import ray
from ray.job_config import JobConfig

from schedulemesh.core.environments import Environment
from schedulemesh.runtime.launcher_actor import create_launcher

_UP_S = 60


@click.command()
@click.option("--address", required=True, help="GCS address of the cluster.")
@click.option("--mesh", required=True, help="Ray name of the supervisor.")
@click.option("--namespace", required=True, help="Ray namespace of the mesh.")
@click.option("--key", required=True, help="Key of the environment.")
def main(address: str, mesh: str, namespace: str, key: str) -> None:
    """Start the launcher. Returns when its process is there."""
    environment = msgspec.json.decode(sys.stdin.buffer.read(), type=Environment)
    job = JobConfig(runtime_env=environment.runtime_env or None, _py_driver_sys_path=list(environment.paths))
    ray.init(
        address,
        namespace=environment.namespace or namespace,
        job_config=job,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    node_id = environment.node_id if environment.node_id in living else ""
    launcher = create_launcher(mesh, namespace, key, node_id=node_id, own=True)
    # Ray drops an actor that it has not begun to create when the process that asked for it ends.
    ray.get(launcher.__ray_ready__.remote(), timeout=_UP_S)


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the last word goes to the supervisor, in one line
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        sys.exit(1)
