"""Sides: what creates and ends actors, by the mesh and by plain Ray, of the same class and with the same options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import ray

import schedulemesh
from harness.probes import Probe
from harness.processes import is_alive
from harness.waiting import wait_until

NAMESPACE = "bench-raw"
CPU = 0.001
"""Small enough that a hundred fit wherever this runs: how many processes there can be is not a matter of cores here."""
POOL = "bench"
_CAPACITY = 0.5
_START_S = 600.0
_ENDERS = 8


class Side(Protocol):
    def create(self, names: Sequence[str]) -> list[Any]:
        """The handles of so many new actors, which may still be starting."""

    def end(self, names: Sequence[str]) -> None:
        """Kill them, and wait until their processes are gone."""


class Ours:
    """A mesh of its own in this cluster, with one pool."""

    def __init__(self, mesh: str) -> None:
        self.scheduler = schedulemesh.connect(mesh)
        self.scheduler.create_pool(POOL, resources={"cpu": _CAPACITY})

    def create(self, names: Sequence[str]) -> list[Any]:
        if len(names) == 1:
            return [self.create_in(POOL, names[0])]
        requests = [
            schedulemesh.AgentRequest(name, POOL, Probe, resources={"cpu": CPU}, timeout_s=_START_S) for name in names
        ]
        handles = []
        for reply in self.scheduler.create_agents(requests):
            if isinstance(reply, schedulemesh.ScheduleMeshError):
                raise reply
            handles.append(reply["agent"]["handle"])
        return handles

    def create_in(self, pool: str, name: str) -> Any:
        reply = self.scheduler.create_agent(name, pool, Probe, resources={"cpu": CPU}, timeout_s=_START_S)
        return reply["agent"]["handle"]

    def end(self, names: Sequence[str]) -> None:
        with ThreadPoolExecutor(_ENDERS) as enders:
            ended = list(enders.map(lambda name: self.scheduler.delete_agent(name, force=True), names))
        _await_end([reply["agent"]["pid"] or 0 for reply in ended])

    def pid(self, name: str) -> int:
        return self.scheduler.get_agent(name)["agent"]["pid"] or 0


class Raw:
    """Detached named actors, with the options that an agent has by default, and a runtime_env if one is given."""

    def __init__(self, runtime_env: Mapping[str, Any] | None = None) -> None:
        remote: Any = ray.remote
        self._class = remote(Probe)
        self._further = {"runtime_env": dict(runtime_env)} if runtime_env else {}
        self._handles: dict[str, Any] = {}

    def create(self, names: Sequence[str]) -> list[Any]:
        return [self._create(name) for name in names]

    def end(self, names: Sequence[str]) -> None:
        handles = [self._handles.pop(name) for name in names]
        pids: list[int] = ray.get([handle.pid.remote() for handle in handles])
        for handle in handles:
            ray.kill(handle, no_restart=True)
        _await_end(pids)

    def _create(self, name: str) -> Any:
        actor = self._class.options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=CPU,
            max_restarts=-1,
            max_task_retries=3,
            max_concurrency=1000,
            **self._further,
        )
        self._handles[name] = actor.remote(name, {}, None)
        return self._handles[name]


def _await_end(pids: Sequence[int]) -> None:
    wait_until("the processes are gone", lambda: not any(is_alive(pid) for pid in pids if pid))
