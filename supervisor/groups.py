"""Groups: which decisions are persisted together, and in which order their writes go. Pure.

Decisions that were made while a write was under way share the next one, so that a hundred creators wait for one write
and not for a hundred. Within a group most writes may go at the same time; a crash then leaves any part of them behind.
So they go in stages, each only after the one before: at every point the store holds what a restart can read. Ends
come first, for what comes after may take their names and their capacity; then what a launch needs, then the agents
that need it; deletions last, so that a crash leaves too much and never too little.

A decision about a pool or the mesh is a group of its own, written in its own order: there one record stands for many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from schedulemesh.core.records import AGENTS, BLOBS
from schedulemesh.supervisor.effects import Decision, Write

MAX_GROUP = 128
"""Decisions of one group: bounds how long the event loop is kept from everything else."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes to be written after which a group is closed."""


def grouped(decisions: Iterable[Decision]) -> Iterator[list[Decision]]:
    """The same decisions in the same order, in groups. Takes the next decision only when its group is asked for."""
    group: list[Decision] = []
    size = 0
    for decision in decisions:
        if not _is_about_agents(decision):
            if group:
                yield group
            yield [decision]
            group, size = [], 0
            continue
        group.append(decision)
        size += sum(len(write.value or b"") for write in decision.writes)
        if len(group) == MAX_GROUP or size > MAX_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def stages(group: Sequence[Decision]) -> list[list[Write]]:
    """The writes of a group, the last one of each key, in the order in which they have to be done."""
    last = {write.key: write for decision in group for write in decision.writes}
    if not _is_about_agents(group[0]):
        return [[write] for write in last.values()]
    ends, blobs, agents, deletions = [], [], [], []
    for write in last.values():
        if write.frees:  # also where what has ended is forgotten in the same group
            ends.append(write)
        elif write.value is None:
            deletions.append(write)
        elif write.key.startswith(BLOBS):
            blobs.append(write)
        else:
            agents.append(write)
    return [stage for stage in (ends, blobs, agents, deletions) if stage]


def _is_about_agents(decision: Decision) -> bool:
    return all(write.key.startswith((AGENTS, BLOBS)) for write in decision.writes) and not decision.ends_mesh
