"""The crashes: random schedules in which the supervisor is killed again and again, each the same for the same seed."""

from __future__ import annotations

import time

from random_schedule import RandomSchedule
from result import Result, Say
from stage import ViolationError

REPORT_S = 5.0
MAX_VIOLATIONS = 10


def soak(seconds: float, seed: int, say: Say) -> Result:
    """Schedules from `seed` on, until the time is up or too much has been found."""
    began = reported = time.monotonic()
    worked = time.process_time()
    schedules = steps = injected = strays = 0
    violations: list[str] = []

    def line() -> str:
        rate = steps / max(time.monotonic() - began, 1e-9)
        return f"{schedules:,} schedules · {steps:,} steps · {injected:,} crashes · {rate:,.0f} steps/s"

    while time.monotonic() - began < seconds and len(violations) < MAX_VIOLATIONS:
        try:
            ran = RandomSchedule(seed + schedules).run()
        except ViolationError as violation:
            violations.append(f"seed {seed + schedules}: {violation}")
            say(f"{violations[-1]} (again: python scripts/soak.py --replay {seed + schedules})")
        else:
            steps, injected, strays = steps + ran.steps, injected + ran.crashes, strays + ran.strays
        schedules += 1
        if time.monotonic() - reported > REPORT_S:
            reported = time.monotonic()
            say(f"{line()} · {len(violations)} violations")
    took = time.monotonic() - began
    figures = {
        "seeds": f"{seed}–{seed + schedules - 1}",
        "schedules": f"{schedules:,}",
        "steps": f"{steps:,}",
        "crashes injected": f"{injected:,}",
        "actors made too late, and killed": f"{strays:,}",
        "steps/s": f"{steps / max(took, 1e-9):,.0f}",
        "seconds": f"{took:,.0f} ({time.process_time() - worked:,.0f} of the processor)",
    }
    return Result(figures, violations)


def replay(seed: int, say: Say) -> int:
    """Tell the story of one schedule; 1 if it breaks a promise."""
    schedule = RandomSchedule(seed, traced=True)
    for told in schedule.tell():
        say(told)
    say(schedule.stage.judge.violation or "no promise was broken")
    return int(schedule.stage.judge.violation is not None)
