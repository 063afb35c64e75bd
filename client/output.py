"""Output: shows what this driver's agents print, with the agent's name before it, as Ray does for its own actors."""

from __future__ import annotations

import atexit
import math
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from schedulemesh.client.environment import session
from schedulemesh.core.names import launcher_name

_OFTEN_S, _SELDOM_S = 0.2, 2.0
"""Seconds between two looks for lines: while there are some, and after a long silence."""
_ANSWER_S = 5.0
_LAST_S = 1.0
"""How long a driver's exit waits for its agents' last lines."""
_LOOK_S = 0.02
_followers: list[OutputFollower] = []
"""Those of this process's present connection to Ray."""
_COLOUR, _PLAIN = "\033[36m", "\033[0m"


class OutputFollower:
    """A daemon thread that asks the launcher of this driver's environment for new lines and prints them.

    It looks, and does not wait inside of Ray: a process in which `ray.shutdown()` meets a call under way, or a thread
    that is about to touch Ray, is ended by Ray. A look takes some milliseconds.
    """

    def __init__(self, mesh: str, namespace: str, environment_key: str) -> None:
        self._launcher_name = launcher_name(mesh, environment_key)
        self._namespace = namespace
        self.session = session()
        self._replace_those_of_before()
        self._followed_since: dict[str, float] = {}
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._launcher: Any = None
        self._answer: Any = None
        """What was asked last. Kept: to let it go while Ray is being shut down would touch Ray."""
        self._seen, self._since, self._latest = 0, 0.0, 0.0

    def follow(self, agent: str) -> None:
        """Show what this agent prints from now on."""
        self._followed_since.setdefault(agent, time.time())
        self._wanted.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="schedulemesh-output", daemon=True)
                self._thread.start()
                atexit.register(self._close)

    def leave(self) -> None:
        """Show nothing more: this process has another connection to Ray by now."""
        self._closing.set()
        self._wanted.set()

    def _run(self) -> None:
        pause = _OFTEN_S
        while self._connected():
            self._wanted.clear()
            try:
                shown = self._look(_ANSWER_S, self._closing.is_set)
            except Exception:  # noqa: BLE001 - this driver is disconnecting; showing output must not disturb that
                self._closing.set()
                return
            pause = _OFTEN_S if shown else min(2 * pause, _SELDOM_S)
            if self._wanted.wait(pause):
                pause = _OFTEN_S

    def _look(self, timeout_s: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Show what is new; whether there was anything."""
        try:
            if self._launcher is None:
                self._launcher = ray.get_actor(self._launcher_name, namespace=self._namespace)
                self._seen, self._since = 0, math.nextafter(self._latest, math.inf)
            lines = self._asked(timeout_s, given_up)
        except (ValueError, RayError):
            # Not up yet, or ended since; what it kept is gone with it. Or Ray is being shut down: whoever touches Ray
            # just then, if only by letting a handle go, ends the process.
            if self._connected():
                self._launcher = None
            return False
        for number, at, *rest in lines:
            self._seen = number
            # A launcher that could not be reached for a moment is asked from its first line on again.
            if at >= self._since:
                self._show(at, *rest)
            self._latest = max(self._latest, at)
        return bool(lines)

    def _asked(self, timeout_s: float, given_up: Callable[[], bool]) -> list[Any]:
        """The new lines, or none in time.

        Looked for again and again: a wait inside of Ray must not meet a shutdown, as said above. And not through
        `ObjectRef.future()`, whose callback runs in a thread of Ray's own: that ended a driver with SIGSEGV once.
        """
        answer = self._answer = self._launcher.lines.remote(self._seen)
        until, pause = time.monotonic() + timeout_s, _LOOK_S
        while not (given_up() or not ray.is_initialized() or time.monotonic() > until):
            if ray.wait([answer], timeout=0)[0]:
                return list(ray.get(answer))
            time.sleep(pause)
            pause = min(2 * pause, _OFTEN_S)
        return []

    def _replace_those_of_before(self) -> None:
        """After `ray.init()` anew: their handles are good for nothing, and every line would come twice."""
        for other in _followers:
            if other.session != self.session:
                other.leave()
        _followers[:] = [other for other in _followers if other.session == self.session] + [self]

    def _connected(self) -> bool:
        return not self._closing.is_set() and ray.is_initialized()

    def _close(self) -> None:
        """Before Ray's own exit handler, which was registered earlier and so runs later."""
        shows = self._connected()
        self._closing.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
            if shows:
                with suppress(Exception):  # a terminal that is gone; nobody is there to be told
                    self._look(_LAST_S)

    def _show(self, at: float, agent: str, pid: int, is_error: Any, text: str) -> None:
        # What it printed before this driver asked for it was another driver's to show.
        if at >= self._followed_since.get(agent, math.inf):
            stream = sys.stderr if is_error else sys.stdout
            prefix = f"({agent} pid={pid})"
            stream.write(f"{_COLOUR}{prefix}{_PLAIN} {text}\n" if stream.isatty() else f"{prefix} {text}\n")
            stream.flush()
