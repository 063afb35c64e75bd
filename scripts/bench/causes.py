"""Where the time goes in the rows that miss their targets: profiles, printed as tables. No ratio is judged here.

    python scripts/bench/causes.py                  # all
    python scripts/bench/causes.py durable lookup   # some: burst, warm, lookup, durable, core, stall

Stacks are py-spy's, which has to be allowed to look into processes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import click
import ray
from burst import burst
from core import SteadyMesh
from harness.children import clean_up_on_termination, run
from harness.cluster import FOLDER, Cluster
from harness.probes import Bare
from harness.processes import spare_workers
from harness.records import POOL, StubMesh, encoded
from harness.sides import Ours, Raw, Side
from harness.spending import Spending
from harness.spy import Spy, shares
from harness.subject import NAMESPACE, Stage
from harness.waiting import wait_until

from schedulemesh.core.messages import CreateAgents

_WATCHED_S = 20.0
_ROUNDS, _BURST, _WARM = 4, 16, 6
_STALLS, _STALL_S = 5, 35
_DECIDES = (
    *("mesh", "books", "lifecycle", "agents", "pools", "admission", "ledger", "transitions", "views", "kits"),
    *("deadlines", "roll", "effects", "events", "agent", "warm_pools"),
)
_CHECKS = ("names", "amounts", "options", "errors", "states", "brief", "infos")
_SUPERVISOR = {
    "decode and encode requests, replies and records": ("core/messages.py", "core/records.py", "supervisor/door.py"),
    "the store: writes and reads handed to Ray": ("supervisor/store.py", "harness/stub.py"),
    "the core decides": tuple(f"supervisor/{name}.py" for name in _DECIDES)
    + tuple(f"core/{name}.py" for name in _CHECKS),
    "the shell: queue, waiting, group writes": (
        "supervisor/runner.py",
        "supervisor/groups.py",
        "supervisor/service.py",
    ),
    "log lines": ("structlog/",),
    "the event loop": ("asyncio/", "(selectors.py"),
    "Ray: taking calls, sending answers": ("ray/",),
    "native code on a thread of its own: Ray's, which has no frames of Python": ("Thread.run (threading.py",),
}
_WORKER = {
    "imports for the first argument a process gets (Ray: pydantic)": ("pydantic", "serialization_addons"),
    "imports of schedulemesh": ("schedulemesh/",),
    "unpickling the class and arguments, other imports": ("<frozen importlib", "cloudpickle", "serialization.py"),
    "Ray: joining the job, fetching the class, running the constructor": ("ray/",),
}


def burst_of_creates(stage: Stage) -> None:
    """Processor seconds of one create, in bursts, by kind of process."""
    sides: dict[str, Side] = {"an agent": Ours("causes"), "a raw actor": Raw()}
    for name, side in sides.items():
        burst(stage, side, _BURST, "warm-up")
        spending = Spending()
        for number in range(_ROUNDS):
            burst(stage, side, _BURST, f"causes-{number}")
        spent = spending.seconds()
        _print(
            f"burst of {_BURST}: processor seconds of {name}",
            {kind: f"{seconds / _ROUNDS / _BURST:.3f}" for kind, seconds in spent.items()},
        )
    cast("Ours", sides["an agent"]).scheduler.stop(force=True)


def warm_create(stage: Stage) -> None:
    """The process that an agent of a warm pool gets, until it has answered."""
    scheduler: Any = (ours := Ours("causes-warm")).scheduler
    scheduler.create_pool("warm", resources={"cpu": 0.1}, warm_agents=1)
    stacks: dict[tuple[str, ...], int] = {}
    for number in range(_WARM):
        wait_until("the pool is warm", lambda: scheduler.get_pool("warm")["pool"]["warm_ready"] >= 1)
        (pid,) = spare_workers(stage.cluster.folder)
        spy = Spy(pid, rate=1000)
        time.sleep(1)
        ray.get(ours.create_in("warm", f"warm-{number}").ping.remote())
        for frames, count in spy.seen().items():
            stacks[frames] = stacks.get(frames, 0) + count
        ours.end([f"warm-{number}"])
    scheduler.stop(force=True)
    _print(
        f"warm create: the agent's process, {sum(stacks.values()) / _WARM:.0f} ms of Python", _percent(stacks, _WORKER)
    )


def look_up(_: Stage) -> None:
    mesh = StubMesh("causes-lookup", 10_000)
    _watch(mesh, "`get_pool`, one after another: the supervisor's process", lambda: mesh.scheduler.get_pool(POOL))


def durable(_: Stage) -> None:
    mesh = StubMesh("causes-durable", 0)
    _watch(
        mesh,
        "durable creates, in batches of 64: the supervisor's process",
        lambda: ray.get(mesh.handle.call.remote(encoded(CreateAgents(mesh.bodies(64))))),
    )


def stall(_: Stage) -> None:
    """The worst stalls of an idle supervisor: how much of each was work, and how much was waiting."""
    mesh = StubMesh("causes-stall", 10_000)
    remote: Any = ray.remote
    bare = remote(Bare).options(num_cpus=0, max_concurrency=100_000).remote()
    ray.get(bare.ping.remote())
    for what, handle in (("a supervisor with 10,000 records", mesh.handle), ("a no-op actor", bare)):
        worst = [ray.get(handle.worst_stall.remote(_STALL_S)) for _ in range(_STALLS)]
        _print(
            f"worst stall of {what}, in each of {_STALLS} windows of {_STALL_S} s",
            {
                f"window {number}": f"{1000 * late:.1f} ms late, {1000 * worked:.1f} ms of it work"
                for number, (late, worked) in enumerate(worst, 1)
            },
        )
    mesh.end()


def core(_: Stage) -> None:
    """The core alone, in a process of its own."""
    code = f"import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}; import causes; causes.decide()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # noqa: S603
        if child.stdout is None or child.stdin is None or not child.stdout.readline():
            raise RuntimeError("the core did not begin")
        spy = Spy(child.pid)
        time.sleep(_WATCHED_S)
        stacks = spy.seen()
        child.kill()
    parts = {f"{name}.py": (f"supervisor/{name}.py",) for name in _DECIDES}
    parts |= {f"core/{name}.py": (f"core/{name}.py",) for name in (*_CHECKS, "records", "messages")}
    decided = {frames: count for frames, count in stacks.items() if any("step (" in frame for frame in frames)}
    _print("decisions: the core alone, with 10,000 agents", _percent(decided, parts))


def decide() -> None:
    """What the process runs that `core` looks at."""
    steady = SteadyMesh(10_000)
    print("begun", flush=True)
    while True:
        for event in steady.events(500):
            steady.step(event)


CAUSES: dict[str, Callable[[Stage], None]] = {
    "burst": burst_of_creates,
    "warm": warm_create,
    "lookup": look_up,
    "durable": durable,
    "core": core,
    "stall": stall,
}


def _watch(mesh: StubMesh, what: str, ask: Callable[[], object]) -> None:
    ask()
    spy = Spy(mesh.pid)
    asked, until = 0, time.monotonic() + _WATCHED_S
    while time.monotonic() < until:
        ask()
        asked += 1
    stacks = spy.seen()
    mesh.end()
    _print(f"{what} ({asked / _WATCHED_S:,.0f} a second while watched)", _percent(stacks, _SUPERVISOR))


def _percent(stacks: dict[tuple[str, ...], int], parts: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {part: f"{share:.0%}" for part, share in shares(stacks, parts).items()}


def _print(what: str, table: Mapping[str, str]) -> None:
    print(f"\n**{what}**\n\n| part | |\n|---|---|")
    for part, value in table.items():
        print(f"| {part} | {value} |", flush=True)


@click.command()
@click.argument("causes", nargs=-1, type=click.Choice(sorted(CAUSES)))
def main(causes: tuple[str, ...]) -> None:
    clean_up_on_termination()
    if FOLDER not in os.environ:
        with contextlib.closing(Cluster.start()) as cluster:
            sys.exit(run([sys.executable, *sys.argv], cluster.env))
    ray.init(namespace=NAMESPACE, log_to_driver=False)
    stage = Stage(Cluster.joined(), quick=False)
    for name in causes or CAUSES:
        CAUSES[name](stage)


if __name__ == "__main__":
    main()
