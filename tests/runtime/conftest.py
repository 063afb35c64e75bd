"""The rule that no unit test starts Ray."""

from __future__ import annotations

import pytest
import ray


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", _forbidden)


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("a unit test started Ray")
