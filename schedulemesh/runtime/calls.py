"""Calls that are under way in an agent's process, so that its end can wait for them.

Ray itself waits for running calls in `__ray_terminate__`, but it says DEAD before any hook of the actor's could run:
capacity would come back while the user's code still runs, and nothing could end a hook that hangs. So the end is a
call like any other, and looks here for what else is running. Only calls that were running when it began count: an
agent that is called without pause must end too.

What is relied on: Ray runs the calls of a plain class on threads that are not Python's own, and those of a class with
`async` methods in tasks around a coroutine of the name below. If that changes, the hook no longer waits for calls; the
exit after it still does.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Awaitable
from types import FrameType

_ending = threading.Event()
_LOOK_S = 0.02
_CALL = "async_func"


def begin_ending() -> bool:
    """Whether this is the first order to end. A supervisor that came back gives it again; the hook has to run once."""
    first = not _ending.is_set()
    _ending.set()
    return first


def finish_on_threads() -> None:
    """Return when every call that is running now, but the caller's own, has returned."""
    waited_for = {thread: frame for thread, frame in _running().items() if thread != threading.get_ident()}
    while any(waited_for.get(thread) is frame for thread, frame in _running().items()):
        time.sleep(_LOOK_S)


async def finish_on_loops() -> None:
    """The same where calls are tasks, on any event loop: Ray gives each concurrency group one of its own."""
    own = asyncio.current_task()
    tasks = [one for one in gc.get_objects() if issubclass(type(one), asyncio.Task)]
    calls = [task for task in tasks if task is not own and _is_call(task)]
    while not all(task.done() for task in calls):  # noqa: ASYNC110 - tasks of other loops cannot tell this one
        await asyncio.sleep(_LOOK_S)


def run(awaitable: Awaitable[object]) -> None:
    """See an awaitable through, in a thread that has no event loop."""

    async def through() -> None:
        await awaitable

    asyncio.run(through())


def _running() -> dict[int, FrameType]:
    """The outermost frame of each thread that runs a call: of each that Python did not start itself."""
    frames = {}
    for thread, innermost in sys._current_frames().items():  # noqa: SLF001 - public, in spite of its name
        frame = innermost
        while frame.f_back is not None:
            frame = frame.f_back
        if thread != threading.main_thread().ident and frame.f_code.co_name != "_bootstrap":
            frames[thread] = frame
    return frames


def _is_call(task: asyncio.Task[object]) -> bool:
    return getattr(task.get_coro(), "__name__", "") == _CALL
