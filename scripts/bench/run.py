"""The benchmark: every row side by side with its rival, in clusters of its own.

    python scripts/bench/run.py                  the whole, into docs/performance.*; takes long
    python scripts/bench/run.py --quick          small sizes, to see that every row still runs; writes nothing into docs
    python scripts/bench/run.py --rows 1,5       some rows only, into build/bench
    python scripts/bench/run.py --rows 1 --keep  some rows anew in docs/performance.*, the others as they stand there

Exit codes: 0 every row has a result, 1 one has none, or an absurd one. A target that is missed is no failure here.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
from harness import document, machine
from harness.children import clean_up_on_termination, run
from harness.cluster import Cluster
from harness.rounds import say
from harness.rows import Row, absurd
from harness.subject import failed, numbers
from harness.table import heading, markdown

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
_FULL_S, _QUICK_S = 2 * 3600.0, 150.0


@dataclass(frozen=True)
class Subject:
    """A script, the rows it measures, and whether it wants a cluster."""

    script: str
    rows: tuple[int, ...]
    needs_cluster: bool = True


SUBJECTS = (
    Subject("create.py", (1, 2)),
    Subject("burst.py", (3, 4)),
    Subject("calls.py", (5, 6)),
    Subject("lookup.py", (7,)),
    Subject("reconnect.py", (8,)),
    Subject("recovery.py", (9,)),
    Subject("agent_crash.py", (10,)),
    Subject("durable.py", (11,)),
    Subject("decide.py", (12,), needs_cluster=False),
    Subject("idle.py", (13,)),
    Subject("first_create.py", (14,)),
)


@click.command()
@click.option("--quick", is_flag=True, help="Small sizes and few rounds, to see that every row runs.")
@click.option("--rows", default="", help="Numbers of rows, like 1,5; all if not given.")
@click.option("--keep", is_flag=True, help="Measure --rows anew for the document, and keep its other rows.")
def main(*, quick: bool, rows: str, keep: bool) -> None:
    wanted = numbers(rows) or {row for subject in SUBJECTS for row in subject.rows}
    clean_up_on_termination()
    about = machine.begun(quick=quick)
    found: list[Row] = []
    with contextlib.ExitStack() as stack:
        # Tried out, all share one cluster; measured, each subject has a fresh one.
        shared = stack.enter_context(contextlib.closing(Cluster.start())) if quick else None
        for subject in SUBJECTS:
            chosen = sorted(wanted & set(subject.rows))
            if chosen:
                found += _measure(subject, chosen, shared, quick=quick)
    about.load_at_end = os.getloadavg()
    print(f"\n{heading(about)}\n\n{markdown(found)}\n", flush=True)
    documented = not quick and (keep or not rows)
    folder = ROOT / "docs" if documented else _aside(quick=quick)
    others = [row for row in document.rows_in(folder) if row.number not in wanted] if keep else []
    document.write(folder, about, sorted([*others, *found], key=lambda row: row.number))
    say(f"written into {folder}")
    problems = [f"row {row.number}, {row.subject}: {problem}" for row in found if (problem := absurd(row))]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


def _aside(*, quick: bool) -> Path:
    if quick:
        return Path(tempfile.mkdtemp(prefix="bench-"))
    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _measure(subject: Subject, rows: Sequence[int], shared: Cluster | None, *, quick: bool) -> list[Row]:
    try:
        with _cluster_for(subject, shared) as env, tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.json"
            command = [sys.executable, str(HERE / subject.script), "--into", str(file)]
            command += ["--rows", ",".join(str(row) for row in rows)] + (["--quick"] if quick else [])
            deadline_s = _QUICK_S if quick else _FULL_S
            code = run(command, env, deadline_s=deadline_s)
            if file.exists():
                return msgspec.json.decode(file.read_bytes(), type=list[Row])
            ended = f"was not done after {deadline_s:g} s" if code is None else f"ended with {code} and without rows"
    except Exception as error:  # noqa: BLE001 - one subject that cannot run does not keep the others from it
        ended = f"{type(error).__name__}: {error}"
    return [failed(row, subject.script, ended) for row in rows]


@contextlib.contextmanager
def _cluster_for(subject: Subject, shared: Cluster | None) -> Iterator[Mapping[str, str]]:
    if shared is not None or not subject.needs_cluster:
        yield shared.env if shared is not None else os.environ
    else:
        with contextlib.closing(Cluster.start()) as cluster:
            yield cluster.env


if __name__ == "__main__":
    main()
