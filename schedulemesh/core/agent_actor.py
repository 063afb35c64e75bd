"""AgentActor: the plain base class for agents. Optional: any class with the same constructor is an agent too."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any


class AgentActor:
    """Keeps what every agent is given, and has the hook that runs before an agent is ended.

    Subclasses may be decorated with `@ray.remote` or left plain. Their constructor takes `name`, `labels` and
    `supervisor` first and passes them on: `super().__init__(name, labels, supervisor)`.

    Attributes:
        name: the agent's name, unique in its mesh.
        labels: the pool's labels, the agent's own on top, and `pool`.
        supervisor: a `Scheduler` on the agent's own mesh. It connects when it is first used; use it from
            methods, not from the constructor (creating an agent waits for its constructor). Its calls block; and
            an agent that deletes itself waits for itself.
    """

    def __init__(self, name: str, labels: Mapping[str, str], supervisor: Any = None) -> None:
        self.name = name
        self.labels = dict(labels)
        self.supervisor = supervisor

    def on_stop(self) -> Awaitable[None] | None:
        """Runs once before the agent is ended by `delete_agent` (not when it is killed or crashes).

        May be `async def`. The calls that were running have finished; they and the hook share `grace_s`. An exception
        is printed and does not keep the agent alive.
        """
        return None
