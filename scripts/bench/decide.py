"""Row 12: decisions a second of the pure core, with few and with many agents in the books."""

from __future__ import annotations

from core import decisions_per_second
from harness.rounds import interleave
from harness.rows import Row, at_least, ratio_row, value_row
from harness.subject import Part, Stage, main

SUBJECT = "decisions a second of the core alone (create, refuse, end; mixed pools)"
SIZES, QUICK_SIZES = (100, 10_000, 100_000), (100, 1000, 2000)
NOTE = "one core, no Ray and no process: the core decides on records"


def decide(stage: Stage) -> list[Row]:
    sizes = QUICK_SIZES if stage.quick else SIZES
    decisions = stage.size(50_000, 2000)
    rates = interleave(
        "decisions",
        {str(size): lambda _, size=size: decisions_per_second(size, decisions) for size in sizes},  # type: ignore[misc]
        rounds=stage.rounds(10),
    )
    rows = [
        value_row(12, f"{SUBJECT}, {size:,} agents", rates[str(size)], unit="/s", target=at_least(50_000), note=NOTE)
        for size in sizes
    ]
    pairs = list(zip(rates[str(sizes[-1])], rates[str(sizes[0])], strict=True))
    rival = f"with {sizes[0]:,} agents"
    flat = f"{SUBJECT}, {sizes[-1]:,} agents"
    return [*rows, ratio_row(12, flat, pairs, unit="/s", rival=rival, target=at_least(0.9), note=NOTE)]


PARTS = (Part(12, SUBJECT, decide),)

if __name__ == "__main__":
    main(*PARTS, needs_cluster=False)
