"""The class that Ray runs for an agent: the user's own, with our constructor before it and an orderly end after it."""

from __future__ import annotations

import inspect
import sys
import traceback
from typing import Any

import ray
from ray import cloudpickle

STOP = "_schedulemesh_stop"
"""The method that stops an agent gracefully."""
UNLOADED = "its class could not be loaded in its environment"
"""How the reason begins for which an agent was not created. The same as in `core.launch_protocol`, which is not
imported here: every start of an agent pays for what this module imports."""


_NAME = "_schedulemesh_name"


class UnmadeError(Exception):
    """No actor was made; the text says why, with the user's traceback if it was his class."""


def load(blob: bytes, groups: dict[str, int] | None) -> Any:
    """The user's pickled class as an actor class, with those concurrency groups, which Ray takes in its decorator only.

    Raises UnmadeError with the user's traceback.
    """
    try:
        agent_class = _agent_class(cloudpickle.loads(blob))
        remote: Any = ray.remote
        return remote(concurrency_groups=groups)(agent_class) if groups else remote(agent_class)
    except BaseException:  # noqa: BLE001 - importing a user's module can raise anything, SystemExit included
        raise UnmadeError(f"{UNLOADED}\n{traceback.format_exc()}") from None


def _agent_class(user_class: type) -> type:
    """A subclass that takes the arguments as pickled pieces, names the process's output, and knows how to end."""

    class Agent(user_class):  # type: ignore[misc]  # a base that is known only here
        def __init__(self, name: str, labels: dict[str, str], *chunks: bytes) -> None:
            object.__setattr__(self, _NAME, name)
            for stream in (sys.stdout, sys.stderr):  # Ray itself names the process after the constructor, by its repr
                print(f":actor_name:{name}", file=stream, flush=True)
            supervisor, args, kwargs = cloudpickle.loads(b"".join(chunks))
            super().__init__(name, labels, supervisor, *args, **kwargs)

    # One `async def` makes Ray run all methods of a class on an event loop, so ours must be of the user's kind.
    if not _has_own_repr(user_class):
        setattr(Agent, "__repr__", _name_of)  # noqa: B010 - what Ray shows before each line that the agent prints
    setattr(Agent, STOP, _stop_on_a_loop if _is_async(user_class) else _stop_on_a_thread)
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(Agent, attribute, getattr(user_class, attribute))
    return Agent


def _has_own_repr(user_class: type) -> bool:
    return inspect.getattr_static(user_class, "__repr__") is not inspect.getattr_static(object, "__repr__")


def _name_of(agent: Any) -> str:
    return str(getattr(agent, _NAME))


def _is_async(user_class: type) -> bool:
    """Whether Ray runs this class's methods on an event loop; the same question as Ray asks."""
    return any(
        inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        for _, method in inspect.getmembers(user_class, predicate=inspect.isfunction)
    )


def _stop_on_a_thread(agent: Any) -> None:
    """Let the calls that are under way finish, run the hook, and leave. A second order changes nothing."""
    from schedulemesh.runtime import calls  # noqa: PLC0415 - only an agent that is stopped needs it

    if calls.begin_ending():
        calls.finish_on_threads()
        try:
            left = _hook(agent)
            if inspect.isawaitable(left):
                calls.run(left)
        except Exception:  # noqa: BLE001 - a user's hook can raise anything, and ends its agent all the same
            traceback.print_exc()
        ray.actor.exit_actor()


async def _stop_on_a_loop(agent: Any) -> None:
    from schedulemesh.runtime import calls  # noqa: PLC0415 - only an agent that is stopped needs it

    if calls.begin_ending():
        await calls.finish_on_loops()
        try:
            left = _hook(agent)
            if inspect.isawaitable(left):
                await left
        except Exception:  # noqa: BLE001 - a user's hook can raise anything, and ends its agent all the same
            traceback.print_exc()
        ray.actor.exit_actor()


def _hook(agent: Any) -> Any:
    hook = getattr(agent, "on_stop", None)
    return hook() if callable(hook) else None
