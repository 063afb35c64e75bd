"""The class loader: users' classes, loaded once each, on the launcher's main thread as in a driver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from schedulemesh.runtime.agent_class import UnmadeError, load

MAX_CLASSES = 256
"""Classes that are kept; one more load makes room for another."""
STUCK_S = 5.0
"""How long a load that no launch waits for any more may keep the main thread until the process is restarted."""


class ClassLoader:
    """Loads each class once. `call_main` has `load` called on the main thread; `restart` replaces this process."""

    def __init__(self, call_main: Callable[[str], Awaitable[Any]], restart: Callable[[], None]) -> None:
        self._call_main = call_main
        self._restart = restart
        self._lock = threading.Lock()
        self._wanted: dict[str, tuple[bytes, dict[str, int] | None]] = {}
        self._loaded: dict[str, Any] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, int] = {}

    def load(self, class_key: str) -> None:
        """Load one class. Runs on the main thread; what the user's code raises is kept for whoever waits."""
        with self._lock:
            blob, groups = self._wanted[class_key]
        try:
            loaded: Any = load(blob, groups)
        except UnmadeError as error:
            loaded = str(error)
        with self._lock:
            self._loaded[class_key] = loaded

    async def get(self, class_key: str, blob: bytes, groups: dict[str, int] | None, given_up: asyncio.Event) -> Any:
        """Return the actor class. Raises UnmadeError if it does not load, or once `given_up` is set before it has."""
        loading = self._loading.get(class_key)
        if loading is None:
            self._wanted[class_key] = (blob, groups)
            loading = self._loading[class_key] = asyncio.ensure_future(self._load(class_key))
            self._forget_oldest()
        self._waiting[class_key] = self._waiting.get(class_key, 0) + 1
        ended = asyncio.ensure_future(given_up.wait())
        try:
            await asyncio.wait({loading, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            self._waiting[class_key] -= 1
        if not loading.done():
            asyncio.get_running_loop().call_later(STUCK_S, self._restart_if_stuck, class_key, loading)
            raise UnmadeError("it was deleted while its class was being loaded")
        error = loading.exception()
        loaded = self._loaded[class_key] if error is None else ""
        if isinstance(loaded, str):
            if self._loading.get(class_key) is loading:  # the next launch has it loaded again
                del self._loading[class_key]
            raise error or UnmadeError(loaded)
        return loaded

    def _forget_oldest(self) -> None:
        """Keep a bounded number of classes: a notebook defines the same one again and again."""
        for class_key in list(self._loaded)[: max(0, len(self._loaded) - MAX_CLASSES)]:
            if not self._waiting[class_key]:
                del self._loaded[class_key], self._waiting[class_key]
                self._loading.pop(class_key, None)

    async def _load(self, class_key: str) -> None:
        try:
            await self._call_main(class_key)
        finally:
            del self._wanted[class_key]

    def _restart_if_stuck(self, class_key: str, loading: asyncio.Task[None]) -> None:
        """Restart the process when an import hangs that nobody waits for: it keeps every other class from loading."""
        if not loading.done() and not self._waiting[class_key]:
            self._restart()
