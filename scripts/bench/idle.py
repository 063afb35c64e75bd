"""Row 13: what a supervisor with 10,000 records costs while nobody asks anything, next to a no-op actor."""

from __future__ import annotations

import time
from typing import Any

import ray
from harness.estimates import mean
from harness.probes import Bare
from harness.processes import cpu_seconds, own_bytes
from harness.records import NOTE, StubMesh
from harness.rounds import interleave
from harness.rows import Row, at_most, ratio_row, shown, value_row
from harness.subject import Part, Stage, main

SUBJECT = "idle cost"
_STEPS = 10
_KIB = 1024


def idle(stage: Stage) -> list[Row]:
    records = stage.size(10_000, 1000)
    remote: Any = ray.remote
    bare = remote(Bare).options(num_cpus=0, max_concurrency=100_000).remote()
    ray.get(bare.ping.remote())
    mesh = StubMesh("bench-idle", 0)
    mesh.fill(stage.size(500, 50))  # what is loaded and allocated once is not a record's
    grown = _growth(mesh, records // _STEPS)
    cpu = _cpu(mesh.pid, ray.get(bare.pid.remote()), windows=stage.rounds(10), seconds=stage.size(10, 2))
    # The probe that measures stalls keeps the loop awake, so it runs apart.
    stalls = interleave(
        "worst stall",
        {
            "ours": lambda _: float(ray.get(mesh.handle.worst_stall.remote(stage.size(35, 1)))[0]),
            "bare": lambda _: float(ray.get(bare.worst_stall.remote(stage.size(35, 1)))[0]),
        },
        rounds=stage.size(5, 2),
        warmups=0,
    )
    mesh.end()
    what = f"{SUBJECT} with {records:,} records"
    return [
        ratio_row(13, f"{what}, CPU", cpu, unit="s/s", rival="no-op actor", target=at_most(1.1), note=NOTE),
        value_row(
            13,
            f"{what}, worst event-loop stall",
            stalls["ours"],
            unit="s",
            target=at_most(0.01),
            statistic=max,
            rival=f"no-op actor: {shown(max(stalls['bare']), 's')}",
            note=f"{NOTE}; the stub hands the whole table over as often as the real watcher, but does not read it",
        ),
        value_row(13, "memory a record", grown, unit="B", target=at_most(4 * _KIB), statistic=mean, note=NOTE),
    ]


def _growth(mesh: StubMesh, step: int) -> list[float]:
    """Bytes a record, in ten steps."""
    grown = []
    before = own_bytes(mesh.pid)
    for _ in range(_STEPS):
        mesh.fill(mesh.records + step)
        after = own_bytes(mesh.pid)
        grown.append(max(0.0, float(after - before) / step))
        before = after
    return grown


def _cpu(ours: int, bare: int, *, windows: int, seconds: int) -> list[tuple[float, float]]:
    """The share of a core that each ran, both in the same windows of time."""

    def window(_: int) -> tuple[float, float]:
        before = cpu_seconds(ours), cpu_seconds(bare)
        time.sleep(seconds)
        return (cpu_seconds(ours) - before[0]) / seconds, (cpu_seconds(bare) - before[1]) / seconds

    return interleave("idle CPU", {"both": window}, rounds=windows)["both"]


PARTS = (Part(13, SUBJECT, idle),)

if __name__ == "__main__":
    main(*PARTS, log_to_driver=False)
