"""The lookout: keeps the observer's process running, as Ray ends it when the GCS was away for a minute.

What the observer sees goes to the recorder; the lookout remembers which processes there ever were.
"""

from __future__ import annotations

import threading

from chaoslib.cluster import KEYS, Cluster
from chaoslib.history import Table
from chaoslib.processes import Child, python
from chaoslib.recorder import Recorder


class Lookout:
    """Keeps a thread of its own until the run is over."""

    def __init__(self, cluster: Cluster, recorder: Recorder, over: threading.Event) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._over = over
        self.processes: dict[tuple[int, int], str] = {}
        """Every process of an actor of the mesh that was ever seen."""
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self) -> None:
        command = python("observer", self._cluster.address, KEYS)
        log = self._cluster.folder / "observer.log"
        while not self._over.is_set():
            child = Child(command, env=self._cluster.env, folder=self._cluster.folder, log=log, line=self._line)
            while not child.ended(timeout_s=1.0) and not self._over.is_set():
                pass

    def _line(self, line: bytes) -> None:
        self._recorder.line(line)
        table = self._recorder.latest(Table)
        for actor in table.actors if table else ():
            if actor.start:
                self.processes[actor.pid, actor.start] = f"{actor.role} {actor.name}"
