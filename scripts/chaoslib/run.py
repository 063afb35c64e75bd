"""One chaos run: everything is started, harmed for a while, let come to rest, looked at, and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from chaoslib.cluster import MESH, Cluster, RunError
from chaoslib.drivers import Drivers
from chaoslib.history import Actor, Born, Left, Rest, Table, decode
from chaoslib.killer import Killer
from chaoslib.lookout import Lookout
from chaoslib.plan import Decision
from chaoslib.processes import Child, python, start_time
from chaoslib.recorder import Recorder

_FIRST_S = 120.0
_SETTLE_S = 400.0
_GONE_S = 60.0


def run(
    cluster: Cluster,
    recorder: Recorder,
    plan: Iterator[Decision],
    *,
    seed: int,
    minutes: float,
    over: threading.Event,
    say: Callable[[str], None],
) -> None:
    lookout = Lookout(cluster, recorder, over)
    drivers = Drivers(cluster, recorder, seed, over)
    drivers.start()
    if recorder.wait(Table, lambda table: any(a.role == "agent" and a.pid for a in table.actors), _FIRST_S) is None:
        raise RunError(f"no agent came up in {_FIRST_S:g} s; logs are in {cluster.folder}")
    say(f"first agent up; killing for {minutes:g} minutes")
    until = time.monotonic() + minutes * 60
    Killer(cluster, drivers, recorder, lambda seconds: _paused(over, seconds, until)).run(plan)
    say("drivers finish what they asked for")
    drivers.end()
    say("waiting until nothing moves; then the mesh is stopped")
    settle(cluster, recorder, lookout)


def _paused(over: threading.Event, seconds: float, until: float) -> bool:
    """Pause; whether it is over then."""
    left = until - time.monotonic()
    return over.wait(max(0.0, min(seconds, left))) or seconds >= left


def settle(cluster: Cluster, recorder: Recorder, lookout: Lookout) -> None:
    """Let the last driver look and stop the mesh, and note what Ray and the machine show at both moments."""
    answers: list[Rest | Left] = []
    told = threading.Condition()

    def line(one: bytes) -> None:
        entry = decode(one)
        if isinstance(entry, (Rest, Left)):
            with told:
                answers.append(entry)
                told.notify_all()

    log = cluster.folder / "settle.log"
    child = Child(
        python("driver/settle.py", MESH, str(cluster.journal)),
        env=cluster.env,
        folder=cluster.folder,
        log=log,
        line=line,
    )
    for asked in range(2):
        with told:
            if not told.wait_for(lambda: len(answers) > asked, _SETTLE_S):  # noqa: B023 - waited for in here
                raise RunError(f"the last driver gave no answer: {child.last_words()}")
            entry = answers[asked]
        if isinstance(entry, Rest):
            table = recorder.wait(Table, lambda table, at=entry.at: table.at > at, _GONE_S)  # type: ignore[misc]
            recorder.record(msgspec.structs.replace(entry, seen=table.actors if table else []))
            child.tell("stop")
        else:
            recorder.record(_left(entry, cluster, recorder, lookout))


def _left(left: Left, cluster: Cluster, recorder: Recorder, lookout: Lookout) -> Left:
    recorder.wait(Table, lambda table: table.at > left.at and not table.actors and not table.keys, _GONE_S)
    table = recorder.latest(Table)
    actors = table.actors if table else []
    known = {**lookout.processes, **_journal(cluster.journal / "journal.jsonl")}
    until = time.monotonic() + _GONE_S
    while (alive := _alive(known)) and time.monotonic() < until:
        time.sleep(0.1)
    return msgspec.structs.replace(
        left, actors=[_shown(actor) for actor in actors], keys=table.keys if table else -1, processes=alive
    )


def _alive(known: dict[tuple[int, int], str]) -> list[str]:
    return [f"{what} (pid {pid})" for (pid, start), what in known.items() if start_time(pid) == start]


def _journal(path: Path) -> dict[tuple[int, int], str]:
    born = [decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return {(one.pid, one.start): f"agent {one.agent}" for one in born if isinstance(one, Born)}


def _shown(actor: Actor) -> str:
    return f"{actor.role} {actor.name} {actor.state}"
