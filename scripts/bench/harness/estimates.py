"""Estimates: what a row of samples says, with the interval in which the truth lies 19 times out of 20."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

RESAMPLES = 2000
SEED = 1
"""The same samples always give the same interval."""

Pair = tuple[float, float]
"""Ours and the rival's, of one round."""
Sample = TypeVar("Sample")


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(samples: Sequence[Sample], statistic: Callable[[Sequence[Sample]], float]) -> Estimate:
    """The statistic of the samples, and the middle 95 % of what it is for samples drawn again from them."""
    if not samples:
        raise ValueError("there is no sample")
    chance = random.Random(SEED)  # noqa: S311 - statistics
    drawn = sorted(statistic(chance.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    value = statistic(samples)
    # With few samples the middle may lie beside the statistic itself; an interval without its value helps nobody.
    return Estimate(value, min(value, quantile(drawn, 0.025)), max(value, quantile(drawn, 0.975)))


def exactly(value: float) -> Estimate:
    """Something that was counted, not estimated."""
    return Estimate(value, value, value)


def quantile(values: Sequence[float], share: float) -> float:
    """Between the two nearest values, in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def median_of_ratios(pairs: Sequence[Pair]) -> float:
    """Each round is compared with itself, so that what slows a whole round down does not count."""
    return median([ours / rival for ours, rival in pairs])


def ratio_of_quantiles(share: float) -> Callable[[Sequence[Pair]], float]:
    """For tails, which a single round does not have: the quantile of all of ours over that of all of the rival's."""
    return lambda pairs: quantile([ours for ours, _ in pairs], share) / quantile([rival for _, rival in pairs], share)
