"""The scheduler that an agent is given: it is one in every respect, and costs nothing until it is used."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from schedulemesh.client import scheduler as real
from schedulemesh.runtime.lazy_scheduler import LazyScheduler


class Real:
    """What the client would give."""

    made: list[tuple[str, str]]

    def __init__(self, mesh: str, namespace: str) -> None:
        self.made.append((mesh, namespace))

    def list_pools(self) -> str:
        return "all pools"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The schedulers that were made."""
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(Real, "made", calls, raising=False)
    monkeypatch.setattr(real, "scheduler_of", Real)
    return calls


def test_the_real_one_is_made_once_and_not_before_it_is_used(made: list[tuple[str, str]]) -> None:
    scheduler = LazyScheduler("mesh", "ns")
    assert repr(scheduler) == "Scheduler('mesh', namespace='ns')"
    assert made == []
    assert [scheduler.list_pools() for _ in range(2)] == ["all pools"] * 2
    assert made == [("mesh", "ns")]


def test_what_the_real_one_does_not_have_it_does_not_have(made: list[tuple[str, str]]) -> None:
    with pytest.raises(AttributeError, match="no_such_method"):
        _ = LazyScheduler("mesh", "ns").no_such_method


def test_it_is_of_the_real_ones_class(made: list[tuple[str, str]]) -> None:
    assert isinstance(LazyScheduler("mesh", "ns"), Real)


def test_it_goes_on_as_two_names_and_is_used_there(made: list[tuple[str, str]]) -> None:
    scheduler = LazyScheduler("mesh", "ns")
    scheduler.list_pools()
    sent = pickle.dumps(scheduler)
    assert len(sent) < 200
    assert pickle.loads(sent).list_pools() == "all pools"  # noqa: S301 - our own
    assert made == [("mesh", "ns")] * 2


def test_unpickling_it_imports_neither_the_client_nor_ray() -> None:
    sent = pickle.dumps(LazyScheduler("mesh", "ns"))
    code = (
        f"import pickle, sys; pickle.loads({sent!r}); "
        "print([name for name in sys.modules if name.startswith(('schedulemesh.client', 'ray', 'msgspec'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
