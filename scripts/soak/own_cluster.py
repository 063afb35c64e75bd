"""A real Ray cluster for one part of the soak, started and ended by it; the tests' own helpers do the work."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Before Ray is imported: a token of this run's own, in the environment only.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "helpers"))

import ray
from raycluster import RealCluster


@contextmanager
def own_cluster() -> Iterator[RealCluster]:
    """Inside, this process is a driver of the cluster; afterwards nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="soak", dir="/tmp"))
    real = RealCluster(folder)
    try:
        real.start()
        ray.init(real.address, namespace="soak", log_to_driver=False)
        yield real
    finally:
        ray.shutdown()
        real.stop()
        shutil.rmtree(folder, ignore_errors=True)
