"""Rounds: who is asked when, and what is kept."""

from __future__ import annotations

import pytest
from harness.rounds import interleave


def test_the_order_of_the_sides_alternates_and_warm_up_rounds_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, int]] = []

    def side(name: str, number: int) -> int:
        asked.append((name, number))
        return number

    sides = {"a": lambda number: side("a", number), "b": lambda number: side("b", number)}
    assert interleave("calls", sides, rounds=2, warmups=2) == {"a": [0, 1], "b": [0, 1]}
    assert asked == [("a", -2), ("b", -2), ("b", -1), ("a", -1), ("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    said = capsys.readouterr().out
    assert "calls: warm-up" in said
    assert "calls: round 2 of 2" in said
