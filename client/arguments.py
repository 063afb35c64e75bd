"""Arguments: what a caller passed, as the plain values that requests hold, or an InvalidRequestError that names it.

An argument may be anything, with any code behind its methods. Whatever that code raises becomes such an error too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from schedulemesh.core import names
from schedulemesh.core.amounts import MAX_KINDS, Amounts
from schedulemesh.core.brief import brief
from schedulemesh.core.errors import InvalidRequestError, ScheduleMeshError
from schedulemesh.core.messages import MAX_BATCH, MAX_SECONDS

_MAX_WHOLE = 2**31
_MAX_ARGUMENTS = 100_000
"""More would not fit into what may be pickled; what is given may be a range, or endless."""
_LONG = 300

Value = TypeVar("Value")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Inside, whatever the argument's own code raises is an InvalidRequestError that names the argument."""
    try:
        yield
    except ScheduleMeshError:
        raise
    except Exception as error:
        raise InvalidRequestError(field=what, problem=f"cannot be read: {brief(error, _LONG)}") from error


def _reads(read: Callable[[Any, str], Value]) -> Callable[[Any, str], Value]:
    @functools.wraps(read)
    def guarded(given: Any, what: str) -> Value:
        with reading(what):
            return read(given, what)

    return guarded


check_name = _reads(names.check_name)
check_labels = _reads(names.check_labels)


@_reads
def amounts(given: Any, what: str) -> dict[str, float] | None:
    if given is None:
        return None
    plain = dict(_all(given.items(), what, MAX_KINDS)) if isinstance(given, Mapping) else given
    Amounts.parse(plain, what)
    return {str.__str__(kind): float(amount) for kind, amount in plain.items()}


@_reads
def whole(given: Any, what: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidRequestError(field=what, problem=f"must be a whole number, not {type(given).__name__}")
    if abs(given) >= _MAX_WHOLE:
        raise InvalidRequestError(field=what, problem="is out of range")
    return int(given)


@_reads
def seconds(given: Any, what: str) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise InvalidRequestError(field=what, problem=f"must be a number of seconds, not {type(given).__name__}")
    if not 0 <= given <= MAX_SECONDS:  # NaN is not either
        raise InvalidRequestError(field=what, problem=f"must be 0 to {MAX_SECONDS:,.0f}, got {brief(given)}")
    return float(given)


@_reads
def flag(given: Any, what: str) -> bool:
    if not isinstance(given, bool):
        raise InvalidRequestError(field=what, problem=f"must be True or False, not {type(given).__name__}")
    return given


@_reads
def sequence(given: Any, what: str) -> tuple[Any, ...]:
    return () if given is None else _sequence(given, what, _MAX_ARGUMENTS)


@_reads
def batch(given: Any, what: str) -> tuple[Any, ...]:
    return _sequence(given, what, MAX_BATCH)


@_reads
def keywords(given: Any, what: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidRequestError(field=what, problem=f"must be a dict, not {type(given).__name__}")
    plain = dict(_all(given.items(), what, _MAX_ARGUMENTS))
    if not all(isinstance(name, str) for name in plain):
        raise InvalidRequestError(field=what, problem="must be a dict with parameter names as keys")
    return plain


def _sequence(given: Any, what: str, most: int) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise InvalidRequestError(field=what, problem=f"must be a list or tuple, not {type(given).__name__}")
    return _all(given, what, most)


def _all(entries: Iterable[Any], what: str, most: int) -> tuple[Any, ...]:
    taken = tuple(islice(entries, most + 1))
    if len(taken) > most:
        raise InvalidRequestError(field=what, problem=f"has more than {most:,} entries, which is the limit")
    return taken
