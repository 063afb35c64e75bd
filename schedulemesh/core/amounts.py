"""Amounts of resources: whole ten-thousandths of each kind, compared and added without float drift.

Decides what a valid amount is and how amounts add up. Knows nothing of pools or agents. The grain of
1/10000 is Ray's own (`FixedPoint` in Ray's scheduler), so what is booked is what Ray books.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from schedulemesh.core.brief import brief
from schedulemesh.core.errors import InvalidRequestError, exact
from schedulemesh.core.names import check_name

GRAIN = 10_000
"""Units per whole: one cpu is 10,000 units."""

BASE_KINDS = ("cpu", "memory", "gpu")
_NONE_OF_THE_BASE_KINDS = dict.fromkeys(BASE_KINDS, 0.0)
MB = 1024 * 1024
MAX_AMOUNT = 1_000_000_000
"""Upper bound of one amount (a petabyte, in MB): keeps every sum inside 64 bits on the wire."""
MAX_KINDS = 64

_MISNAMED = {
    "num_cpus": "cpu",
    "cpus": "cpu",
    "CPU": "cpu",
    "num_gpus": "gpu",
    "gpus": "gpu",
    "GPU": "gpu",
    "mem": "memory",
    "ram": "memory",
    "memory_mb": "memory",
    "Memory": "memory",
}


class Amounts(msgspec.Struct, frozen=True, gc=False):
    """An immutable bundle of amounts. A kind that is not named is zero; zeros are not stored.

    `gc=False`: numbers cannot lead back to it, so the garbage collector need not look.
    """

    units: dict[str, int] = {}

    @classmethod
    def parse(cls, given: Mapping[str, Any], what: str, *, called: Mapping[str, str] | None = None) -> Amounts:
        """Read `{"cpu": cores, "memory": MB, "gpu": n, <custom>: n}`.

        `what` names it in the error, and `called` a kind that the user wrote by another name.

        Raises InvalidRequestError for negatives, NaN, infinities, booleans, strings, misnamed kinds and
        anything finer than 1/10000.
        """
        if not isinstance(given, (dict, Mapping)):  # the dict first: to ask an abstract class takes longer
            raise InvalidRequestError(
                field=what, problem=f"must be a dict like {{'cpu': 1, 'memory': 512}}, not {type(given).__name__}"
            )
        if len(given) > MAX_KINDS:
            raise InvalidRequestError(field=what, problem=f"names {len(given)} kinds, the limit is {MAX_KINDS}")
        units: dict[str, int] = {}
        for kind, amount in given.items():
            if type(kind) is not str or kind not in BASE_KINDS:
                _check_kind(kind, what)
            whole = _whole_units(amount)
            if whole is None:
                whole = _to_units(amount, f"{what}[{(called or {}).get(kind, kind)!r}]")
            if whole:
                units[kind] = whole
        return cls(units)

    def __getitem__(self, kind: str) -> int:
        return self.units.get(kind, 0)

    def __bool__(self) -> bool:
        return bool(self.units)

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(_sum(self.units, other.units, 1))

    def minus(self, other: Amounts) -> Amounts:
        """May go below zero: a pool that was shrunk by force owes until agents end."""
        return Amounts(_sum(self.units, other.units, -1))

    def times(self, count: int) -> Amounts:
        return Amounts({kind: value * count for kind, value in self.units.items() if count})

    def less(self, fraction: float) -> Amounts:
        """What is left when `fraction` (0..1) of each kind is set aside, rounded down to a whole unit."""
        kept = GRAIN - round(fraction * GRAIN)
        return Amounts({kind: left for kind, value in self.units.items() if (left := value * kept // GRAIN)})

    def overlaid(self, top: Amounts, kinds: Collection[str]) -> Amounts:
        """These amounts with the named kinds taken from `top` instead (a kind may be set to zero)."""
        if not kinds:
            return self
        if not self.units and top.units.keys() == set(kinds):
            return top
        merged = dict(self.units)
        for kind in kinds:
            value = top.units.get(kind, 0)
            if value:
                merged[kind] = value
            else:
                merged.pop(kind, None)
        return Amounts(merged)

    def short_of(self, room: Amounts) -> tuple[str, ...]:
        """The kinds of which `room` has too little to hold these amounts; empty when they fit."""
        has = room.units
        return tuple([kind for kind, value in self.units.items() if value > has.get(kind, 0)])

    def fits_in(self, room: Amounts) -> bool:
        has = room.units
        for kind, value in self.units.items():  # noqa: SIM110 - a loop takes half as long as all() of a generator
            if value > has.get(kind, 0):
                return False
        return True

    def as_dict(self, *also: Amounts) -> dict[str, float]:
        """Plain numbers for a reply: always cpu, memory (MB) and gpu, and every kind in play here or in `also`."""
        plain = _NONE_OF_THE_BASE_KINDS.copy()
        for kind, value in self.units.items():
            plain[kind] = value / GRAIN
        for other in also:
            for kind in other.units:
                plain.setdefault(kind, 0.0)
        return plain

    def as_ray_options(self) -> dict[str, Any]:
        """The options that ask Ray for exactly these amounts; num_cpus always, or Ray would add 1 for placement."""
        options: dict[str, Any] = {"num_cpus": 0.0}
        for kind, value in self.units.items():
            if kind == "cpu":
                options["num_cpus"] = value / GRAIN
            elif kind == "gpu":
                options["num_gpus"] = value / GRAIN
            elif kind == "memory":
                options["memory"] = -(-value * MB // GRAIN)
            else:
                options.setdefault("resources", {})[kind] = value / GRAIN
        return options

    def __str__(self) -> str:
        return ", ".join([f"{kind}={exact(value)}" for kind, value in self.as_dict().items() if value]) or "nothing"


def memory_from_bytes(count: int) -> float:
    """Ray's `memory` option (bytes) in MB, rounded up to the grain, so that no byte is asked for unbooked."""
    return -(-count * GRAIN // MB) / GRAIN


def check_one_agent(amounts: Amounts, what: str) -> None:
    """Refuse what no single actor can have: Ray gives more than one GPU only as whole ones."""
    gpu = amounts["gpu"]
    if gpu > GRAIN and gpu % GRAIN:
        raise InvalidRequestError(
            field=f"{what}['gpu']", problem=f"is {exact(gpu / GRAIN)}; above 1 Ray gives only whole GPUs"
        )


def _sum(left: Mapping[str, int], right: Mapping[str, int], sign: int) -> dict[str, int]:
    total = dict(left)
    for kind, value in right.items():
        left_over = total.get(kind, 0) + sign * value
        if left_over:
            total[kind] = left_over
        else:
            total.pop(kind, None)
    return total


def _check_kind(kind: object, what: str) -> None:
    name = check_name(kind, f"a kind in {what}")
    hint = _MISNAMED.get(name)
    if hint is None and name not in BASE_KINDS and name.lower() in BASE_KINDS:
        hint = name.lower()
    if hint is not None:
        raise InvalidRequestError(field=what, problem=f"has {name!r}; write {hint!r} (cpu in cores, memory in MB)")
    if name == "object_store_memory":
        raise InvalidRequestError(field=what, problem="has 'object_store_memory'; it is a ray_options key")


def _whole_units(amount: object) -> int | None:
    """The units of a plain amount, as nearly all are; None for one that has to be looked at closely."""
    if type(amount) is float and 0 <= amount <= MAX_AMOUNT and (amount * GRAIN).is_integer():
        return int(amount * GRAIN)
    return None


def _to_units(amount: object, what: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, numbers.Real):
        raise InvalidRequestError(field=what, problem=f"must be a number, not {type(amount).__name__} {brief(amount)}")
    try:
        value = float(amount)
    except OverflowError:
        raise InvalidRequestError(field=what, problem=f"is too large, the limit is {MAX_AMOUNT:,}") from None
    if not math.isfinite(value):
        raise InvalidRequestError(field=what, problem=f"must be finite, not {value}")
    if value < 0:
        raise InvalidRequestError(field=what, problem=f"must not be negative, got {value:g}")
    if value > MAX_AMOUNT:
        raise InvalidRequestError(field=what, problem=f"is {value:g}, the limit is {MAX_AMOUNT:,}")
    scaled = value * GRAIN
    whole = round(scaled)
    # Room for the rounding of float arithmetic (0.1 + 0.2), not for a finer grain.
    if abs(scaled - whole) > max(1e-6, scaled * 2.0**-48) or (value and not whole):
        raise InvalidRequestError(field=what, problem=f"is {value!r}; the finest grain is 1/{GRAIN}")
    return whole
