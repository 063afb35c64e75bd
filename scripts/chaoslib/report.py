"""The report: what a run did and what was found, as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from chaoslib import excuses
from chaoslib.checker import FLOOR_PER_MINUTE, KILLS_FLOOR_PER_MINUTE, RULES, Violation, lived_on
from chaoslib.evidence import KILLED, Evidence
from chaoslib.history import STARTS, AnyEntry, Gone

_SHOWN = 40
_OUTCOMES = ("ok", "refused", "retryable", "failed", "no answer")


def show(console: Console, history: Sequence[AnyEntry], violations: Sequence[Violation], path: Path) -> None:
    evidence = Evidence(history)
    for table in (_kills(evidence), _operations(evidence), _excuses(evidence), _verdict(violations)):
        console.print(table)
    for violation in violations[:_SHOWN]:
        where = ", ".join(f"{path.name}:{line}" for line in violation.lines)
        console.print(f"[red]{violation.rule}[/red] {escape(violation.text)} {where}", highlight=False)
    if len(violations) > _SHOWN:
        console.print(f"… and {len(violations) - _SHOWN} more")


def _kills(evidence: Evidence) -> RenderableType:
    table = RichTable("killed", "times", "in the middle of a create", "of a delete", title="Kills")
    counted: Counter[str] = Counter()
    moments: Counter[tuple[str, str]] = Counter()
    for _, kill in evidence.kills(*KILLED, "stray"):
        counted[kill.what] += 1
        moments[kill.what, kill.moment] += 1
    for what, times in counted.most_common():
        table.add_row(what, str(times), str(moments[what, "create"]), str(moments[what, "delete"]))
    table.add_section()
    table.add_row("all", str(counted.total()))
    table.caption = f"{evidence.kills_per_minute():.1f} a minute without strays (floor {KILLS_FLOOR_PER_MINUTE:g})"
    return table


def _operations(evidence: Evidence) -> RenderableType:
    table = RichTable("operation", *_OUTCOMES, "longest", title="Operations")
    counted: Counter[tuple[str, str]] = Counter()
    longest: dict[str, float] = {}
    for asked in evidence.asked:
        op = asked.request.op
        counted[op, asked.answer.outcome if asked.answer else "no answer"] += 1
        longest[op] = max(longest.get(op, 0.0), asked.answer.took if asked.answer else 0.0)
    outages = evidence.without_gcs()
    for _, call in evidence.calls():
        during = any(begin < call.at + call.took and call.at < end for begin, end in outages)
        for op in ("call of an agent", "… while no GCS was up")[: 1 + during]:
            counted[op, "failed" if call.error else "ok"] += 1
            longest[op] = max(longest.get(op, 0.0), call.took)
    for op in sorted(longest, key=lambda op: -sum(counted[op, outcome] for outcome in _OUTCOMES)):
        table.add_row(op, *(str(counted[op, outcome] or "") for outcome in _OUTCOMES), f"{longest[op]:.1f} s")
    lives = sum(1 for _ in evidence.of(Gone))
    births = sum(map(len, evidence.births.values()))
    stranded = evidence.rest.stranded if evidence.rest else 0.0
    table.caption = (
        f"{evidence.duration_s() / 60:.1f} minutes, {evidence.answered_per_minute():.0f} answered requests a minute "
        f"(floor {FLOOR_PER_MINUTE:.0f}), {lives} lives of drivers, {births} of agents; "
        f"{stranded:g} cpus that Ray held for nobody at the end"
    )
    return table


def _excuses(evidence: Evidence) -> RenderableType:
    """What hangs on each excuse: a rule that excuses much, or more than it used to, is looked at."""
    table = RichTable("failed", "because", "times", title="Excuses")
    calls = (excuses.of_call(evidence, call) for _, call in evidence.calls() if call.error)
    failed = (asked for asked in evidence.asked if asked.answer is not None and asked.answer.error in STARTS)
    starts = (excuses.of_start(evidence, asked) for asked in failed)
    ends = (excuses.of_process(evidence, met.other_pid) for _, met in lived_on(evidence))
    reasons_of = {"call of an agent": calls, "start of an agent": starts, "end of a process": ends}
    for what, reasons in reasons_of.items():
        for reason, times in Counter(reasons).most_common():
            table.add_row(what, reason or "nothing excuses it", str(times))
    return table


def _verdict(violations: Sequence[Violation]) -> RenderableType:
    table = RichTable("violations", "", title="Verdict")
    for rule, times in Counter(violation.rule for violation in violations).items():
        table.add_row(rule, str(times))
    if not violations:
        table.add_row(f"none, by {len(RULES)} rules", "")
    return table
