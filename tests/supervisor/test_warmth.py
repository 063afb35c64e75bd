"""The watch over idle processes: it makes up what is missing, gives back what is not wanted, and goes when none are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from schedulemesh.supervisor import warmth
from schedulemesh.supervisor.events import WarmSeen
from schedulemesh.supervisor.warmth import TRIES, UNAVAILABLE, Warmth


class Raylet:
    """Starts two processes at a time at most, as a real one on two cores."""

    def __init__(self) -> None:
        self.ready = 0
        self.asked: list[int] = []
        self.problem: Exception | None = None
        self.offers = True
        self.late = 0

    async def keep(self, _: str, count: int) -> tuple[int, int]:
        self.asked.append(count)
        if self.problem is not None:
            raise self.problem
        if not self.offers:
            return UNAVAILABLE, 0
        if self.late:  # it comes all the same
            self.late -= 1
            self.ready += not self.late
            return 0, 1
        self.ready = min(count, self.ready + 2)
        return self.ready, 0


class Watched:
    """A watch with what it told; `told` returns once it has told that number."""

    def __init__(self) -> None:
        self.raylet = Raylet()
        self.warmth = Warmth(self.raylet.keep)
        self.seen: list[int] = []

    def want(self, count: int) -> None:
        self.warmth.want("env", count, lambda event: self.seen.append(_ready(event)))

    async def told(self, ready: int) -> None:
        await until(lambda: bool(self.seen) and self.seen[-1] == ready)


def _ready(event: WarmSeen) -> int:
    assert event.environment_key == "env"
    return event.ready


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> None:
        while not condition():
            await asyncio.sleep(0)

    await asyncio.wait_for(holds(), 5)


def run(scenario: Callable[[Watched], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(warmth, "SOON_S", 0.0001)
    monkeypatch.setattr(warmth, "SELDOM_S", 0.001)
    monkeypatch.setattr(warmth, "COMING_S", 0.001)

    async def main() -> Watched:
        watched = Watched()
        await scenario(watched)
        await watched.warmth.close()
        return watched

    return asyncio.run(main())


def test_it_asks_again_until_all_are_there_and_tells_how_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(5)
        await watched.told(5)

    assert run(scenario, monkeypatch).seen[:3] == [2, 4, 5]


def test_what_an_agent_took_is_made_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(2)
        await watched.told(2)
        watched.raylet.ready = -1
        watched.warmth.look("env")
        await watched.told(1)
        await watched.told(2)

    run(scenario, monkeypatch)


def test_what_is_wanted_no_longer_is_given_back_and_the_watch_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(2)
        await watched.told(2)
        watched.want(0)
        await watched.told(0)
        await until(lambda: not watched.warmth.is_wanted("env"))

    assert run(scenario, monkeypatch).raylet.ready == 0


def test_a_lost_launcher_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.raylet.problem = ConnectionError("its launcher ended")
        watched.want(1)
        await until(lambda: len(watched.raylet.asked) > 2)
        watched.raylet.problem = None
        await watched.told(1)

    run(scenario, monkeypatch)


def test_a_raylet_that_does_not_offer_it_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.raylet.offers = False
        watched.want(3)
        await until(lambda: not watched.warmth.is_wanted("env"))

    watched = run(scenario, monkeypatch)
    assert (watched.raylet.asked, watched.seen) == ([3], [])


def test_where_nobody_wants_any_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(0)
        watched.warmth.look("env")

    assert run(scenario, monkeypatch).raylet.asked == []


def test_what_is_there_is_not_forgotten_while_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(2)
        await watched.told(2)
        watched.raylet.problem = ConnectionError("it does not answer")
        watched.raylet.asked.clear()
        watched.warmth.look("env")
        await until(lambda: len(watched.raylet.asked) > 1)
        assert watched.seen == [2]
        watched.raylet.problem = None

    run(scenario, monkeypatch)


def test_giving_back_is_tried_again_and_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(2)
        await watched.told(2)
        watched.raylet.problem = ConnectionError("its node is gone")
        watched.raylet.asked.clear()
        watched.want(0)
        await until(lambda: not watched.warmth.is_wanted("env"))

    assert run(scenario, monkeypatch).raylet.asked == [0] * TRIES


def test_the_end_of_the_mesh_gives_all_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(watched: Watched) -> None:
        watched.want(3)
        await watched.told(3)

    assert run(scenario, monkeypatch).raylet.ready == 0


def test_what_still_comes_after_it_is_wanted_no_longer_is_waited_for_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(watched: Watched) -> None:
        watched.raylet.late = 9
        watched.want(1)
        await until(lambda: bool(watched.raylet.asked))
        watched.want(0)
        await until(lambda: not watched.warmth.is_wanted("env"))

    watched = run(scenario, monkeypatch)
    assert (watched.raylet.late, watched.raylet.ready) == (0, 0)
