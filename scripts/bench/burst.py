"""Rows 3 and 4: many creates at once, until every one has answered."""

from __future__ import annotations

import contextlib
import time

import ray
from harness.rounds import interleave
from harness.rows import Row, at_least, ratio_row
from harness.serving import Serving
from harness.sides import Ours, Raw, Side
from harness.subject import Part, Stage, main

BURST = "burst of creates through `create_agents`"
AGENTS = 32
_SERVE_S = 300.0


def against_raw(stage: Stage) -> list[Row]:
    ours, raw = Ours("bench-burst"), Raw()
    agents = stage.size(AGENTS, 2)
    rates = interleave(
        f"burst of {agents}",
        {
            "ours": lambda number: burst(stage, ours, agents, f"burst-{number}"),
            "raw": lambda number: burst(stage, raw, agents, f"burst-{number}"),
        },
        rounds=stage.rounds(10),
        warmups=stage.size(1, 0),
    )
    ours.scheduler.stop(force=True)
    pairs = list(zip(rates["ours"], rates["raw"], strict=True))
    rival = "loop of raw creates, awaited together"
    return [ratio_row(3, _subject(agents), pairs, unit="/s", rival=rival, target=at_least(0.97))]


def against_serve(stage: Stage) -> list[Row]:
    agents = stage.size(AGENTS, 2)
    with contextlib.closing(Serving()) as serving:
        serving.order("mesh")
        serving.order("serve")
        rates = interleave(
            f"burst of {agents}, and Serve",
            {
                "ours": lambda number: agents / float(serving.order("burst", agents=agents, name=f"burst-{number}")),
                "serve": lambda _: agents / float(serving.order("deploy", replicas=agents, timeout_s=_SERVE_S)),
            },
            rounds=stage.rounds(10),
            warmups=stage.size(1, 0),
        )
    pairs = list(zip(rates["ours"], rates["serve"], strict=True))
    rival = f"Ray Serve, {agents} replicas to healthy"
    return [ratio_row(4, _subject(agents), pairs, unit="/s", rival=rival, target=at_least(2.0))]


def burst(stage: Stage, side: Side, agents: int, name: str) -> float:
    """Creates a second."""
    stage.cluster.await_no_spare_worker()
    names = [f"{name}-{number}" for number in range(agents)]
    began = time.perf_counter()
    handles = side.create(names)
    ray.get([handle.ping.remote() for handle in handles])
    took = time.perf_counter() - began
    side.end(names)
    return agents / took


def _subject(agents: int) -> str:
    return f"burst of {agents} creates through `create_agents`, until all answer"


PARTS = (Part(3, BURST, against_raw), Part(4, f"{BURST}, and Serve", against_serve))

if __name__ == "__main__":
    main(*PARTS)
