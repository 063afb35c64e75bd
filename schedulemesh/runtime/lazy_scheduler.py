"""A Scheduler that imports the client when it is first used: most agents never use the one that they are given."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyScheduler:
    """Behaves as a `schedulemesh.Scheduler` of this mesh."""

    def __init__(self, mesh: str, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._real: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler(), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyScheduler, (self._mesh, self._namespace)

    def __repr__(self) -> str:
        return f"Scheduler({self._mesh!r}, namespace={self._namespace!r})"

    @property  # type: ignore[misc]  # so that isinstance() says what it is
    def __class__(self) -> Any:
        return type(self._scheduler())

    def _scheduler(self) -> Any:
        if self._real is None:
            self._real = import_module("schedulemesh.client.scheduler").scheduler_of(self._mesh, self._namespace)
        return self._real
