"""Deadlines: by when an agent has to be up, or gone, and which of them is due next."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from schedulemesh.core.records import AgentRecord
from schedulemesh.core.states import STARTING, STOPPING
from schedulemesh.supervisor.agent import Agent

_STALE_MAX = 1000
"""Deadlines that came to nothing and are still in the heap, behind one that holds, beyond as many as there are agents.
Then it is made anew: so the cost of that is borne by as many decisions as there are agents."""


class Deadlines:
    """The deadlines of these agents. One that was moved, or came to nothing, is passed over when its time comes."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self._agents = agents
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, agent: Agent) -> None:
        """Mind the deadline that the agent's record has now."""
        due = _deadline(agent.record)
        if due is not None:
            heapq.heappush(self._heap, (due, agent.record.uid))
        if len(self._heap) > 2 * len(self._agents) + _STALE_MAX:
            every = ((_deadline(one.record), uid) for uid, one in self._agents.items())
            self._heap = [(due, uid) for due, uid in every if due is not None]
            heapq.heapify(self._heap)

    def due(self, now: float) -> Iterator[Agent]:
        """The agents whose deadline has come, each once."""
        taken = set()
        while self._heap and self._heap[0][0] <= now:
            moment, uid = heapq.heappop(self._heap)
            agent = self._agents.get(uid)
            if agent is not None and _deadline(agent.record) == moment and uid not in taken:
                taken.add(uid)  # the same deadline may have been scheduled twice
                yield agent

    def next(self) -> float | None:
        while self._heap:
            moment, uid = self._heap[0]
            agent = self._agents.get(uid)
            if agent is not None and _deadline(agent.record) == moment:
                return moment
            heapq.heappop(self._heap)
        return None


def _deadline(record: AgentRecord) -> float | None:
    if record.state is STARTING:
        return record.start_deadline
    if record.state is STOPPING:
        return record.stop_deadline
    return None
