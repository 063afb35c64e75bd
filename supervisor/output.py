"""Output: the last lines that agents printed, kept so that the drivers that made them can fetch and show them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("schedulemesh.launcher")

MAX_LINES = 10_000
MAX_LINE = 4096
_POLL_S = 1.0
_RETRY_S = 0.5

Poll = Callable[[float], Mapping[str, Any]]
"""Waits up to so many seconds for the next message of Ray's log channel; one without lines when there was none."""


class Line(NamedTuple):
    """`number` grows by one from line to line; a gap means that lines were dropped. `at`: UTC seconds."""

    number: int
    at: float
    agent: str
    pid: int
    is_error: bool
    text: str


class Output:
    """A bounded buffer of lines, fed by a thread that listens to Ray's log channel.

    `subscribe` may raise while the GCS is away. A subscription does not survive the GCS: what it then returns at once,
    and later not at all, is nothing. So it is made again when it answers nothing too early.
    """

    def __init__(self, subscribe: Callable[[], Poll], job_id: str) -> None:
        self._subscribe = subscribe
        self._job_id = job_id
        self._lines: deque[Line] = deque(maxlen=MAX_LINES)
        self._count = 0
        self._loop = asyncio.get_running_loop()
        self._subscribed = asyncio.Event()
        self._pause = threading.Event()
        threading.Thread(target=self._read, name="agent-output", daemon=True).start()

    async def subscribed(self, timeout_s: float) -> bool:
        """Whether lines printed from now on will be heard; waits for it, up to `timeout_s`."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), timeout_s)
        return self._subscribed.is_set()

    def after(self, number: int) -> list[Line]:
        """The lines after that number, as far as they are kept."""
        missing = max(0, min(self._count - number, len(self._lines)))
        return [self._lines[index] for index in range(len(self._lines) - missing, len(self._lines))]

    def _read(self) -> None:
        while not self._loop.is_closed():
            try:
                poll = self._subscribe()
                self._tell(self._subscribed.set)
                while not self._loop.is_closed():
                    self._take(poll)
            except Exception as error:  # noqa: BLE001 - the GCS is away; output is shown again when it is back
                log.warning("output_unreadable", error=repr(error))
            self._tell(self._subscribed.clear)
            self._pause.wait(_RETRY_S)

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: this process is ending
            self._loop.call_soon_threadsafe(what, *args)

    def _take(self, poll: Poll) -> None:
        began = time.monotonic()
        message = poll(_POLL_S)
        if not message.get("lines") and time.monotonic() - began < _POLL_S / 2:
            raise ConnectionError("the GCS is away")
        if message.get("job") == self._job_id and message.get("actor_name"):
            self._tell(self._add, message)

    def _add(self, message: Mapping[str, Any]) -> None:
        for text in message.get("lines") or ():
            self._count += 1
            self._lines.append(
                Line(
                    self._count,
                    time.time(),
                    str(message["actor_name"]),
                    int(message.get("pid") or 0),
                    bool(message.get("is_err")),
                    str(text)[:MAX_LINE],
                )
            )
