"""Rows 5 and 6: calls to an agent, one at a time and 100 in flight, next to a raw handle and to Ray Serve's."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import ray
from harness.processes import is_alive
from harness.rounds import interleave
from harness.rows import Row, Target, at_most, count_row, ratio_row
from harness.serving import BEST, Serving
from harness.sides import Ours, Raw
from harness.subject import Part, Stage, main
from harness.task_counts import executed

RAW = "calls to an agent"
RAW_TO_RAW = "calls to other raw actors"
SERVE = "calls to an agent, and Serve"
IN_FLIGHT = 100
_ONGOING = 1000
_NOTE = (
    f"Serve's max_ongoing_requests is {_ONGOING}, as an agent's max_concurrency; at its own 5 it retries with pauses. "
    "On both sides the caller is one asyncio loop"
)
_NOISE = "shown, not judged: both sides are raw actors of one class, so this is what the measure itself is worth"
_PAIRS = 4
"""Two processes of one class are never equally fast; so several of each take turns."""


def against_raw(stage: Stage) -> list[Row]:
    ours, raw = Ours("bench-calls"), Raw()
    names, others = ([f"{kind}-{number}" for number in range(_PAIRS)] for kind in ("calls", "others"))
    agents, actors, more = ours.create(names), raw.create(names), raw.create(others)
    ray.get([handle.ping.remote() for handle in (*agents, *actors, *more)])
    supervisor = ours.scheduler.status()["pid"]
    counts = _counter_counts(ours, supervisor)
    before = executed(supervisor)
    rows = []
    for label, call, calls in (
        ("one at a time", one_at_a_time, stage.size(500, 100)),
        (f"{IN_FLIGHT} in flight", in_flight, stage.size(3000, 500)),
    ):
        rates = interleave(
            f"calls, {label}",
            {
                "ours": lambda number, call=call, calls=calls: call(agents[number % _PAIRS], calls),  # type: ignore[misc]
                "raw": lambda number, call=call, calls=calls: call(actors[number % _PAIRS], calls),  # type: ignore[misc]
                "more": lambda number, call=call, calls=calls: call(more[number % _PAIRS], calls),  # type: ignore[misc]
            },
            rounds=stage.rounds(40),
            warmups=_PAIRS,
        )
        pairs = list(zip(rates["ours"], rates["raw"], strict=True))
        rows.append(ratio_row(5, f"{RAW}, {label}", pairs, unit="/s", rival="raw handle", target=None))
        same = list(zip(rates["more"], rates["raw"], strict=True))
        rows.append(
            ratio_row(5, f"{RAW_TO_RAW}, {label}", same, unit="/s", rival="raw handle", target=None, note=_NOISE)
        )
    meanwhile = executed(supervisor) - before
    assert is_alive(supervisor)  # noqa: S101 - else its count would be of another process
    ours.scheduler.stop(force=True)
    raw.end([*names, *others])
    note = f"as Ray counts the calls that the supervisor's process executed; {counts} before, for 5 that were asked"
    rows.append(count_row(5, "calls that the supervisor got meanwhile", meanwhile, target=at_most(0), note=note))
    return rows


def against_serve(stage: Stage) -> list[Row]:
    return [*_serve_rows(stage, "default mode", {}), *_serve_rows(stage, "best mode", BEST)]


def _serve_rows(stage: Stage, mode: str, further: dict[str, str]) -> list[Row]:
    rows = []
    with contextlib.closing(Serving(further)) as serving:
        serving.order("mesh")
        serving.order("serve")
        serving.order("callees", ongoing=_ONGOING)
        cases: tuple[tuple[str, int, int, Target | None], ...] = (
            ("one at a time", 1, stage.size(300, 50), None),
            (f"{IN_FLIGHT} in flight", IN_FLIGHT, stage.size(2000, 300), None),
        )
        for label, flying, calls, target in cases:
            rates = interleave(
                f"calls, {label}, and Serve ({mode})",
                {
                    side: lambda _, side=side, flying=flying, calls=calls: (
                        calls  # type: ignore[misc]
                        / float(serving.order("calls", side=side, calls=calls, in_flight=flying))
                    )
                    for side in ("ours", "serve")
                },
                rounds=stage.rounds(10),
            )
            pairs = list(zip(rates["ours"], rates["serve"], strict=True))
            rival = f"Serve handle, {mode}"
            rows.append(ratio_row(6, f"{RAW}, {label}", pairs, unit="/s", rival=rival, target=target, note=_NOTE))
    return rows


def one_at_a_time(handle: Any, calls: int) -> float:
    """Calls a second."""
    began = time.perf_counter()
    for _ in range(calls):
        ray.get(handle.ping.remote())
    return calls / (time.perf_counter() - began)


def in_flight(handle: Any, calls: int) -> float:
    """Calls a second, in waves: what is least work for a caller, so that the callee is seen."""
    began = time.perf_counter()
    for _ in range(calls // IN_FLIGHT):
        ray.get([handle.ping.remote() for _ in range(IN_FLIGHT)])
    return calls // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - began)


def _counter_counts(ours: Ours, supervisor: int) -> int:
    """What Ray counts for five requests: whoever counts nothing at all would find zero as well."""
    before = executed(supervisor)
    for _ in range(5):
        ours.scheduler.list_pools()
    counted = executed(supervisor) - before
    if counted != 5:  # noqa: PLR2004 - as above
        raise RuntimeError(f"Ray counts {counted} calls of the supervisor where 5 were made")
    return counted


PARTS = (Part(5, RAW, against_raw), Part(6, SERVE, against_serve))

if __name__ == "__main__":
    main(*PARTS)
