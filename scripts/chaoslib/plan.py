"""The killer's plan: which kill follows which, when, and of whom. The same seed gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

WEIGHTS = {
    "supervisor": 5,
    "supervisor twice": 2,
    "launcher": 4,
    "agent": 6,
    "driver": 3,
    "node": 2,
    "gcs": 3,
    "supervisor and gcs": 2,
}
"""The kinds of kills, and how often each is chosen against the others."""
MOMENTS = ("any", "create", "delete")
"""When: at once, or as soon as the next request of that kind has been sent."""
LONGEST_PAUSE_S = 8.0
"""Longer than the mesh needs to come back, half of the time: what is killed without pause never gets to work."""
LONGEST_OUTAGE_S = 8.0


class Decision(NamedTuple):
    """One kill. `pick` (0..1) says which one of those there are; `outage_s`, how long the GCS or a node is away."""

    number: int
    kind: str
    moment: str
    pause_s: float
    outage_s: float
    pick: float


def decisions(seed: int, kinds: Sequence[str] = tuple(WEIGHTS)) -> Iterator[Decision]:
    """The plan, without end. Each decision takes as many random numbers as any other, whatever it is."""
    chance = random.Random(seed)  # noqa: S311 - a plan that can be replayed, not a secret
    weights = [WEIGHTS[kind] for kind in kinds]
    number = 0
    while True:
        number += 1
        yield Decision(
            number=number,
            kind=chance.choices(kinds, weights)[0],
            moment=chance.choice(MOMENTS),
            pause_s=chance.uniform(0.0, LONGEST_PAUSE_S),
            outage_s=chance.uniform(0.0, LONGEST_OUTAGE_S),
            pick=chance.random(),
        )
