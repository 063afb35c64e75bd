"""What Ray itself says of actors, read from its own tables and not from the mesh's books."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import ray
from ray import ActorID
from ray._private.worker import global_worker
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc
from ray.experimental.internal_kv import _internal_kv_list
from raycluster import eventually

import schedulemesh

DEAD = ActorTableData.DEAD


def table(**filters: Any) -> dict[Any, Any]:
    """Ray's actor table, by actor id."""
    gcs: Any = global_worker.gcs_client  # type: ignore[attr-defined]  # set when the process connects

    async def read() -> dict[Any, Any]:
        return dict(await gcs.async_get_all_actor_info(**filters))

    return asyncio.run(read())


def row_of(agent: schedulemesh.AgentInfo) -> Any:
    """The row of the agent's actor in Ray's actor table."""
    actor_id = agent["actor_id"]
    assert actor_id is not None

    return next(iter(table(actor_id=ActorID.from_hex(actor_id)).values()))


def living_actors(name: str | None = None) -> list[Any]:
    """The rows of all actors of agents that are not dead."""

    return [
        row
        for row in table().values()
        if row.state != DEAD and "schedulemesh-agent" in row.labels and (name is None or row.name == name)
    ]


def ours() -> list[str]:
    """The names of all living actors that any mesh made: agents, launchers, supervisors."""
    return [
        f"{row.class_name} {row.name}"
        for row in table().values()
        if row.state != DEAD
        and ("schedulemesh-agent" in row.labels or row.class_name in ("LauncherActor", "SupervisorActor"))
    ]


def launchers(mesh: str) -> list[Any]:
    """The rows of the mesh's launchers that are up."""
    rows = table(actor_state_name="ALIVE").values()
    return [row for row in rows if row.class_name == "LauncherActor" and row.name.startswith(f"{mesh}:")]


def exports() -> set[bytes]:
    """The keys of all actor classes in Ray's function table."""
    return set(_internal_kv_list(b"ActorClass", namespace=b"fun"))


def kill_agent(agent: schedulemesh.AgentInfo) -> None:
    """SIGKILL of the agent's process."""
    assert agent["pid"] is not None
    os.kill(agent["pid"], signal.SIGKILL)


def kill_supervisor(scheduler: schedulemesh.Scheduler) -> int:
    """SIGKILL of the supervisor's process; returns its pid once it is gone."""
    pid = scheduler.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not _alive(pid), timeout_s=10)
    return pid


def books_of(scheduler: schedulemesh.Scheduler) -> list[Any]:
    """What a mesh shows of its pools and agents. Launchers come and go with their drivers, whatever is asked."""
    status = {name: value for name, value in scheduler.status().items() if name != "launchers"}
    return [status, scheduler.list_pools()]


def state_of(scheduler: schedulemesh.Scheduler, name: str) -> str:
    return scheduler.get_agent(name)["agent"]["state"]


def call(agent: Any, method: str, *args: Any) -> Any:
    return ray.get(getattr(agent["handle"], method).remote(*args), timeout=60)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
