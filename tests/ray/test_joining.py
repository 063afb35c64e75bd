"""How `connect()` finds a cluster, in a process namespace of its own: nothing else of Ray's runs in it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from raycluster import free_ports

SCRIPT = """
set -e
{ray} start --head --port={port} --num-cpus=2 --include-dashboard=false --temp-dir={folder} > {folder}.txt 2>&1
{python} -c "{driver}"
{ray} stop > /dev/null 2>&1
{python} -c "{driver}"
"""
DRIVER = (
    "import ray, schedulemesh; schedulemesh.connect().stop(); print('joined', ray.get_runtime_context().gcs_address)"
)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="sm", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_cluster_with_a_temp_dir_is_found_and_a_local_one_is_told_about(short: Path) -> None:
    """A plain `ray.init()` misses the first of the two, and starts a local cluster without a word."""
    folder, (port,) = short / "ray", free_ports(1)
    ray = Path(sys.executable).parent / "ray"
    script = SCRIPT.format(ray=ray, python=sys.executable, driver=DRIVER, folder=folder, port=port)
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "bash", "-c", script],
        env={**env, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
        cwd=short,
    )
    assert done.returncode == 0, done.stdout
    found, local = done.stdout.split("joined")[:2]
    assert "started a local Ray cluster" not in found
    assert done.stdout.split("joined")[1].split()[0].endswith(f":{port}")
    (hint,) = [line for line in local.splitlines() if line.startswith("schedulemesh:")]
    assert "ends with this process" in hint
    assert "connect(address=...) or set RAY_ADDRESS" in hint
