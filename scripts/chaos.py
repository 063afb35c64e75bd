"""Chaos: a real cluster of several nodes, four drivers that never rest, and a killer; then proof that nothing is lost.

Starts a cluster of its own, which shares no port, folder or token with any other on this machine, and ends every
process of it, also when interrupted. What was asked, answered, seen and killed is in the history it writes.
Exit codes: 0 clean, 1 violations or a void run, 2 cannot run here.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

import click
from chaoslib import checker, plan, report
from chaoslib.cluster import INSTALL_REDIS, Cluster, RunError
from chaoslib.history import load
from chaoslib.processes import end_marked
from chaoslib.recorder import Recorder, merge
from chaoslib.run import run
from rich.console import Console

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BUILD = Path(__file__).resolve().parent.parent / "build" / "chaos"


@click.command()
@click.option("--minutes", default=3.0, type=click.FloatRange(0.1), show_default=True)
@click.option("--seed", default=None, type=int, help="Of the killer and the drivers; chosen and printed if not given.")
@click.option("--kinds", default=",".join(plan.WEIGHTS), show_default=True, help="What is killed.")
@click.option("--history", "path", default=None, type=click.Path(path_type=Path, dir_okay=False))
def main(minutes: float, seed: int | None, kinds: str, path: Path | None) -> None:
    chosen = kinds.split(",")
    if unknown := sorted(set(chosen) - set(plan.WEIGHTS)):
        raise click.BadParameter(f"{', '.join(unknown)}: there are {', '.join(plan.WEIGHTS)}", param_hint="--kinds")
    if shutil.which("redis-server") is None:
        click.echo(INSTALL_REDIS, err=True)
        sys.exit(2)
    seed = int(time.time()) % 100_000 if seed is None else seed
    path = path or BUILD / f"history-{seed}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    sys.exit(_run(minutes, seed, chosen, path, Console()))


def _run(minutes: float, seed: int, kinds: list[str], path: Path, console: Console) -> int:
    folder = Path(tempfile.mkdtemp(prefix="ch", dir="/tmp"))  # short: a socket's path has 107 characters
    mark = f"RAY_TMPDIR={folder}"
    console.print(f"chaos: {minutes:g} minutes, seed {seed}, cluster in {folder}, history in {path}", soft_wrap=True)
    recorder = Recorder(path)
    over = threading.Event()
    try:
        cluster = Cluster(folder)
        run(cluster, recorder, plan.decisions(seed, kinds), seed=seed, minutes=minutes, over=over, say=console.print)
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    except RunError as error:
        console.print(f"void: {error}", markup=False)
        return 1
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # what is being ended is ended to the end
        over.set()
        left = end_marked(mark)
        recorder.close()
        merge(path, folder / "journal" / "journal.jsonl")
        console.print(f"processes that would not end: {left}" if left else "every process has ended")
        shutil.rmtree(folder, ignore_errors=True)
    history = load(path)
    violations = checker.check(history)
    report.show(console, history, violations, path)
    void = checker.void(history)
    for reason in void:
        console.print(f"[red]void[/red]: {reason}")
    return 1 if violations or void or left else 0


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


if __name__ == "__main__":
    main()
