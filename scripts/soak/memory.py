"""The memory curve: agents by the ten thousand end, and the supervisor and its store stay as large as they were.

The agents are of classes that cannot be loaded: each is admitted, booked, written, launched in a real launcher, and
ends without a process of its own. Each has its own class, arguments and labels, and its own traceback as cause.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from own_cluster import own_cluster  # first: it says where the helpers are

import kvstore  # isort: skip
from odd_values import EvilReduce
from rich.console import Console
from rich.table import Table

import schedulemesh
from schedulemesh import AgentActor, AgentRequest, AgentStartError

MESH = "soak-memory"
POOL = "turnover"
BATCH = 250
SAMPLES = 30
RSS_GROWTH = 0.03
"""By how much of itself the supervisor's resident memory may grow over the last third of the agents."""
KEYS_GROWTH = 10
"""By how many keys its store may."""
_PAGE, _MB = 4096, 1024 * 1024
_BARS = "▁▂▃▄▅▆▇█"


class Sample(NamedTuple):
    ended: int
    seconds: float
    rss: int
    keys: int


def run(*, agents: int = 50_000, seconds: float | None = None) -> list[Sample]:
    """Have so many agents end, or as many as do in `seconds`. Prints the curve.

    Raises AssertionError if the last third of it grows more than RSS_GROWTH and KEYS_GROWTH.
    """
    with own_cluster():
        scheduler = schedulemesh.connect(MESH)
        scheduler.create_pool(POOL, resources={"cpu": 0.01}, target_agents=1000)
        pid = scheduler.status()["pid"]
        samples: list[Sample] = []
        ended, started = 0, time.monotonic()
        while ended < agents and (seconds is None or time.monotonic() - started < seconds):
            _end_some(scheduler, ended)
            ended += BATCH
            now = Sample(ended, time.monotonic() - started, _rss(pid), len(kvstore.keys_of(MESH)))
            samples.append(now)
            if not ended % 5000:
                print(
                    f"memory: {ended:,} ended, {now.rss / _MB:.1f} MB, {now.keys:,} keys, {now.seconds:.0f} s",
                    flush=True,
                )
        assert scheduler.status()["pid"] == pid, "the supervisor was started again"
        scheduler.stop(force=True)
        assert not kvstore.keys_of(MESH)
    _print(samples)
    _check(samples)
    return samples


def _end_some(scheduler: schedulemesh.Scheduler, first: int) -> None:
    requests = [
        AgentRequest(f"agent-{number}", POOL, _class(number), actor_args=[number], labels={"number": str(number)})
        for number in range(first, first + BATCH)
    ]
    replies = scheduler.create_agents(requests)
    assert all(isinstance(reply, AgentStartError) for reply in replies), [str(reply)[:300] for reply in replies[:3]]


def _class(number: int) -> Any:
    """A class that pickles, unlike any other, and cannot be loaded."""

    class Unloadable(AgentActor):
        bomb = EvilReduce()
        its_own = f"class {number}"

        def __init__(self, name: str, labels: dict[str, str], supervisor: Any, _: int) -> None:
            super().__init__(name, labels, supervisor)

    return Unloadable


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _check(samples: list[Sample]) -> None:
    third = samples[-max(2, len(samples) // 3) :]
    part = max(1, len(third) // 5)
    before, after = (sum(one.rss for one in some) / part for some in (third[:part], third[-part:]))
    assert after <= before * (1 + RSS_GROWTH), f"over the last third: {before / _MB:.1f} MB, then {after / _MB:.1f} MB"
    assert third[-1].keys <= third[0].keys + KEYS_GROWTH, f"{third[0].keys:,} keys, then {third[-1].keys:,}"


def _print(samples: list[Sample]) -> None:
    table = Table("ended agents", "seconds", "supervisor, MB", "keys", title="the memory curve")
    shown = samples[:: max(1, len(samples) // SAMPLES)]
    for one in [*shown, samples[-1]]:
        table.add_row(f"{one.ended:,}", f"{one.seconds:.0f}", f"{one.rss / _MB:.1f}", f"{one.keys:,}")
    Console().print(table)
    top = max(one.rss for one in samples)
    print("".join(_BARS[one.rss * (len(_BARS) - 1) // top] for one in shown), f"of {top / _MB:.1f} MB")
