"""Crash tests need no Ray, and no log lines: a failing schedule tells its own story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import ray
import structlog

from schedulemesh.supervisor import runner

if TYPE_CHECKING:
    from collections.abc import Iterator

CRITICAL = 50


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", _forbidden)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading of the table comes in several parts even here, where there are few actors."""
    monkeypatch.setattr(runner, "AT_ONCE", 2)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    yield
    structlog.reset_defaults()


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("a crash test started Ray")
