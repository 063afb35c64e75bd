"""Row 14: the first create of a fresh driver, which also starts the driver's launcher; cold, and with idle workers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

from harness.processes import kill, spare_workers
from harness.rounds import interleave
from harness.rows import Row, at_most, ratio_row, value_row
from harness.sides import Ours
from harness.subject import Part, Stage, main
from harness.waiting import OverdueError

from schedulemesh.runtime.raylet import Raylet

SUBJECT = "first create of a fresh driver"
MESH = "bench-first"
DRIVER = Path(__file__).resolve().parent / "fresh_create.py"
IDLE = 4
"""Idle workers, as a node of four cpus keeps them."""
_KEEP_S = 3600
_DRIVER_S = 120.0
_IDLE_S = 60.0
_LOOK_S = 1.0
"""Between two looks; Ray starts as many at a time as it has cores, and drops the rest."""
_WITH_IDLE = f"{IDLE} idle workers are there before each create, on both sides"
_COLD = "no worker is idle before each create, on both sides; ours starts two processes, the launcher's and the agent's"


def first_create(stage: Stage) -> list[Row]:
    ours = Ours(MESH)
    taken = interleave(
        SUBJECT,
        {
            f"{side}, {workers}": lambda number, side=side, workers=workers: _fresh(stage, side, workers, number)
            for workers in ("idle", "cold")
            for side in ("ours", "raw")
        }
        | {"launcher": lambda number: _fresh(stage, "launcher", "idle", number)},
        rounds=stage.rounds(15),
    )
    ours.scheduler.stop(force=True)
    rows = []
    for workers, note, target in (("idle", _WITH_IDLE, at_most(1.3)), ("cold", _COLD, None)):
        rounds = list(zip(taken[f"ours, {workers}"], taken[f"raw, {workers}"], strict=True))
        for step, what, bound in (
            ("created", f"{SUBJECT}, to its first answer", target),
            ("whole", "`ray.init()`, `connect()` and the first create, to its first answer", None),
        ):
            pairs = [(one[step], other[step]) for one, other in rounds]
            rows.append(ratio_row(14, what, pairs, unit="s", rival="raw detached actor", target=bound, note=note))
    up = [times["created"] for times in taken["launcher"]]
    return [*rows, value_row(14, "a launcher, until it is up", up, unit="s", target=at_most(0.5), note=_WITH_IDLE)]


async def _keep_idle() -> None:
    """Return when so many workers that belong to no job are there."""
    raylet = await Raylet.of_this_node()
    until = time.monotonic() + _IDLE_S
    while len(idle := await raylet.idle()) < IDLE:
        if time.monotonic() > until:
            raise OverdueError(f"only {len(idle)} of {IDLE} workers are idle")
        await raylet.prestart(IDLE - len(idle), _KEEP_S)
        await asyncio.sleep(_LOOK_S)


def _fresh(stage: Stage, side: str, workers: str, number: int) -> dict[str, float]:
    if workers == "idle":
        asyncio.run(_keep_idle())
    else:
        for pid in spare_workers(stage.cluster.folder):
            kill(pid)
        stage.cluster.await_no_spare_worker()
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(DRIVER), side, f"{side}-{workers}-{number}"],
        env=stage.cluster.env,
        capture_output=True,
        text=True,
        timeout=_DRIVER_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"a fresh driver failed: {done.stderr[-1500:]}")
    times: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return times


PARTS = (Part(14, SUBJECT, first_create),)

if __name__ == "__main__":
    main(*PARTS)
