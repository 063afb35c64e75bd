"""Odd values through every method of the client, and hostile messages at the supervisor's door, on a real cluster.

The same examples every time; `make soak` tries others, and many more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import pytest
import ray
from drivers import MESH
from fuzz import on_examples
from hostile_client import METHODS, HostileDriver, calls, sendable
from hostile_wire import HostileSender, messages
from ray.exceptions import RayError

import schedulemesh
from schedulemesh import Scheduler
from schedulemesh.core.messages import CreatePool, Request, ResizePool, encode_request

EXAMPLES = 250

pytestmark = pytest.mark.timeout(600)  # a few seconds, on a machine that has nothing else to do


def test_whatever_is_passed_to_the_client_comes_back_as_an_answer_or_an_error_of_ours(scheduler: Scheduler) -> None:
    driver = HostileDriver(scheduler)
    pid = scheduler.status()["pid"]
    on_examples(driver.make, calls(), number=EXAMPLES, seeded=1)
    assert scheduler.status()["pid"] == pid
    assert driver.outcomes["InvalidRequestError"] > EXAMPLES / 2
    assert sum(driver.outcomes.values()) >= EXAMPLES


def test_whatever_is_sent_to_the_supervisor_is_answered(scheduler: Scheduler) -> None:
    HostileDriver(scheduler)  # a pool with a living agent, so that there is something to lose
    supervisor = ray.get_actor(MESH, namespace="schedulemesh")
    pid = scheduler.status()["pid"]
    good, environment = sendable(scheduler)
    sender = HostileSender(lambda message: ray.get(supervisor.call.remote(message), timeout=60), environment)
    for number, body in enumerate(body for body in good if isinstance(body, (CreatePool, ResizePool))):
        sender.send(encode_request(Request(f"whole-{number}", body)))  # what dice may not send whole
    on_examples(sender.send, messages(good), number=EXAMPLES, seeded=1)
    assert scheduler.status()["pid"] == pid
    assert sender.outcomes["InvalidRequestError"] > EXAMPLES / 2
    assert sender.outcomes["spared"] < EXAMPLES / 10
    assert sender.kinds.keys() >= {"CreatePool", "ResizePool"}, "what changes a pool was never sent whole"
    assert sum(sender.outcomes.values()) >= EXAMPLES


def test_every_parameter_of_every_method_is_among_those_that_are_tried() -> None:
    methods = {name for name, _ in inspect.getmembers(Scheduler, inspect.isfunction) if not name.startswith("_")}
    assert set(METHODS) == methods | {"connect"}
    for name, tried in METHODS.items():
        method = schedulemesh.connect if name == "connect" else getattr(Scheduler, name)
        if name != "create_agents":  # its one parameter is a list, of which the parts are tried
            assert set(tried) == set(inspect.signature(method).parameters) - {"self"}, name


class RaisesThere:
    """Pickles here, and raises where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return int, ("no number",)


def known_here_only() -> Any:
    """Of a module that the supervisor's process does not have."""
    return type("Foreign", (), {"__module__": "tests_that_only_a_driver_has"})()


@pytest.mark.parametrize(
    "argument",
    [RaisesThere(), {1: {2, 3}}, lambda: None, float("nan"), known_here_only()],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("method", ["call", "ready"])
def test_what_is_no_message_at_all_reaches_nobody_else(scheduler: Scheduler, method: str, argument: Any) -> None:
    """Ray itself unpickles what is no bytes; whatever comes of that is the sender's, not the supervisor's."""
    before = scheduler.status()
    supervisor: Any = ray.get_actor(MESH, namespace="schedulemesh")
    for parameters in supervisor._ray_method_signatures.values():
        parameters[:] = [Parameter("args", Parameter.VAR_POSITIONAL)]  # else Ray refuses here what does not fit there
    for arguments in ((argument,), (argument, argument), ()):
        try:
            ray.get(getattr(supervisor, method).remote(*arguments), timeout=30)
        except (RayError, TypeError, AttributeError):
            continue
    assert scheduler.status() == before
