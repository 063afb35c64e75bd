"""The real Ray cluster that tests share: two nodes on this machine, token authentication, fake amounts of hardware.

Started before the first test that asks for it and ended, with every process it started, after the last.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before Ray is imported anywhere: a token of this run's own, in the environment only.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)

import pytest
from drivers import MESH, DriverRunner, start_supervisor
from raycluster import RealCluster, eventually, processes_of

import schedulemesh

LONG = (
    "demo",
    "outages",
    "jobs",
    "blocks",
    "isolation",
    "crashes",
    "drivers",
    "capacity",
    "life",
    "crash_points",
    "ends",
)
"""The files that take longest, which are begun with: one that is begun last keeps the other worker waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealCluster]:
    """The cluster, with this process connected to it as a driver in namespace `tests`."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="sm", dir="/tmp"))
    real = RealCluster(folder)
    try:
        real.start()
        ray.init(real.address, namespace="tests", log_to_driver=False)
        yield real
        ray.shutdown()
    finally:
        real.stop()
        left = eventually(lambda: not processes_of(folder), timeout_s=30)
        names = processes_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        assert left, f"processes were left behind: {names}"


@pytest.fixture(scope="session")
def mesh_of_tests(cluster: RealCluster) -> Iterator[schedulemesh.Scheduler]:
    """One supervisor for all tests that can share it.

    Its launchers go soon after the drivers they served: each idle process takes more than a hundredth of a core.
    """
    from rayview import ours

    start_supervisor(cluster, MESH, launcher_idle_s=5)
    scheduler = schedulemesh.connect(MESH, start=False)
    yield scheduler
    scheduler.stop(force=True)
    assert eventually(lambda: not ours()), f"actors were left behind: {ours()}"


@pytest.fixture
def scheduler(mesh_of_tests: schedulemesh.Scheduler) -> Iterator[schedulemesh.Scheduler]:
    """The shared mesh, emptied after each test: no agent, no pool, nothing held."""
    yield mesh_of_tests
    for pool in mesh_of_tests.list_pools()["pools"]:
        for agent in mesh_of_tests.list_agents(pool["name"])["agents"]:
            if agent["state"] != "failed":
                mesh_of_tests.delete_agent(agent["name"], force=True)
        mesh_of_tests.delete_pool(pool["name"])
    status = mesh_of_tests.status()
    assert sum(status["agents"][state] for state in ("starting", "running", "restarting", "stopping")) == 0
    assert status["committed"] == dict.fromkeys(status["committed"], 0.0)


@pytest.fixture
def driver(cluster: RealCluster, tmp_path: Path) -> DriverRunner:
    return DriverRunner(cluster, tmp_path)
