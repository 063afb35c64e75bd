"""A submitted job as a driver, on a cluster of its own: only one with Ray's dashboard takes jobs, and that is costly.

Its agent has a secret, so that what the dashboard writes down is searched too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers import DriverRunner
from raycluster import RealCluster, eventually, listens, processes_of

SECRET = "hunter4-of-the-job"
AGENTS = """
import os
from schedulemesh import AgentActor
class JobAgent(AgentActor):
    def hi(self):
        return f"from a job with a secret of {len(os.environ['TOKEN'])} letters"
"""
TOLD = f"from a job with a secret of {len(SECRET)} letters"
JOB = f"""
import ray, schedulemesh
from job_agents import JobAgent
scheduler = schedulemesh.connect()
scheduler.create_pool("jobs", resources={{"cpu": 0.5}})
options = {{"runtime_env": {{"env_vars": {{"TOKEN": {SECRET!r}}}}}}}
agent = scheduler.create_agent("job-agent", "jobs", JobAgent, resources={{"cpu": 0.1}}, ray_options=options)["agent"]
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
        assert eventually(lambda: listens(cluster.agent_port)), "the node's agent, which starts jobs, did not come up"
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
    assert TOLD in submitted.stdout
    later = DriverRunner(cluster_for_jobs, tmp_path)
    assert later.run(LATER, folder="later").splitlines()[-1] == TOLD
    # The dashboard's files are here too. What Ray keeps of the job's package is the job's own.
    files = {path: path.read_bytes() for path in cluster_for_jobs.logs()}
    assert any("dashboard" in path.name for path in files)
    assert [path.name for path, text in files.items() if SECRET.encode() in text] == []
