"""Serving: a driver of its own in which Ray Serve runs, and a mesh beside it in a cluster that only they share.

Serve's controller works also when nothing is asked of it, and its end may hang; so its cluster is ended instead.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.cluster import Cluster, note_inner
from harness.processes import kill, living

DRIVER = Path(__file__).resolve().parent.parent / "serve_driver.py"
ORDER_S = 240.0
BEST = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Serve's best mode; for the cluster's processes and for the driver."""


class ServingError(Exception):
    """The driver could not do what it was asked, or gave no answer."""


class Serving:
    """The driver, and its cluster. Each order has a deadline."""

    def __init__(self, further: Mapping[str, str] | None = None) -> None:
        self.cluster = Cluster.start(further)
        self._log = self.cluster.folder / "serve_driver.log"
        with self._log.open("wb") as log:
            self._driver = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, str(DRIVER)],
                env=self.cluster.env,
                cwd=DRIVER.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        note_inner(self._driver.pid, self.cluster.folder)
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        for pid in living(self._driver.pid):
            kill(pid)
        self._driver.wait()
        self.cluster.close()

    def order(self, what: str, *, timeout_s: float = ORDER_S, **arguments: Any) -> Any:
        """Have the driver do something and return what came of it."""
        assert self._driver.stdin is not None  # noqa: S101 - it was started with a pipe
        print(json.dumps({"what": what, **arguments}), file=self._driver.stdin, flush=True)
        try:
            answer = json.loads(self._answers.get(timeout=timeout_s))
        except queue.Empty:
            raise ServingError(f"no answer to {what!r} within {timeout_s:g} s; {self._last_words()}") from None
        if "problem" in answer:
            raise ServingError(f"{what!r} failed: {answer['problem']}; {self._last_words()}")
        return answer["result"]

    def _listen(self) -> None:
        assert self._driver.stdout is not None  # noqa: S101 - it was started with a pipe
        for line in self._driver.stdout:
            if line.startswith("{"):  # Ray prints there too
                self._answers.put(line)
        self._answers.put(json.dumps({"problem": "the driver has ended"}))

    def _last_words(self) -> str:
        return "its last words: " + self._log.read_text(errors="replace")[-1500:]
