"""Subjects: one script each, which measures its rows in a cluster. What they have in common is here.

Started by hand, a script starts a cluster and itself once more, as a driver in it; so a driver's environment is whole
before Ray is loaded, and the cluster ends with the script whatever becomes of the driver.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import ray

from harness.children import clean_up_on_termination, run
from harness.cluster import FOLDER, Cluster
from harness.rounds import say
from harness.rows import Row, absurd
from harness.table import markdown

NAMESPACE = "bench"
"""Of the drivers that measure."""


@dataclass(frozen=True)
class Stage:
    """What a subject measures with: the cluster it is a driver in, and whether it is only tried out."""

    cluster: Cluster
    quick: bool

    def rounds(self, full: int) -> int:
        return 2 if self.quick else full

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Part:
    """One row's number (several lines may have it), what it is about, and how it is measured."""

    number: int
    subject: str
    measure: Callable[[Stage], list[Row]]


def main(*parts: Part, needs_cluster: bool = True, log_to_driver: bool = True) -> None:
    """The command line of a subject's script.

    `log_to_driver` as in Ray. The real supervisor is born by a driver that does not listen to it; a stub is born by us.
    """

    @click.command()
    @click.option("--quick", is_flag=True, help="Small sizes and few rounds, to see that it runs.")
    @click.option("--rows", default="", help="Numbers of rows, like 1,5; all that this script has if not given.")
    @click.option("--into", default=None, type=click.Path(path_type=Path), help="File for the rows, as JSON.")
    def command(*, quick: bool, rows: str, into: Path | None) -> None:
        clean_up_on_termination()
        if needs_cluster and FOLDER not in os.environ:
            with contextlib.closing(Cluster.start()) as cluster:
                sys.exit(run([sys.executable, *sys.argv], cluster.env))
        if needs_cluster:
            ray.init(namespace=NAMESPACE, log_to_driver=log_to_driver)
        wanted = numbers(rows)
        stage = Stage(Cluster.joined() if needs_cluster else Cluster(Path(), {}), quick)
        found = [row for part in parts if not wanted or part.number in wanted for row in _measured(part, stage)]
        if into is not None:
            into.write_bytes(msgspec.json.encode(found))
        else:
            print(markdown(found))
        sys.exit(1 if any(absurd(row) for row in found) else 0)

    command()


def numbers(rows: str) -> set[int]:
    """Row numbers as a user writes them; none means all."""
    try:
        return {int(one) for one in rows.split(",") if one.strip()}
    except ValueError:
        raise click.BadParameter(f"{rows!r} are no row numbers; write them like 1,5") from None


def failed(part_number: int, subject: str, error: str) -> Row:
    return Row(number=part_number, subject=subject, error=error)


def _measured(part: Part, stage: Stage) -> Sequence[Row]:
    say(f"row {part.number}: {part.subject}")
    try:
        rows = part.measure(stage)
    except Exception as error:  # noqa: BLE001 - one row that cannot be measured does not keep the others from it
        traceback.print_exc()
        return [failed(part.number, part.subject, f"{type(error).__name__}: {error}")]
    for row in rows:
        say(f"row {row.number}: {row.subject}: {row.ours} | {row.rival} | {row.judged} | met: {row.met}")
    return rows
