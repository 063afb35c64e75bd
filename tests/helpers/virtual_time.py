"""Virtual time: event loops that never sleep. When nothing is ready, time jumps to the next timer.

Several loops share one timeline: each process of the tried world has its own, and a process that dies takes only its
own callbacks along. A loop counts its callbacks as points, and can be told at which of them to die.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

MOMENT = 1e-6
"""Every callback takes this long, as no two moments of a real clock are the same."""

Value = TypeVar("Value")


class Crash(BaseException):
    """Ends the code of a process that was killed. No `except Exception` of its own holds it up."""


class Callback:
    """What asyncio calls a handle."""

    __slots__ = ("_args", "_call", "loop", "off")

    def __init__(self, loop: VirtualLoop, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.loop = loop
        self._call = call
        self._args = args
        self.off = False

    def run(self) -> None:
        self._call(*self._args)

    def cancel(self) -> None:
        self.off = True

    def cancelled(self) -> bool:
        return self.off


class Timeline:
    """Time, and all that is to happen in it. With `dice`, what is ready at the same time runs in any order."""

    def __init__(self, dice: Random | None = None) -> None:
        self.now = 1_700_000_000.0
        self.steps = 0
        self._dice = dice
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Callback]] = []
        self._numbers = 0

    def soon(self, callback: Callback) -> None:
        self._ready.append(callback)

    def at(self, when: float, callback: Callback) -> None:
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, callback))

    def step(self) -> bool:
        """Run what is next; False when there is nothing left to run."""
        ready, timers = self._ready, self._timers
        while True:
            if not ready:
                if not timers:
                    return False
                self.now = max(self.now, timers[0][0])
            while timers and timers[0][0] <= self.now:
                ready.append(heapq.heappop(timers)[2])
            if self._dice is not None and len(ready) > 1:
                ready.rotate(-self._dice.randrange(len(ready)))
            callback = ready.popleft()
            if callback.off or callback.loop.dead:
                continue
            if not callback.loop.frozen:
                break
            callback.loop.put_off.append(callback)
        self.now += MOMENT
        self.steps += 1
        loop = callback.loop
        events._set_running_loop(loop)
        try:
            loop.point("a callback")
            callback.run()
        except Crash:
            loop.bury()
        finally:
            events._set_running_loop(None)
        return True


class VirtualLoop(asyncio.BaseEventLoop):
    """The event loop of one process. `killed` is called when it reaches the point `dies_at` (0: never)."""

    def __init__(self, timeline: Timeline, killed: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._timeline = timeline
        self._killed = killed
        self.dead = False
        self.frozen = False
        self.put_off: list[Callback] = []
        """What is due in this process while it is frozen."""
        self.points = 0
        self.dies_at = 0
        self._tasks: list[asyncio.Task[Any]] = []

    def point(self, what: str) -> None:
        """A point at which the process may die; raises Crash then."""
        self.points += 1
        if self.points == self.dies_at and self._killed is not None:
            self._killed(what)
            raise Crash

    def freeze(self) -> None:
        """Nothing runs in this process from now on; others do not notice."""
        self.frozen = True

    def thaw(self) -> None:
        """The process goes on as if no time had passed."""
        self.frozen = False
        for callback in self.put_off:
            self._timeline.soon(callback)
        self.put_off.clear()

    def bury(self) -> None:
        """End all that was under way in a process that died. None of it can touch anything any more."""
        self.dead = True
        running = events._get_running_loop()
        events._set_running_loop(self)  # what is closed may ask for its time
        for task in self._tasks:
            if not task.done():
                task.get_coro().close()
        self._tasks.clear()
        events._set_running_loop(running)

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------

    def time(self) -> float:
        return self._timeline.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Callback:  # type: ignore[override]
        made = Callback(self, callback, args)
        if not self.dead:
            self._timeline.soon(made)
        return made

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Callback:
        made = Callback(self, callback, args)
        if not self.dead:
            self._timeline.at(when, made)
        return made

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Callback:
        return self.call_at(self._timeline.now + delay, callback, *args)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Value], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Value]:
        task = asyncio.Task(coro, loop=self, name=name)
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tasks of a killed process end unfinished and unheard; whoever must be heard has a callback of his own."""
