"""Deadlines: which agent has to be looked at next, and when. An agent has one at most: of its start, or of its end."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Protocol

from schedulemesh.core.records import AgentRecord
from schedulemesh.core.states import AgentState

_STALE_MAX = 1000
"""Deadlines that came to nothing and are still in the heap, behind one that holds, beyond as many as there are agents.
Then it is made anew: so the cost of that is borne by as many decisions as there are agents."""


class HasRecord(Protocol):
    @property
    def record(self) -> AgentRecord: ...


class Deadlines:
    """A heap of moments; one that an agent has outlived is passed over when it is met."""

    def __init__(self, agents: Mapping[str, HasRecord]) -> None:
        self._agents = agents
        self._heap: list[tuple[float, str]] = []

    def schedule(self, record: AgentRecord) -> None:
        due = _deadline(record)
        if due is not None:
            heapq.heappush(self._heap, (due, record.uid))
        if len(self._heap) > 2 * len(self._agents) + _STALE_MAX:
            every = ((_deadline(one.record), uid) for uid, one in self._agents.items())
            self._heap = [(due, uid) for due, uid in every if due is not None]
            heapq.heapify(self._heap)

    def due(self, now: float) -> Iterator[str]:
        """The uids of the agents whose deadline has come, each once."""
        taken = set()
        while self._heap and self._heap[0][0] <= now:
            moment, uid = heapq.heappop(self._heap)
            if self._holds(moment, uid) and uid not in taken:
                taken.add(uid)  # the same deadline may have been scheduled twice
                yield uid

    def next(self) -> float | None:
        while self._heap:
            moment, uid = self._heap[0]
            if self._holds(moment, uid):
                return moment
            heapq.heappop(self._heap)
        return None

    def _holds(self, moment: float, uid: str) -> bool:
        agent = self._agents.get(uid)
        return agent is not None and _deadline(agent.record) == moment


def _deadline(record: AgentRecord) -> float | None:
    if record.state is AgentState.STARTING:
        return record.start_deadline
    if record.state is AgentState.STOPPING:
        return record.stop_deadline
    return None
