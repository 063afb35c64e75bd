"""The supervisor's side of launchers, with Ray's answers set by hand."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import Any

import msgspec
from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayError, RuntimeEnvSetupError

from schedulemesh.core.messages import Environment
from schedulemesh.supervisor.effects import Launch
from schedulemesh.supervisor.events import LaunchFailed, LaunchReady, LaunchReport
from schedulemesh.supervisor.launchers import MAX_STARTS, RayLaunchers

READY = LaunchReady("uid", 1, "actor")


class KitStore:
    """Holds a launch kit under any key, of a driver on node `n1`."""

    async def get(self, key: str) -> bytes:
        return msgspec.json.encode(Environment(runtime_env={}, paths=[], node_id="n1"))


class Handle:
    """A launcher that comes up, or not."""

    def __init__(self, problem: RayError | None) -> None:
        self.ready = Method(True, problem)
        self.launch = Method(msgspec.msgpack.encode(READY))


class Method:
    def __init__(self, answer: Any, problem: RayError | None = None) -> None:
        self._answer = answer
        self._problem = problem

    async def remote(self, *_: Any) -> Any:
        if self._problem is not None:
            raise self._problem
        return self._answer


class Launchers(RayLaunchers):
    """Makes launchers that meet these problems while they come up, one after the other; then one that meets none."""

    def __init__(self, *problems: RayError) -> None:
        super().__init__("mesh", "ns", KitStore(), 60.0)  # type: ignore[arg-type]  # only `get` is asked for
        self._problems = deque(problems)
        self._handles: list[weakref.ref[Handle]] = []
        self.nodes: list[str] = []
        """Where each was to be made."""

    @property
    def made(self) -> int:
        return len(self._handles)

    def _create(self, key: str, environment: Environment) -> Any:
        if any(earlier() is not None for earlier in self._handles):
            raise ValueError("the name is already taken")  # Ray says so to who still holds the handle of a dead actor
        handle = Handle(self._problems.popleft() if self._problems else None)
        self._handles.append(weakref.ref(handle))
        self.nodes.append(environment.node_id)
        return handle

    def launched(self) -> LaunchReport:
        order = Launch("uid", 1, "w1", {}, "c", "a", "e", "n", "w1", "ns", {}, False, None)
        return asyncio.run(self.launch(order))


def test_a_launcher_that_is_killed_while_it_comes_up_is_made_again() -> None:
    launchers = Launchers(ActorDiedError())
    assert launchers.launched() == READY
    assert launchers.nodes == ["n1", "n1"]


def test_a_launcher_goes_elsewhere_when_its_drivers_node_is_gone() -> None:
    launchers = Launchers(ActorUnschedulableError("no such node"))
    assert launchers.launched() == READY
    assert launchers.nodes == ["n1", ""]


def test_a_node_that_is_lost_meanwhile_costs_one_start() -> None:
    launchers = Launchers(ActorDiedError(), ActorUnschedulableError("no such node"), ActorDiedError())
    assert launchers.launched() == READY
    assert launchers.nodes == ["n1", "n1", "", ""]


def test_a_launcher_that_no_node_takes_is_given_up() -> None:
    launchers = Launchers(*[ActorUnschedulableError("no such node")] * 2)
    report = launchers.launched()
    assert isinstance(report, LaunchFailed)
    assert "no node takes it" in report.cause
    assert launchers.made == 2


def test_an_environment_in_which_no_launcher_comes_up_is_given_up() -> None:
    launchers = Launchers(*[ActorDiedError()] * MAX_STARTS)
    report = launchers.launched()
    assert isinstance(report, LaunchFailed)
    assert "could not be set up" in report.cause
    assert launchers.made == MAX_STARTS


def test_an_environment_that_cannot_be_built_is_not_tried_again() -> None:
    launchers = Launchers(RuntimeEnvSetupError("no such package"))
    report = launchers.launched()
    assert isinstance(report, LaunchFailed)
    assert "no such package" in report.cause
    assert launchers.made == 1
