"""Rows 1 and 2: one create, from the order to the first answer; cold, and from a warm pool."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from typing import Any, cast

import ray
from harness.estimates import quantile, ratio_of_quantiles
from harness.rounds import interleave
from harness.rows import Row, at_most, ratio_row
from harness.sides import CPU, Ours, Raw, Side
from harness.subject import Part, Stage, main
from harness.waiting import wait_until

COLD = "create one agent, cold, to its first answer"
WARM = "create one agent from a warm pool, to its first answer"
RIVAL = "raw detached actor, cold"
RIVAL_WITH_ENV = "raw detached actor with a `runtime_env` of one variable, cold"
_KEPT_WARM = 2
_WARM_POOL = "warm"
_WARM_S = 60.0
_NOTE = "before each create, on both sides, no worker process of the cluster is idle"
_CAUSE = "shown, not judged: what a raw create takes that goes the same way through Ray as an agent's"


def cold(stage: Stage) -> list[Row]:
    ours, raw, with_env = Ours("bench-cold"), Raw(), Raw({"env_vars": {"BENCH": "1"}})
    taken = interleave(
        "cold create",
        {
            "ours": lambda number: _first_answer(stage, ours, f"cold-{number}"),
            "raw": lambda number: _first_answer(stage, raw, f"cold-{number}"),
            "with_env": lambda number: _first_answer(stage, with_env, f"env-{number}"),
        },
        rounds=stage.rounds(30),
    )
    ours.scheduler.stop(force=True)
    pairs = list(zip(taken["ours"], taken["raw"], strict=True))
    alike = list(zip(taken["ours"], taken["with_env"], strict=True))
    return [
        ratio_row(1, f"{COLD}, p50", pairs, unit="s", rival=RIVAL, target=at_most(1.03), note=_NOTE),
        ratio_row(
            1,
            f"{COLD}, p95",
            pairs,
            unit="s",
            rival=RIVAL,
            target=at_most(1.08),
            statistic=ratio_of_quantiles(0.95),
            shows=_p95,
            note=_NOTE,
        ),
        ratio_row(1, f"{COLD}, p50", alike, unit="s", rival=RIVAL_WITH_ENV, target=None, note=_CAUSE),
    ]


def warm(stage: Stage) -> list[Row]:
    """Each round makes a warm pool and drops it: with its workers there, the rival's create would not be seen cold."""
    ours, raw = Ours("bench-warm"), Raw()
    if "warm_agents" not in inspect.signature(ours.scheduler.create_pool).parameters:
        raise NotImplementedError("this version has no warm pools (create_pool takes no warm_agents)")
    taken = interleave(
        "warm create",
        {
            "ours": lambda number: _warm_answer(ours, f"warm-{number}"),
            "raw": lambda number: _first_answer(stage, raw, f"warm-{number}"),
        },
        rounds=stage.rounds(10),
    )
    ours.scheduler.stop(force=True)
    pairs = list(zip(taken["ours"], taken["raw"], strict=True))
    note = f"a pool that keeps {_KEPT_WARM} workers warm; the rival finds no idle worker"
    return [ratio_row(2, WARM, pairs, unit="s", rival=RIVAL, target=at_most(0.20), note=note)]


def _first_answer(stage: Stage, side: Side, name: str) -> float:
    stage.cluster.await_no_spare_worker()
    began = time.perf_counter()
    (handle,) = side.create([name])
    ray.get(handle.ping.remote())
    took = time.perf_counter() - began
    side.end([name])
    return took


def _warm_answer(ours: Ours, name: str) -> float:
    scheduler: Any = ours.scheduler
    scheduler.create_pool(_WARM_POOL, resources={"cpu": 10 * CPU}, warm_agents=_KEPT_WARM)
    wait_until(
        "the pool is warm",
        lambda: cast("dict[str, Any]", scheduler.get_pool(_WARM_POOL)["pool"])["warm_ready"] >= _KEPT_WARM,
        timeout_s=_WARM_S,
    )
    began = time.perf_counter()
    handle = ours.create_in(_WARM_POOL, name)
    ray.get(handle.ping.remote())
    took = time.perf_counter() - began
    ours.end([name])
    scheduler.delete_pool(_WARM_POOL)
    return took


def _p95(values: Sequence[float]) -> float:
    return quantile(values, 0.95)


PARTS = (Part(1, COLD, cold), Part(2, WARM, warm))

if __name__ == "__main__":
    main(*PARTS)
