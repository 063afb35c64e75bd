"""Row 8: a fresh driver finds what an earlier one left, one agent and a hundred, next to plain `ray.get_actor`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ray
from harness.rounds import interleave, say
from harness.rows import Row, at_most, ratio_row
from harness.sides import Ours
from harness.subject import Part, Stage, main

SUBJECT = "reconnect in a fresh driver"
MESH = "bench-reconnect"
DRIVER = Path(__file__).resolve().parent / "fresh_driver.py"
_DRIVER_S = 120.0
_NOTE = (
    "shown, not judged: `ray.get_actor` sends no argument, and what Ray loads for the first argument a process sends "
    "is half of this; without the mesh, the first call that has one pays it"
)
_AT_ONCE = 10


def reconnect(stage: Stage) -> list[Row]:
    ours = Ours(MESH)
    count = stage.size(100, 4)
    say(f"creating {count} agents")
    for first in range(0, count, _AT_ONCE):
        names = [f"agent-{number}" for number in range(first, min(count, first + _AT_ONCE))]
        ray.get([handle.ping.remote() for handle in ours.create(names)])
    sides = {side: lambda _, side=side: _fresh(stage, side, count) for side in ("ours", "raw")}
    taken = interleave(SUBJECT, sides, rounds=stage.rounds(30))
    ours.scheduler.stop(force=True)
    rounds = list(zip(taken["ours"], taken["raw"], strict=True))
    one = "`ray.get_actor`"
    return [
        ratio_row(
            8,
            f"{SUBJECT}: `ray.init()`, `connect()`, `get_agent`, to the agent's first answer",
            [(ours["init"] + ours["answered"], raw["init"] + raw["answered"]) for ours, raw in rounds],
            unit="s",
            rival=f"`ray.init()`, {one}, to the first answer",
            target=at_most(1.5),
        ),
        ratio_row(
            8,
            f"{SUBJECT}: `connect()` and `get_agent` alone",
            [(ours["found"], raw["found"]) for ours, raw in rounds],
            unit="s",
            rival=f"{one} alone",
            target=None,
            note=_NOTE,
        ),
        ratio_row(
            8,
            f"{count} agents in one `list_agents`, a name",
            [(ours["all"] / count, raw["all"] / count) for ours, raw in rounds],
            unit="s",
            rival=f"{count} × {one}",
            target=at_most(0.2),
        ),
    ]


def _fresh(stage: Stage, side: str, count: int) -> dict[str, float]:
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(DRIVER), side, str(count)],
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


PARTS = (Part(8, SUBJECT, reconnect),)

if __name__ == "__main__":
    main(*PARTS)
