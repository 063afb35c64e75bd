"""The points: every request, and every two at once, crashed at every single point under every fate of the world.

`make test` tries the telling ones of these; between two of them nothing changes outside of the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from crash_cases import CASES, FATES, Case, CrashCase, Fate, pairs
from result import Result, Say
from stage import ViolationError

REPORT_S = 5.0
MAX_VIOLATIONS = 10


def run(say: Say) -> Result:
    """All of them, until too much has been found."""
    began = reported = time.monotonic()
    worked = time.process_time()
    cases = {**CASES, **dict(pairs())}
    crashes = 0
    violations: list[str] = []

    def result() -> Result:
        figures = {
            "cases": f"{len(CASES)} requests and {len(cases) - len(CASES)} pairs",
            "fates": f"{len(FATES)}",
            "crashes": f"{crashes:,}",
            "seconds": f"{time.monotonic() - began:,.0f} ({time.process_time() - worked:,.0f} of the processor)",
        }
        return Result(figures, violations)

    for number, (name, asked) in enumerate(cases.items(), start=1):
        for fate_name, fate in FATES.items():
            for broken in _tried(asked, fate):
                crashes += 1
                if broken:
                    violations.append(f"{name}, {fate_name}, {broken}")
                    say(violations[-1])
            if len(violations) >= MAX_VIOLATIONS:
                return result()
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            say(f"{number} of {len(cases)} cases · {crashes:,} crashes · {len(violations)} violations")
    return result()


def _tried(asked: Case, fate: Fate) -> Iterator[str]:
    """For each point in turn: what was broken by a crash there, or nothing."""
    try:
        case = CrashCase(asked, fate)
    except ViolationError as violation:
        yield f"without a crash: {violation}"
        return
    for point in case.points():
        try:
            case.crash(point)
        except ViolationError as violation:
            yield f"point {point}: {violation}"
        else:
            yield ""
