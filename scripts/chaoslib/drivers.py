"""The drivers of a chaos run: kept at four, each started anew when its process ended."""

from __future__ import annotations

import threading
import time

from chaoslib.cluster import MESH, Cluster
from chaoslib.history import Gone
from chaoslib.processes import Child, python
from chaoslib.recorder import Recorder

NAMES = ("d1", "d2", "d3", "d4")
END_S = 420.0
"""Longer than any request may take."""


class Life:
    """One process of a driver. `ready`: it has connected; `killed`: the run meant its end."""

    def __init__(self, name: str, number: int, seed: int, cluster: Cluster, recorder: Recorder) -> None:
        self.number = number
        self.killed = False
        self.ready = False
        self._recorder = recorder
        command = python("driver/drive.py", name, str(number), str(seed), MESH, str(cluster.journal))
        log = cluster.folder / f"{name}-{number}.log"
        self.child = Child(command, env=cluster.env, folder=cluster.folder, log=log, line=self._line)

    def _line(self, line: bytes) -> None:
        self.ready = self.ready or b'"answer"' in line
        self._recorder.line(line)


class Drivers:
    """A thread for each driver watches its process; `killed` is set by who kills one."""

    def __init__(self, cluster: Cluster, recorder: Recorder, seed: int, over: threading.Event) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._seed = seed
        self._over = over
        self._ending = threading.Event()
        self.lives: dict[str, Life] = {}
        self._threads = [threading.Thread(target=self._keep, args=(name,), daemon=True) for name in NAMES]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let each finish what it has asked for. One that does not answer is left to the end of all processes."""
        self._ending.set()
        for life in list(self.lives.values()):
            life.child.tell("end")
        until = time.monotonic() + END_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _keep(self, name: str) -> None:
        number = 0
        while not self._ending.is_set() and not self._over.is_set():
            number += 1
            life = Life(name, number, self._seed, self._cluster, self._recorder)
            self.lives[name] = life
            if self._ending.is_set():
                life.child.tell("end")
            while not life.child.ended(timeout_s=1.0):
                pass
            if self._over.is_set():
                return  # it was ended with everything else; requests that it left unanswered say so
            code = life.child.process.returncode
            words = "" if code == 0 or life.killed else life.child.last_words()
            gone = Gone(
                at=time.monotonic(),
                wall=time.time(),
                driver=name,
                life=number,
                code=code,
                killed=life.killed,
                ready=life.ready,
                last_words=words,
            )
            self._recorder.record(gone)
