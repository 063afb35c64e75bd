"""Rows: what was measured, next to what, and whether the target is met. Judged by the worse end of the interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from harness.estimates import Estimate, Pair, bootstrap, exactly, median, median_of_ratios

SANE = 1000.0
"""A ratio above this, or below its inverse, is no result: something else was measured than was meant."""
_SECOND_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


class Target(msgspec.Struct, frozen=True):
    """A bound: `at_most`, or else at least."""

    bound: float
    at_most: bool

    def met(self, estimate: Estimate) -> bool:
        return estimate.high <= self.bound if self.at_most else estimate.low >= self.bound


def at_most(bound: float) -> Target:
    return Target(bound, at_most=True)


def at_least(bound: float) -> Target:
    return Target(bound, at_most=False)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. `judged` is a ratio (`unit` is empty) or a value of ours in `unit`."""

    number: int
    subject: str
    ours: str = ""
    rival: str = ""
    judged: Estimate | None = None
    unit: str = ""
    is_ratio: bool = True
    target: Target | None = None
    rounds: int = 0
    samples: list[tuple[float, ...]] = []
    note: str = ""
    error: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no target or no result."""
        return self.target.met(self.judged) if self.target and self.judged else None


def ratio_row(
    number: int,
    subject: str,
    pairs: Sequence[Pair],
    *,
    unit: str,
    rival: str,
    target: Target | None,
    statistic: Callable[[Sequence[Pair]], float] = median_of_ratios,
    shows: Callable[[Sequence[float]], float] = median,
    note: str = "",
) -> Row:
    """Ours over the rival's, round by round. `shows` says what of each side stands in the table."""
    return Row(
        number=number,
        subject=subject,
        ours=shown(shows([ours for ours, _ in pairs]), unit),
        rival=f"{rival}: {shown(shows([other for _, other in pairs]), unit)}",
        judged=bootstrap(pairs, statistic),
        target=target,
        rounds=len(pairs),
        samples=list(pairs),
        note=note,
    )


def value_row(
    number: int,
    subject: str,
    samples: Sequence[float],
    *,
    unit: str,
    target: Target | None,
    statistic: Callable[[Sequence[float]], float] = median,
    rival: str = "—",
    note: str = "",
) -> Row:
    """A value of ours against a bound of its own."""
    judged = bootstrap(samples, statistic)
    return Row(
        number=number,
        subject=subject,
        ours=shown(judged.value, unit),
        rival=rival,
        judged=judged,
        unit=unit,
        is_ratio=False,
        target=target,
        rounds=len(samples),
        samples=[(one,) for one in samples],
        note=note,
    )


def count_row(number: int, subject: str, count: int, *, target: Target, rival: str = "—", note: str = "") -> Row:
    """Something that was counted."""
    return Row(
        number=number,
        subject=subject,
        ours=f"{count:,}",
        rival=rival,
        judged=exactly(float(count)),
        is_ratio=False,
        target=target,
        rounds=1,
        note=note,
    )


def absurd(row: Row) -> str:
    """Why the row cannot be a result, or nothing."""
    if row.error:
        return row.error
    if row.judged is None:
        return "there is no result"
    ends = (row.judged.low, row.judged.value, row.judged.high)
    if not all(math.isfinite(end) and end >= 0 for end in ends):
        return f"{ends} are no measurements"
    if row.is_ratio and not all(1 / SANE <= end <= SANE for end in ends):
        return f"a ratio of {ends[1]:.3g} is absurd"
    return ""


def shown(value: float, unit: str) -> str:
    """For people: seconds in the unit that suits them, rates and sizes without needless digits."""
    if not math.isfinite(value):
        return "—"
    if unit == "s":
        size, name = next((pair for pair in _SECOND_UNITS if abs(value) >= pair[0]), _SECOND_UNITS[-1])
        return f"{value / size:.3g} {name}"
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits are enough
    return f"{number}{'' if unit.startswith('/') else ' '}{unit}".rstrip()
