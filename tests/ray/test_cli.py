"""The command line on a real cluster: the very commands a user types, as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import ray

import schedulemesh

COMMAND = str(Path(sys.executable).parent / "schedulemesh")
MESH = "cli-mesh"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Cluster(Protocol):
    address: str
    env: dict[str, str]


class Worker(schedulemesh.AgentActor):
    pass


@pytest.fixture
def run(cluster: Cluster) -> Run:
    """Runs a command on the cluster, which it finds by RAY_ADDRESS."""
    env = {**cluster.env, "RAY_ADDRESS": cluster.address}

    def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], env=env, input=typed, capture_output=True, text=True, timeout=90, check=False
        )

    return run


@pytest.fixture
def mesh(run: Run) -> Iterator[Run]:
    """The same commands on a mesh that is only this test's, ended when it is over."""

    def on_mesh(command: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return run(command, "--name", MESH, *arguments, typed=typed)

    yield on_mesh
    with contextlib.suppress(schedulemesh.SupervisorNotRunningError):
        schedulemesh.connect(MESH, start=False).stop(force=True)


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed command leaves on stderr; nothing is on stdout."""
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_mesh_from_up_to_down(mesh: Run) -> None:
    done = mesh("status")
    assert done.returncode == 3
    assert f"No supervisor '{MESH}'" in error_line(done)
    done = mesh("up", "--headroom", "0.25")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"supervisor '{MESH}' is up: headroom 0.25" in done.stdout
    assert "was up already: headroom 0.25" in mesh("up").stdout
    done = mesh("up", "--headroom", "0.5")
    assert done.returncode == 1
    assert "headroom 0.25, not 0.5" in error_line(done)
    assert answer(mesh("status", "--json"))["mesh"]["headroom"] == 0.25
    done = mesh("down", typed="n\n")
    assert done.returncode == 1
    assert answer(mesh("pools", "--json")) == {"pools": []}
    assert answer(mesh("agents", "--json")) == {"agents": []}
    names = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    assert MESH in names
    assert not [name for name in names if name.startswith(f"{MESH}:launcher")], "looking starts no launcher"
    done = mesh("down", typed="y\n")
    assert (done.returncode, done.stdout) == (0, f"mesh '{MESH}' ended\n")
    done = mesh("down", "--yes")
    assert done.returncode == 3
    error_line(done)


def test_agents_are_shown_and_deleted(run: Run, scheduler: schedulemesh.Scheduler) -> None:
    scheduler.create_pool("cli-pool", labels={"team": "cli"}, resources={"cpu": 0.1, "memory": 10}, target_agents=2)
    created = scheduler.create_agent("cli-agent", "cli-pool", Worker)["agent"]
    name = scheduler.status()["mesh"]

    def on_mesh(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(command, "--name", name, *arguments)

    text = on_mesh("status").stdout
    for part in ("cli-pool", "cpu 0.1/0.2", "team=cli", "cli-agent", "running", str(created["node_id"])[:8]):
        assert part in text
    shown = answer(on_mesh("agents", "--pool", "cli-pool", "--json"))["agents"]
    assert [(info["name"], info["state"], info["actor_id"]) for info in shown] == [
        ("cli-agent", "running", created["actor_id"])
    ]
    done = on_mesh("down", "--yes")
    assert done.returncode == 1
    assert "--force" in error_line(done)
    done = on_mesh("delete", "cli-agent", "--grace", "5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "agent 'cli-agent' stopped\n", "")
    assert scheduler.get_pool("cli-pool")["pool"]["used_resources"]["cpu"] == 0
    done = on_mesh("delete", "cli-agnet")
    assert done.returncode == 1
    assert "No agent 'cli-agnet'" in error_line(done)


def test_a_terminal_sees_that_something_is_under_way(cluster: Cluster) -> None:
    ours, theirs = pty.openpty()
    env = {**cluster.env, "RAY_ADDRESS": cluster.address, "TERM": "xterm"}
    with subprocess.Popen(
        [COMMAND, "status", "--name", "no-such-mesh"], env=env, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                read = os.read(ours, 4096)
            except OSError:
                break  # the other side is closed
            if not read:
                break
            shown += read
        assert process.stdout is not None
        assert process.stdout.read() == b""
    os.close(ours)
    assert process.returncode == 3
    assert "connecting …" in shown.decode()
    assert "error: No supervisor 'no-such-mesh'" in shown.decode()
