"""Row 7: `get_pool` with few and with many agents in the books, next to a no-op call to a bare async actor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from harness.estimates import median, quantile
from harness.probes import Bare
from harness.records import NOTE, POOL, StubMesh
from harness.rounds import interleave
from harness.rows import Row, at_most, ratio_row
from harness.subject import Part, Stage, main

SUBJECT = "`get_pool`"
SIZES, QUICK_SIZES = (100, 10_000, 100_000), (100, 500, 2000)


def look_up(stage: Stage) -> list[Row]:
    sizes = QUICK_SIZES if stage.quick else SIZES
    remote: Any = ray.remote
    bare = remote(Bare).options(num_cpus=0, max_concurrency=100_000).remote()
    meshes = {size: StubMesh(f"bench-lookup-{size}", size) for size in sizes}
    calls = stage.size(400, 100)
    sides = {"no-op": _timed(lambda: ray.get(bare.ping.remote()), calls)}
    for size, mesh in meshes.items():
        sides[str(size)] = _timed(_get_pool(mesh), calls)
    taken = interleave(SUBJECT, sides, rounds=stage.rounds(30))
    rows = [
        ratio_row(
            7,
            f"{SUBJECT} with {size:,} agents in the books, p50",
            [(median(ours), median(bare)) for ours, bare in zip(taken[str(size)], taken["no-op"], strict=True)],
            unit="s",
            rival="no-op call to a bare async actor",
            target=at_most(1.15),
            note=NOTE,
        )
        for size in sizes
    ]
    few, many = str(sizes[0]), str(sizes[-1])
    tails = [(quantile(big, 0.99), quantile(small, 0.99)) for big, small in zip(taken[many], taken[few], strict=True)]
    rival = f"p99 with {sizes[0]:,}"
    subject = f"{SUBJECT} with {sizes[-1]:,} agents in the books, p99"
    for mesh in meshes.values():
        mesh.end()
    return [*rows, ratio_row(7, subject, tails, unit="s", rival=rival, target=at_most(1.3), note=NOTE)]


def _get_pool(mesh: StubMesh) -> Callable[[], object]:
    return lambda: mesh.scheduler.get_pool(POOL)


def _timed(call: Callable[[], object], calls: int) -> Callable[[int], list[float]]:
    def side(_: int) -> list[float]:
        taken = []
        for _ in range(calls):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        return taken

    return side


PARTS = (Part(7, SUBJECT, look_up),)

if __name__ == "__main__":
    main(*PARTS, log_to_driver=False)
