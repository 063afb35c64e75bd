"""The watcher: when the GCS was away, it subscribes anew and then reads the table, so that nothing is missed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from ray.core.generated.common_pb2 import ActorDeathCause, RuntimeEnvFailedContext  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc, without types

from schedulemesh.core.launch_protocol import AGENT_LABEL, LAUNCHER_LABEL, MESH_LABEL
from schedulemesh.supervisor import watcher
from schedulemesh.supervisor.events import ActorPhase, ActorSeen, LauncherSeen
from schedulemesh.supervisor.watcher import GcsWatcher

if TYPE_CHECKING:
    from schedulemesh.supervisor.events import TableRead

MESH = "the mesh's label"
OF_LAUNCHER = {MESH_LABEL: MESH, LAUNCHER_LABEL: "0123"}


class Subscriber:
    """Ray's subscriber; the first one finds the GCS away, and the next hears nothing."""

    journal: list[str]

    def __init__(self, address: str) -> None:
        self.address = address

    async def subscribe(self) -> None:
        self.journal.append("subscribe")

    async def poll(self, batch_size: int) -> list[Any]:
        assert batch_size > 0
        if self.journal.count("subscribe") > 1:
            await asyncio.Event().wait()
        self.journal.append("away")
        return []

    async def close(self) -> None:
        self.journal.append("close")


class Table:
    async def async_get_all_actor_info(self, **_: object) -> dict[Any, Any]:
        return {}


def test_after_an_outage_it_subscribes_anew_and_then_reads_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    journal: list[str] = []
    read_twice = asyncio.Event()
    monkeypatch.setattr(Subscriber, "journal", journal, raising=False)
    monkeypatch.setattr(watcher, "GcsAioActorSubscriber", Subscriber)
    monkeypatch.setattr(watcher, "_gcs", Table)

    async def table(read: TableRead) -> None:
        assert read.actors == ()
        journal.append("table")
        if journal.count("table") > 1:
            read_twice.set()

    async def scenario() -> None:
        watching = asyncio.ensure_future(GcsWatcher("address", "mesh").watch(lambda _: None, table))
        await asyncio.wait_for(read_twice.wait(), 30)
        watching.cancel()
        await asyncio.wait({watching})

    asyncio.run(scenario())
    assert journal == ["subscribe", "table", "away", "close", "subscribe", "table", "close"]


def row(state: int = ActorTableData.ALIVE, labels: dict[str, str] | None = None, **fields: Any) -> Any:
    """What Ray says of an actor; after its first message without labels and namespace."""
    return ActorTableData(state=state, labels=labels or {}, **fields)


def test_launchers_are_told_apart_from_agents_by_their_label() -> None:
    watching = GcsWatcher("address", MESH)
    launcher = watching._news("l1", row(labels=OF_LAUNCHER, name="mesh:launcher:0123", num_restarts=2))
    assert launcher == LauncherSeen("0123", "l1", ActorPhase.ALIVE, 2, "mesh:launcher:0123")
    agent = watching._news("a1", row(labels={MESH_LABEL: MESH, AGENT_LABEL: "uid"}, name="w1", ray_namespace="ns"))
    assert isinstance(agent, ActorSeen)
    assert (agent.uid, agent.name, agent.namespace) == ("uid", "w1", "ns")


@pytest.mark.parametrize(
    "labels", [{LAUNCHER_LABEL: "0123"}, {**OF_LAUNCHER, MESH_LABEL: "another"}, {MESH_LABEL: MESH}]
)
def test_launchers_of_other_meshes_and_strangers_are_passed_over(labels: dict[str, str]) -> None:
    assert GcsWatcher("address", MESH)._news("l1", row(labels=labels)) is None


def test_what_a_launchers_later_messages_do_not_say_is_known_from_its_first() -> None:
    watching = GcsWatcher("address", MESH)
    watching._news("l1", row(ActorTableData.DEPENDENCIES_UNREADY, OF_LAUNCHER, name="mesh:launcher:0123:own"))
    for state, phase in ((ActorTableData.RESTARTING, ActorPhase.RESTARTING), (ActorTableData.DEAD, ActorPhase.DEAD)):
        later = watching._news("l1", row(state, num_restarts=1))
        assert later == LauncherSeen("0123", "l1", phase, 1, "mesh:launcher:0123:own")
    assert watching._news("l1", row(ActorTableData.DEAD)) is None, "it is forgotten after its end"


def test_an_environment_that_could_not_be_set_up_is_told_with_its_cause() -> None:
    cause = ActorDeathCause(runtime_env_failed_context=RuntimeEnvFailedContext(error_message="no such package"))
    seen = GcsWatcher("address", MESH)._news("l1", row(ActorTableData.DEAD, OF_LAUNCHER, death_cause=cause))
    assert isinstance(seen, LauncherSeen)
    assert (seen.environment_failed, seen.cause) == (True, "no such package")


def test_a_reading_of_the_table_has_the_launchers_beside_the_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        async def async_get_all_actor_info(self, *, actor_state_name: str = "", **_: object) -> dict[Any, Any]:
            rows = {bytes(1): row(labels=OF_LAUNCHER), bytes(2): row(labels={MESH_LABEL: MESH, AGENT_LABEL: "uid"})}
            return rows if actor_state_name == "ALIVE" else {}

    monkeypatch.setattr(watcher, "_gcs", Full)
    read = asyncio.run(GcsWatcher("address", MESH).read({}))
    assert [seen.uid for seen in read.actors] == ["uid"]
    assert read.launchers == (LauncherSeen("0123", "00", ActorPhase.ALIVE, 0),)
