"""The soak: tries the mesh at random for long, part by part, and says what it found.

`crashes` needs no Ray and runs until its time is up; `points` needs none and tries each of its points once.
`hostile` and `memory` start a Ray cluster of their own, and run until their 20,000 inputs and 50,000 agents are
through. The exit code is 1 if any part found a broken promise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import structlog
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts" / "soak"), str(ROOT / "tests" / "helpers")]

import own_cluster  # noqa: E402, F401, I001 - first: how to get in must be set before Ray is imported
import crashes  # noqa: E402 - lies beside the helpers that it uses
import hostile  # noqa: E402
import memory  # noqa: E402
import points  # noqa: E402
from result import Result, Say  # noqa: E402

CRITICAL = 50


def _hostile(_: float, seed: int, say: Say) -> Result:
    return _whole(lambda: hostile.run(first_seed=seed), "inputs", "20,000", say)


def _memory(_: float, __: int, say: Say) -> Result:
    return _whole(memory.run, "ended agents", "50,000", say)


def _points(_: float, __: int, say: Say) -> Result:
    return points.run(say)


def _whole(run: Callable[[], object], what: str, number: str, say: Say) -> Result:
    """A part that is done when its number is reached, and shows its own tables."""
    say(f"{number} {what}")
    try:
        run()
    except AssertionError as error:
        return Result({what: number}, [str(error)])
    return Result({what: number}, [])


PARTS: dict[str, Callable[[float, int, Say], Result]] = {
    "crashes": crashes.soak,
    "points": _points,
    "hostile": _hostile,
    "memory": _memory,
}

UNASKED = ("crashes", "hostile", "memory")
"""What is done when no part is named: `points` keeps a processor busy for some quarter of an hour."""


@click.command()
@click.option(
    "--minutes", default=10.0, show_default=True, help="For the crashes; the other parts have a number to reach."
)
@click.option("--seed", default=1, show_default=True, help="Where the dice begin.")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Only this one; may be repeated.")
@click.option("--replay", type=int, help="Tell the story of one schedule of the crashes, by its seed.")
def main(minutes: float, seed: int, parts: tuple[str, ...], replay: int | None) -> None:
    """Try the mesh at random for long, and prove that it keeps its promises."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))
    console = Console(highlight=False, soft_wrap=True)
    if replay is not None:
        sys.exit(crashes.replay(replay, console.out))
    wanted = parts or UNASKED
    results = {name: _soaked(name, minutes * 60, seed, console) for name in wanted}
    for name, result in results.items():
        console.print(_table(name, result))
    sys.exit(any(result.violations for result in results.values()))


def _soaked(name: str, seconds: float, seed: int, console: Console) -> Result:
    return PARTS[name](seconds, seed, lambda line: console.out(f"{name}: {line}"))


def _table(name: str, result: Result) -> Table:
    table = Table(title=name, title_justify="left", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for label, figure in result.figures.items():
        table.add_row(label, figure)
    table.add_row("violations", f"[red]{len(result.violations)}[/]" if result.violations else "[green]0[/]")
    for violation in result.violations:
        table.add_row("", violation)
    return table


if __name__ == "__main__":
    main()
