"""The bench on which a mesh is tried, and the rule that no unit test starts Ray."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from mesh_driver import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray.init` fails here; where nothing has imported Ray yet, importing it does."""
    ray = sys.modules.get("ray")
    if ray is None:
        monkeypatch.setitem(sys.modules, "ray", None)
    else:
        monkeypatch.setattr(ray, "init", _forbidden)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A mesh on a cluster of two nodes: 24 cpus, 96,000 MB, 4 gpus and 2 fpgas; no pools yet."""
    bench = Bench()
    yield bench
    bench.mesh.check()


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("a unit test started Ray")
