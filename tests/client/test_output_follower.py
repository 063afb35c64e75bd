"""The follower of agents' output, with a launcher that is a plain object behind `ray.get_actor`."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

from schedulemesh.client import output
from schedulemesh.client.output import OutputFollower

Line = tuple[int, float, str, int, bool, str]
SOON_S = 10.0
FOLLOWED_AT = 100.0


class FakeLauncher:
    """Gives out what it keeps, a part at a time. An error in `answers` is raised in its place."""

    def __init__(self, *answers: list[Line] | Exception) -> None:
        self.answers = list(answers)
        self.asked_from: list[int] = []
        self.over = threading.Event()
        """Set when it was asked for more than it has."""

    @property
    def lines(self) -> FakeLauncher:
        return self

    def remote(self, after: int) -> FakeLauncher:
        self.asked_from.append(after)
        return self

    def answer(self) -> list[Line]:
        if not self.answers:
            self.over.set()
        given = self.answers.pop(0) if self.answers else []
        if isinstance(given, Exception):
            raise given
        return [line for line in given if line[0] > self.asked_from[-1]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time at which an agent is followed, and no waiting between two tries."""
    now = [FOLLOWED_AT]
    clocks = SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(output, "time", clocks)
    monkeypatch.setattr(output, "_OFTEN_S", 0.001)
    monkeypatch.setattr(output, "_SELDOM_S", 0.001)
    return now


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Iterator[OutputFollower]:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(output, "session", lambda: ("job", "node"))
    monkeypatch.setattr(ray, "wait", lambda answers, **_: (answers, []))
    monkeypatch.setattr(ray, "get", FakeLauncher.answer)
    one = OutputFollower("mesh", "ns", "key")
    yield one
    one._close()


def show(follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, *launchers: Any) -> None:
    """Follow the agent `w` until the last of these launchers has nothing left; an error means there is none yet."""
    found = list(launchers)

    def get_actor(name: str, namespace: str) -> Any:
        assert (name.startswith("mesh:"), namespace) == (True, "ns")
        one = found.pop(0) if len(found) > 1 else found[0]
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(ray, "get_actor", get_actor)
    follower.follow("w")
    assert launchers[-1].over.wait(SOON_S)


def not_up(*_: Any, **__: Any) -> Any:
    raise ValueError("no such actor")


def line(number: int, text: str, *, at: float = math.nan, agent: str = "w", is_error: bool = False) -> Line:
    return number, FOLLOWED_AT + number if math.isnan(at) else at, agent, 7, is_error, text


def test_what_an_agent_prints_is_shown_with_its_name_and_errors_go_to_stderr(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(follower, monkeypatch, FakeLauncher([line(1, "hello"), line(2, "ouch", is_error=True)], [line(3, "bye")]))
    assert capsys.readouterr() == ("(w pid=7) hello\n(w pid=7) bye\n", "(w pid=7) ouch\n")


def test_no_line_is_shown_twice_when_the_launcher_could_not_be_reached_for_a_moment(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked from its first line on again, as it may be another one by then."""
    kept = [line(1, "one"), line(2, "two")]
    launcher = FakeLauncher(kept, RayError("away"), [*kept, line(3, "three")])
    show(follower, monkeypatch, launcher)
    assert launcher.asked_from[:4] == [0, 2, 0, 3]
    assert capsys.readouterr().out == "(w pid=7) one\n(w pid=7) two\n(w pid=7) three\n"


def test_a_launcher_that_came_after_another_is_heard_from_its_first_line_on(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = FakeLauncher([line(1, "one"), line(2, "two")], RayError("it ended"))
    show(follower, monkeypatch, first, FakeLauncher([line(1, "of the next", at=FOLLOWED_AT + 10)]))
    assert capsys.readouterr().out == "(w pid=7) one\n(w pid=7) two\n(w pid=7) of the next\n"


def test_a_launcher_that_is_not_up_yet_is_waited_for(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(follower, monkeypatch, ValueError("no such actor"), FakeLauncher([line(1, "hello")]))
    assert capsys.readouterr().out == "(w pid=7) hello\n"


def test_what_was_printed_before_the_agent_was_followed_is_not_shown(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = line(1, "another driver's", at=FOLLOWED_AT - 1)
    show(follower, monkeypatch, FakeLauncher([before, line(2, "mine", at=FOLLOWED_AT)]))
    assert capsys.readouterr().out == "(w pid=7) mine\n"


def test_following_an_agent_again_does_not_forget_since_when(
    follower: OutputFollower,
    monkeypatch: pytest.MonkeyPatch,
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ray, "get_actor", not_up)
    follower.follow("w")
    clock[0] = FOLLOWED_AT + 50
    show(follower, monkeypatch, FakeLauncher([line(1, "in between")]))
    assert capsys.readouterr().out == "(w pid=7) in between\n"


def test_an_agent_that_nobody_follows_is_not_shown(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(follower, monkeypatch, FakeLauncher([line(1, "someone else's", agent="other")]))
    assert capsys.readouterr() == ("", "")


def test_what_was_printed_just_before_the_driver_ends_is_still_shown(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "_OFTEN_S", 60.0)
    monkeypatch.setattr(output, "_SELDOM_S", 60.0)
    launcher = FakeLauncher()
    show(follower, monkeypatch, launcher)
    assert capsys.readouterr().out == ""
    launcher.answers.append([line(2, "the last word")])
    follower._close()
    assert capsys.readouterr().out == "(w pid=7) the last word\n"


def test_nothing_is_looked_for_after_the_driver_connected_anew(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = FakeLauncher([line(1, "hello")])
    show(follower, monkeypatch, launcher)
    follower.leave()
    assert follower._thread is not None
    follower._thread.join(SOON_S)
    launcher.answers.append([line(2, "another connection's")])
    follower._close()
    assert capsys.readouterr().out == "(w pid=7) hello\n"


def test_a_driver_that_connected_to_ray_anew_is_shown_nothing_by_the_follower_of_before(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another one shows it, and every line would come twice."""
    launcher = FakeLauncher([line(1, "before")])
    show(follower, monkeypatch, launcher)
    monkeypatch.setattr(output, "session", lambda: ("next job", "node"))
    OutputFollower("mesh", "ns", "key")
    assert follower._thread is not None
    follower._thread.join(SOON_S)
    assert not follower._thread.is_alive()
    launcher.answers.append([line(2, "after")])
    follower._close()
    assert capsys.readouterr().out == "(w pid=7) before\n"


def test_what_was_asked_is_kept_when_ray_is_shut_down_meanwhile(
    follower: OutputFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To let a reference go just then would touch Ray, which ends the process."""
    asked: list[weakref.ref[FakeLauncher]] = []

    class Asked(FakeLauncher):
        def remote(self, after: int) -> FakeLauncher:
            answer = FakeLauncher()
            asked.append(weakref.ref(answer))
            return answer

    def shut_down(answers: list[FakeLauncher], **_: Any) -> tuple[list[FakeLauncher], list[FakeLauncher]]:
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        return [], answers

    monkeypatch.setattr(ray, "wait", shut_down)
    monkeypatch.setattr(ray, "get_actor", lambda *_, **__: Asked())
    follower.follow("w")
    assert follower._thread is not None
    follower._thread.join(SOON_S)
    assert [reference() is None for reference in asked] == [False]
