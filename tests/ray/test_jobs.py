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
import os, time
from schedulemesh import AgentActor
class JobAgent(AgentActor):
    def hi(self):
        return f"from a job with a secret of {len(os.environ['TOKEN'])} letters"
class Late(AgentActor):
    def __init__(self, name, labels, supervisor=None):
        super().__init__(name, labels, supervisor)
        open(GATE + ".waits", "w").close()
        while not os.path.exists(GATE):
            time.sleep(0.05)
    def hi(self):
        return os.path.basename(os.getcwd())[:9]
GATE = {gate!r}
"""
TOLD = f"from a job with a secret of {len(SECRET)} letters"
JOB = f"""
import os, sys, threading, time
import ray, schedulemesh
from job_agents import GATE, JobAgent, Late
scheduler = schedulemesh.connect()
scheduler.create_pool("jobs", resources={{"cpu": 0.5}})
options = {{"runtime_env": {{"env_vars": {{"TOKEN": {SECRET!r}}}}}}}
agent = scheduler.create_agent("job-agent", "jobs", JobAgent, resources={{"cpu": 0.1}}, ray_options=options)["agent"]
print(ray.get(agent["handle"].hi.remote()))
late = {{"name": "late", "pool": "jobs", "actor_class": Late, "resources": {{"cpu": 0.1}}}}
threading.Thread(target=scheduler.create_agent, kwargs=late, daemon=True).start()
while not os.path.exists(GATE + ".waits"):
    time.sleep(0.05)
sys.stdout.flush()
os._exit(0)  # a thread waits inside of Ray, and Ray's own exit does not bear that
"""
GRACE_S = 5
"""For so long Ray keeps an uploaded package that nothing uses."""
LATER = f"""
import os, pathlib, signal, sys, time
import ray, schedulemesh
from ray.util.state import list_actors, list_jobs
scheduler = schedulemesh.connect(start=False)
(shown,) = list_actors(filters=[("ray_namespace", "=", "schedulemesh"), ("name", "=", "job-agent")], detail=True)
(job,) = [job for job in list_jobs() if job.submission_id]
print("listed", shown.job_id == job.job_id, shown.repr_name, shown.state)
handle = scheduler.get_agent("job-agent")["agent"]["handle"]
print(ray.get(handle.hi.remote()))

# The job has gone, and the grace of its package with it. All that is left of it starts again.
until = time.monotonic() + {GRACE_S} + 1
while time.monotonic() < until:
    time.sleep(0.05)
launchers = list_actors(filters=[("class_name", "=", "LauncherActor"), ("state", "=", "ALIVE")])
for pid in (*(one.pid for one in launchers), scheduler.get_agent("job-agent")["agent"]["pid"]):
    os.kill(pid, signal.SIGKILL)
while scheduler.get_agent("job-agent")["agent"]["restarts"] != 1:
    time.sleep(0.05)
print(ray.get(handle.hi.remote()))
pathlib.Path(sys.argv[1]).write_text("go")
while scheduler.get_agent("late")["agent"]["state"] != "running":
    time.sleep(0.05)
print("late in", ray.get(scheduler.get_agent("late")["agent"]["handle"].hi.remote()), len(launchers))
scheduler.stop(force=True)
"""


@pytest.fixture
def cluster_for_jobs() -> Iterator[RealCluster]:
    folder = Path(tempfile.mkdtemp(prefix="sm", dir="/tmp"))
    cluster = RealCluster(folder, nodes=1, dashboard=True)
    cluster.env["RAY_RUNTIME_ENV_TEMPORARY_REFERENCE_EXPIRATION_S"] = str(GRACE_S)
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
    gate = tmp_path / "gate"
    (package / "job_agents.py").write_text(AGENTS.replace("{gate!r}", repr(str(gate))))
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
    printed = later.run(LATER.replace("sys.argv[1]", repr(str(gate))), folder="later").splitlines()
    assert printed.count(TOLD) == 2, "before and after it was killed"
    assert printed[-1] == "late in _ray_pkg_ 1", "a launch that was in flight goes on in the job's launcher"
    assert "listed True job-agent ALIVE" in printed, "Ray's own lists have it under the job that was submitted"
    # The dashboard's files are here too. What Ray keeps of the job's package is the job's own.
    files = {path: path.read_bytes() for path in cluster_for_jobs.logs()}
    assert any("dashboard" in path.name for path in files)
    assert [path.name for path, text in files.items() if SECRET.encode() in text] == []
