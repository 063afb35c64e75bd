"""Versions that meet on a real cluster: each says so in one line, to a program and to a shell, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import kvstore
import msgspec
import pytest
import ray
from drivers import MESH
from raycluster import RealCluster
from rayview import books_of

import schedulemesh
from schedulemesh import AgentActor, ProtocolMismatchError, Scheduler, SupervisorUnavailableError
from schedulemesh.client import birth
from schedulemesh.client.connection import Connection
from schedulemesh.core import messages
from schedulemesh.core.messages import PROTOCOL
from schedulemesh.core.records import MESH_KEY, SCHEMA, MeshRecord, encode
from schedulemesh.supervisor.actor import SupervisorActor
from schedulemesh.supervisor.service import Settings

OTHER = "other-version"
OTHERS = pytest.mark.parametrize("other", [PROTOCOL - 1, PROTOCOL + 1], ids=["older", "newer"])


class Worker(AgentActor):
    pass


class OtherSupervisor(SupervisorActor):
    """A supervisor as it is, but of another protocol."""

    async def __init__(self, settings: bytes, protocol: int) -> None:  # type: ignore[misc]  # Ray awaits it
        messages.PROTOCOL = protocol
        await super().__init__(settings)


def shell(cluster: RealCluster, mesh: str, *, protocol: int = PROTOCOL) -> tuple[int, str]:
    """What `schedulemesh status` of a client with that protocol ends with, and the one line that it prints."""
    code = f"import schedulemesh.core.messages as m; m.PROTOCOL = {protocol}; from schedulemesh.client import cli; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--name", mesh],
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def says(client: int, supervisor: int) -> str:
    return str(schedulemesh.ProtocolMismatchError(client, supervisor))


@OTHERS
def test_a_client_of_another_version_is_told_so_and_changes_nothing(
    scheduler: Scheduler, cluster: RealCluster, monkeypatch: pytest.MonkeyPatch, other: int
) -> None:
    scheduler.create_pool("versions", resources={"cpu": 1})
    before = [*books_of(scheduler), kvstore.stored(MESH)]
    with monkeypatch.context() as patched:
        patched.setattr(messages, "PROTOCOL", other)
        for refused in (
            lambda: schedulemesh.connect(MESH),
            lambda: scheduler.create_pool("other", resources={"cpu": 1}),
            lambda: scheduler.create_agent("w", "versions", Worker, resources={"cpu": 1}),
            lambda: scheduler.create_agents([schedulemesh.AgentRequest("w", "versions", Worker)]),
            lambda: scheduler.delete_pool("versions", force=True),
            scheduler.list_agents,
            lambda: scheduler.stop(force=True),
        ):
            with pytest.raises(ProtocolMismatchError) as caught:
                refused()
            assert str(caught.value) == says(other, PROTOCOL)
    assert shell(cluster, MESH, protocol=other) == (1, f"error: {says(other, PROTOCOL)}")
    for now, was in zip([*books_of(scheduler), kvstore.stored(MESH)], before, strict=True):
        assert now == was


@OTHERS
def test_a_supervisor_of_another_version_is_told_apart_and_left_as_it_is(cluster: RealCluster, other: int) -> None:
    settings = msgspec.msgpack.encode(Settings(name=OTHER, namespace="schedulemesh"))
    actor_class: Any = ray.remote(OtherSupervisor)
    options: dict[str, Any] = {"name": OTHER, "namespace": "schedulemesh", "num_cpus": 0, "max_concurrency": 100}
    supervisor = actor_class.options(**options).remote(settings, other)
    assert ray.get(supervisor.ready.remote(), timeout=60)
    try:
        before = kvstore.stored(OTHER)
        with pytest.raises(ProtocolMismatchError) as caught:
            schedulemesh.connect(OTHER)
        assert str(caught.value) == says(PROTOCOL, other)
        assert shell(cluster, OTHER) == (1, f"error: {says(PROTOCOL, other)}")
        assert kvstore.stored(OTHER) == before
    finally:
        ray.kill(supervisor)
        kvstore.wipe(OTHER)


@pytest.fixture
def left_by_a_later_version(cluster: RealCluster) -> Iterator[dict[bytes, bytes]]:
    """What a later version stored of its mesh; this one's supervisor is started on it."""
    kvstore.put(OTHER, MESH_KEY, encode(MeshRecord()))
    kvstore.put(OTHER, "agent/later", msgspec.msgpack.encode({"schema": SCHEMA + 1, "laid_out": "otherwise"}))
    yield kvstore.stored(OTHER)
    ray.kill(ray.get_actor(OTHER, namespace="schedulemesh"))
    kvstore.wipe(OTHER)


def test_records_of_a_later_version_are_left_alone_and_everyone_is_told(
    left_by_a_later_version: dict[bytes, bytes], cluster: RealCluster
) -> None:
    birth.start_supervisor(OTHER, "schedulemesh", headroom=0.0, timeout_s=60)
    says = (
        f"Supervisor '{OTHER}' cannot serve: record 'agent/later' has schema {SCHEMA + 1}, "
        f"this version reads up to {SCHEMA}; run the version that wrote it, or a later one"
    )
    scheduler = Scheduler(Connection(OTHER, "schedulemesh"))
    for refused in (
        lambda: schedulemesh.connect(OTHER),
        scheduler.status,
        scheduler.list_pools,
        lambda: scheduler.create_pool("p", resources={"cpu": 1}),
        lambda: scheduler.delete_agent("later", force=True),
        lambda: scheduler.stop(force=True),
    ):
        with pytest.raises(SupervisorUnavailableError) as caught:
            refused()
        assert str(caught.value) == says
    assert shell(cluster, OTHER) == (1, f"error: {says}")
    assert kvstore.stored(OTHER) == left_by_a_later_version
