"""Row 10: SIGKILL of an agent. When the mesh has seen it, and when the agent answers again."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import ray
from harness.processes import kill
from harness.rounds import interleave
from harness.rows import Row, at_most, ratio_row, value_row
from harness.serving import Serving
from harness.sides import Ours, Raw
from harness.subject import Part, Stage, main
from ray.exceptions import RayError

SUBJECT = "SIGKILL of an agent"
_BACK_S = 60.0


def crash(stage: Stage) -> list[Row]:
    ours, raw = Ours("bench-crash"), Raw()
    (agent,), (actor,) = ours.create(["crashed"]), raw.create(["crashed"])
    ray.get([agent.ping.remote(), actor.ping.remote()])
    seen = interleave(f"{SUBJECT}, seen", {"ours": lambda _: _seen(ours, agent)}, rounds=stage.rounds(20))["ours"]
    back = interleave(
        f"{SUBJECT}, answers again",
        {"ours": lambda _: _back(stage, agent), "raw": lambda _: _back(stage, actor)},
        rounds=stage.rounds(20),
    )
    ours.scheduler.stop(force=True)
    raw.end(["crashed"])
    pairs = list(zip(back["ours"], back["raw"], strict=True))
    note = "looked at with `get_agent` without a pause, so a look's own time is in it"
    return [
        value_row(10, f"{SUBJECT} → seen by the mesh, p50", seen, unit="s", target=at_most(0.05), note=note),
        ratio_row(
            10, f"{SUBJECT} → answers again", pairs, unit="s", rival="raw actor, restarted by Ray", target=at_most(1.05)
        ),
    ]


def crash_and_serve(stage: Stage) -> list[Row]:
    with contextlib.closing(Serving()) as serving:
        serving.order("mesh")
        serving.order("serve")
        serving.order("callees", ongoing=5)
        taken = interleave(
            f"{SUBJECT}, and of a Serve replica",
            {side: lambda _, side=side: float(serving.order("crash", side=side)) for side in ("ours", "serve")},  # type: ignore[misc]
            rounds=stage.rounds(10),
            warmups=stage.size(1, 0),
        )
    pairs = list(zip(taken["ours"], taken["serve"], strict=True))
    rival = "the only replica of a Serve deployment"
    return [ratio_row(10, f"{SUBJECT} → answers again", pairs, unit="s", rival=rival, target=at_most(0.25))]


def _seen(ours: Ours, agent: Any) -> float:
    before = ours.scheduler.get_agent("crashed")["agent"]["restarts"]
    kill(ray.get(agent.pid.remote()))
    began = time.perf_counter()
    while True:
        info = ours.scheduler.get_agent("crashed")["agent"]
        if info["state"] == "restarting" or info["restarts"] > before:
            break
    took = time.perf_counter() - began
    while ours.scheduler.get_agent("crashed")["agent"]["state"] != "running":
        pass
    return took


def _back(stage: Stage, handle: Any) -> float:
    stage.cluster.await_no_spare_worker()
    pid: int = ray.get(handle.pid.remote())
    kill(pid)
    began = time.perf_counter()
    while time.perf_counter() - began < _BACK_S:
        try:
            if ray.get(handle.pid.remote()) != pid:
                return time.perf_counter() - began
        except RayError:
            continue
    raise TimeoutError(f"it did not answer within {_BACK_S:g} s")


PARTS = (Part(10, SUBJECT, crash), Part(10, f"{SUBJECT}, and Serve", crash_and_serve))

if __name__ == "__main__":
    main(*PARTS)
