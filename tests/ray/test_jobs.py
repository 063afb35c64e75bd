"""A submitted job as a driver, on a cluster of its own: only one with Ray's dashboard takes jobs, and that is costly."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers import DriverRunner
from raycluster import RealCluster, eventually, processes_of

AGENTS = """
from schedulemesh import AgentActor
class JobAgent(AgentActor):
    def hi(self):
        return "from a job"
"""
JOB = """
import ray, schedulemesh
from job_agents import JobAgent
scheduler = schedulemesh.connect()
scheduler.create_pool("jobs", resources={"cpu": 0.5})
agent = scheduler.create_agent("job-agent", "jobs", JobAgent, resources={"cpu": 0.1})["agent"]
print(ray.get(agent["handle"].hi.remote()))
"""
LATER = """
import ray, schedulemesh
scheduler = schedulemesh.connect(start=False)
print(ray.get(scheduler.get_agent("job-agent")["agent"]["handle"].hi.remote()))
scheduler.stop(force=True)
"""


@pytest.fixture
def cluster_for_jobs() -> Iterator[RealCluster]:
    folder = Path(tempfile.mkdtemp(prefix="sm", dir="/tmp"))
    cluster = RealCluster(folder, nodes=1, dashboard=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        gone = eventually(lambda: not processes_of(folder))
        left = processes_of(folder)
        shutil.rmtree(folder, ignore_errors=True)
        assert gone, f"processes were left behind: {left}"


def test_a_submitted_job_brings_its_working_dir_and_its_agent_stays(
    cluster_for_jobs: RealCluster, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "job_agents.py").write_text(AGENTS)
    (package / "job.py").write_text(JOB)
    command = [str(Path(sys.executable).parent / "ray"), "job", "submit", "--address", cluster_for_jobs.dashboard]
    submitted = subprocess.run(
        [*command, "--working-dir", str(package), "--", sys.executable, "job.py"],
        env={**cluster_for_jobs.env, "RAY_ADDRESS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "from a job" in submitted.stdout
    later = DriverRunner(cluster_for_jobs, tmp_path)
    assert later.run(LATER, folder="later").splitlines()[-1] == "from a job"
