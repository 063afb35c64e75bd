"""Odd values: what a caller may pass by mistake or out of malice, as hypothesis draws it."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Odd:
    """A value and what to call it in a report: the repr of a hostile one raises, or never ends."""

    words: str
    make: Callable[[], Any]

    def __repr__(self) -> str:
        return self.words


class HostileError(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("the error's own text raises")

    __repr__ = __str__


def _raise(*_: object, **__: object) -> Any:
    raise HostileError


_METHODS = [
    "__repr__",
    "__str__",
    "__eq__",
    "__ne__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__hash__",
    "__bool__",
    "__len__",
    "__iter__",
    "__contains__",
    "__getitem__",
    "__int__",
    "__float__",
    "__index__",
    "__abs__",
    "__format__",
    "__reduce_ex__",
    "__reduce__",
    "__getstate__",
    "__call__",
]
_BODY: dict[str, Any] = dict.fromkeys(_METHODS, _raise)
_TEXT_METHODS: dict[str, Any] = {**_BODY, **dict.fromkeys(("strip", "encode", "replace", "split"), _raise)}

Hostile = type("Hostile", (), _BODY)
HostileText = type("HostileText", (str,), _TEXT_METHODS)
HostileWhole = type("HostileWhole", (int,), _BODY)
HostileReal = type("HostileReal", (float,), _BODY)
HostileDict = type("HostileDict", (dict,), {**_BODY, "items": _raise, "keys": _raise})
HostileList = type("HostileList", (list,), _BODY)
HostileMeta = type("HostileMeta", (type,), {"__repr__": _raise, "__instancecheck__": _raise, "__hash__": _raise})
HasNoClass = type("HasNoClass", (), {"__class__": property(_raise), "__getattr__": _raise})
SaysYes = type("SaysYes", (), {"__getattr__": lambda self, _: self, "__call__": lambda self, *_, **__: self})


class Shifting(Mapping[str, Any]):
    """Holds something else each time one looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __getitem__(self, key: str) -> Any:
        self.looks += 1
        return ["x", 1, float("nan"), None][self.looks % 4]

    def __iter__(self) -> Iterator[str]:
        self.looks += 1
        return iter(["cpu", "a\nb", "memory", "gpu"][: self.looks % 5])

    def __len__(self) -> int:
        return 0


class Texts(str, enum.Enum):
    """Text that is an enum."""

    ONE = "one"


class EvilReduce:
    """Pickles, and raises where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def nested(depth: int, *, as_dict: bool = False) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = {"a": value} if as_dict else [value]
    return value


def _itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


SPECIAL: dict[str, Callable[[], Any]] = {
    "10**400": lambda: 10**400,
    "-10**5000": lambda: -(10**5000),
    "2**63": lambda: 2**63,
    "2**64": lambda: 2**64,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "5e-324": lambda: 5e-324,
    "a complex number": lambda: 1j,
    "a decimal": lambda: decimal.Decimal("NaN"),
    "a fraction": lambda: fractions.Fraction(1, 3),
    "a lone surrogate": lambda: "\ud800",
    "surrogates inside": lambda: "a\udfffb",
    "a null character": lambda: "a\x00b",
    "control characters": lambda: "\x1b[31m\r\n\x7f\x85\u2028",
    "text that runs backwards": lambda: "\u202eabc",
    "nothing to see": lambda: "\u200b",
    "combining characters": lambda: "e" + "\u0301" * 300,
    "a slash": lambda: "../../etc/passwd",
    "50,000 characters": lambda: "x" * 50_000,
    "5,000,000 characters": lambda: "语" * 5_000_000,
    "bytes": lambda: b"\xff\xfe",
    "a bytearray": lambda: bytearray(b"x"),
    "a memoryview": lambda: memoryview(b"x"),
    "a set": lambda: {1, "a"},
    "a frozenset": frozenset,
    "a generator": lambda: (one for one in "ab"),
    "a range": lambda: range(10**9),
    "a lambda": lambda: lambda: None,
    "a module": lambda: enum,
    "a lock": threading.Lock,
    "a date": lambda: dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
    "ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "an exception": lambda: ValueError("x"),
    "a type": lambda: int,
    "an enum that is text": lambda: Texts.ONE,
    "an empty class": lambda: type("Empty", (), {}),
    "a class of a hostile metaclass": lambda: HostileMeta("Evil", (), {"__module__": 7}),
    "a class of a hostile module": lambda: type("Odd", (), {"__module__": Hostile(), "__init__": lambda *_: None}),
    "a class whose constructor is a number": lambda: type("NoInit", (), {"__init__": 7}),
    "a class with a surrogate in its name": lambda: type("Odd", (), {"__qualname__": "\ud800", "__init__": _raise}),
    "a class with an endless name": lambda: type("X" * 100_000, (), {"__init__": lambda *_: None}),
    "hostile": Hostile,
    "hostile text": lambda: HostileText("one"),
    "a hostile whole number": lambda: HostileWhole(1),
    "a hostile number": lambda: HostileReal(1.0),
    "a hostile dict": lambda: HostileDict({"cpu": 1}),
    "a hostile list": lambda: HostileList(["x"]),
    "a hostile error": HostileError,
    "an object without a class": HasNoClass,
    "an object that has every attribute": SaysYes,
    "a mapping that shifts": Shifting,
    "a mapping proxy": lambda: types.MappingProxyType({"cpu": 1}),
    "a chain map": lambda: collections.ChainMap({"cpu": 1}, {"a": "b"}),
    "a user dict": lambda: collections.UserDict({"cpu": "1"}),
    "an ordered dict": lambda: collections.OrderedDict(cpu=float("nan")),
    "a user string": lambda: collections.UserString("one"),
    "a named tuple": Path().stat,
    "what raises when unpickled": EvilReduce,
    "a list in itself": _itself,
    "200 lists": lambda: nested(200),
    "20,000 lists": lambda: nested(20_000),
    "20,000 dicts": lambda: nested(20_000, as_dict=True),
    "1,000 labels": lambda: {f"k{number}": "v" for number in range(1000)},
    "65 kinds": lambda: {f"k{number}": 1 for number in range(65)},
    "a label of 50,000 characters": lambda: {"a": "x" * 50_000},
    "a key of 50,000 characters": lambda: {"x" * 50_000: "a"},
    "a key of bytes": lambda: {b"x": 1},
    "a key that is a tuple": lambda: {(1, 2): "x"},
    "a hostile value": lambda: {"cpu": Hostile(), "max_restarts": Hostile()},
    "an opaque value of nobody's": lambda: {"scheduling_strategy": {"$pickled": b"x", "text": "x"}},
    "unpicklable options": lambda: {"runtime_env": {"env_vars": {"A": "x" * 300_000}}},
}

special = st.sampled_from(sorted(SPECIAL)).map(lambda name: Odd(name, SPECIAL[name]))
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.text(st.characters(min_codepoint=0, max_codepoint=0x2FF), min_size=1, max_size=3)
).map(lambda value: Odd(repr(value), lambda: value))
keys = st.sampled_from(["cpu", "memory", "gpu", "a", "", "max_restarts", "runtime_env", "name", 7, None, b"k", "é/x"])


def _listed(inside: list[Odd]) -> Odd:
    return Odd(repr(inside), lambda: [one.make() for one in inside])


def _mapped(inside: dict[Any, Odd]) -> Odd:
    return Odd(repr(inside), lambda: {key: one.make() for key, one in inside.items()})


def _around(inner: st.SearchStrategy[Odd]) -> st.SearchStrategy[Odd]:
    return st.lists(inner, max_size=3).map(_listed) | st.dictionaries(keys, inner, max_size=3).map(_mapped)


odd_values: st.SearchStrategy[Odd] = special | st.recursive(plain | special, _around, max_leaves=4)
"""Any of them, alone or in lists and dicts."""


def just(value: Any) -> st.SearchStrategy[Odd]:
    return st.just(Odd(repr(value), lambda: value))
