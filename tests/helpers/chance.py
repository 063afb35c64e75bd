"""Chance: all that the world leaves open. How long things take, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

USUAL = {
    "store": 0.0005,
    "store reply": 0.0,
    "starter": 0.05,
    "launcher start": 0.05,
    "launcher restart": 0.2,
    "class": 0.05,
    "constructor": 0.3,
    "process restart": 0.3,
    "hook": 0.1,
    "news": 0.01,
    "table": 0.0008,
    "table reply": 0.001,
    "nodes": 0.003,
    "supervisor restart": 0.5,
    "drop": 0.0,
    "call": 0.001,
}
"""Seconds that things take when nothing is left to chance. `drop`: how long actors that Ray had not begun to make
outlive their launcher."""


class Chance:
    """Nothing is left to chance: things take as long as they are said to, and only what is `certain` goes wrong.

    `by_turns`: what goes wrong every second time.
    """

    def __init__(self, *certain: str, by_turns: Sequence[str] = (), **delays: float) -> None:
        self._certain = certain
        self._turns = dict.fromkeys(by_turns, False)
        self._delays = {**USUAL, **{name.replace("_", " "): delay for name, delay in delays.items()}}

    def delay(self, what: str) -> float:
        return self._delays[what]

    def happens(self, what: str) -> bool:
        if what in self._turns:
            self._turns[what] = not self._turns[what]
            return self._turns[what]
        return what in self._certain


_RANGES = {
    "store": (0.0, 0.002),
    "store reply": (0.0, 0.002),
    "starter": (0.0, 1.0),
    "launcher start": (0.0, 1.5),
    "launcher restart": (0.0, 1.5),
    "class": (0.0, 0.5),
    "constructor": (0.0, 2.0),
    "process restart": (0.0, 2.0),
    "hook": (0.0, 1.0),
    "news": (0.0, 0.5),
    "table": (0.0, 0.05),
    "table reply": (0.0, 0.2),
    "nodes": (0.0, 0.1),
    "supervisor restart": (0.3, 1.5),
    "drop": (0.0, 2.0),
    "call": (0.0, 0.01),
}
_SLOW = {"class": (0.0, 3.0)}
"""In some schedules launches take so long that the next supervisor decides without their actors."""
_SLOW_ODDS = 0.1
_ODDS = {
    "a write fails": 0.002,
    "a write fails although it was done": 0.002,
    "a read fails": 0.005,
    "the class does not load": 0.05,
    "the class hangs": 0.01,
    "the launcher dies": 0.04,
    "its node is lost": 0.3,
    "no launcher can be started": 0.05,
    "the answer to a poll is lost": 0.05,
    "an acknowledgement is lost": 0.05,
    "a launcher asks again": 0.05,
    "Ray has not begun to make it": 0.5,
    "Ray keeps no row of it": 0.3,
    "an order is lost": 0.05,
    "news are lost": 0.1,
    "news of a launcher are lost": 0.1,
    "news come twice": 0.1,
    "the client asks again": 0.05,
    "a new supervisor is started": 0.7,
}
_AT_ONCE = 0.3


class Dice(Chance):
    """Everything is left to chance, by dice that fall the same for the same seed. `calm`: nothing goes wrong now."""

    def __init__(self, dice: Random) -> None:
        super().__init__()
        self.dice = dice
        self.calm = False
        self._ranges = {**_RANGES, **_SLOW} if dice.random() < _SLOW_ODDS else _RANGES

    def delay(self, what: str) -> float:
        least, most = self._ranges[what]
        # Often no time at all, so that things meet in the same moment.
        return least if self.dice.random() < _AT_ONCE else self.dice.uniform(least, most)

    def happens(self, what: str) -> bool:
        return not self.calm and self.dice.random() < _ODDS[what]
