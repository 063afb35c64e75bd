"""Output: shows what this driver's agents print, with the agent's name before it, as Ray does for its own actors."""

from __future__ import annotations

import atexit
import math
import sys
import threading
import time
from typing import Any

import ray
from ray.exceptions import RayError

from schedulemesh.core.names import launcher_name

_WAIT_S = 5.0
_RETRY_S = 0.5
_LOOK_S = 0.05
_COLOUR, _PLAIN = "\033[36m", "\033[0m"


class OutputFollower:
    """A daemon thread that asks the launcher of this driver's environment for new lines and prints them."""

    def __init__(self, mesh: str, namespace: str, environment_key: str) -> None:
        self._launcher = launcher_name(mesh, environment_key)
        self._namespace = namespace
        self._followed_since: dict[str, float] = {}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def follow(self, agent: str) -> None:
        """Show what this agent prints from now on."""
        self._followed_since.setdefault(agent, time.time())
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="schedulemesh-output", daemon=True)
                self._thread.start()
                atexit.register(self._close)

    def _run(self) -> None:
        launcher, seen, since, latest = None, 0, 0.0, 0.0
        while self._connected():
            try:
                if launcher is None:
                    launcher = ray.get_actor(self._launcher, namespace=self._namespace)
                    seen, since = 0, math.nextafter(latest, math.inf)
                lines = launcher.lines.remote(seen, _WAIT_S).future()
                # Waited for here and not in ray.get(): a thread that is inside Ray when it shuts down ends the process.
                while not lines.done() and self._connected():
                    self._closing.wait(_LOOK_S)
                if not self._connected():
                    return
                for number, at, *rest in lines.result():
                    seen = number
                    # A launcher that could not be reached for a moment is asked from its first line on again.
                    if at >= since:
                        self._show(at, *rest)
                    latest = max(latest, at)
            except (ValueError, RayError):
                # Not up yet, or ended since; what it kept is gone with it. Or Ray is being shut down: that fails what
                # is under way, and whoever touches Ray just then, if only by letting a handle go, ends the process.
                self._closing.wait(_RETRY_S)
                if self._connected():
                    launcher = None
            except Exception:  # noqa: BLE001 - this driver is disconnecting; showing output must not disturb that
                return

    def leave(self) -> None:
        """Show nothing more: this process has another connection to Ray by now."""
        self._closing.set()

    def _connected(self) -> bool:
        return not self._closing.is_set() and ray.is_initialized()

    def _close(self) -> None:
        """Before Ray's own exit handler, which was registered earlier and so runs later."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _show(self, at: float, agent: str, pid: int, is_error: Any, text: str) -> None:
        # What it printed before this driver asked for it was another driver's to show.
        if at >= self._followed_since.get(agent, math.inf):
            stream = sys.stderr if is_error else sys.stdout
            prefix = f"({agent} pid={pid})"
            stream.write(f"{_COLOUR}{prefix}{_PLAIN} {text}\n" if stream.isatty() else f"{prefix} {text}\n")
            stream.flush()
