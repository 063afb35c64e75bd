"""The killer: carries the plan out. Each kill is noted before it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from chaoslib.cluster import Cluster
from chaoslib.drivers import Drivers
from chaoslib.history import Actor, Answer, Back, Kill, Request, Table
from chaoslib.plan import Decision
from chaoslib.processes import kill, start_time
from chaoslib.recorder import Recorder
from chaoslib.strays import end_strays

_MOMENT_S = 5.0
"""How long a request of the wanted kind is waited for."""
BREATH = 4
"""Before every fourth kill an agent has to have come up: a mesh that never gets to work is not put to the test."""
_BREATH_S = 60.0
_AGAIN_S = 20.0
"""How long a supervisor that was killed is waited for, to be killed again."""


class Killer:
    """Kills by pid, and only what is still the process that was meant."""

    def __init__(self, cluster: Cluster, drivers: Drivers, recorder: Recorder, pause: Callable[[float], bool]) -> None:
        self._cluster = cluster
        self._drivers = drivers
        self._recorder = recorder
        self._pause = pause
        self._decision = Decision(0, "", "any", 0.0, 0.0, 0.0)

    def run(self, plan: Iterator[Decision]) -> None:
        """Until `pause` says that it is over."""
        for decision in plan:
            if self._pause(decision.pause_s):
                return
            self._decision = decision
            if decision.number % BREATH == 0:
                self._recorder.wait(Answer, lambda answer: answer.op == "create_agent" and not answer.error, _BREATH_S)
            self._await_moment(decision.moment)
            self._do(decision)
            for node in self._cluster.fill():
                self._record(Back, what="node", node=node)

    def _do(self, decision: Decision) -> None:
        match decision.kind:
            case "supervisor":
                self._kill_supervisor()
            case "supervisor twice":
                first = self._kill_supervisor()
                if first is not None and self._other_supervisor(first) is not None:
                    self._kill_supervisor()
            case "launcher" | "agent":
                self._kill_actor(self._picked(self._recorder.actors(decision.kind)))
            case "driver":
                self._kill_driver()
            case "node":
                self._replace_node()
            case "gcs":
                self._restart_gcs(lambda: None)
            case "supervisor and gcs":
                self._restart_gcs(self._kill_supervisor)

    def _await_moment(self, moment: str) -> None:
        if moment != "any":
            self._recorder.wait(Request, lambda request: request.op == f"{moment}_agent", _MOMENT_S)

    def _kill_supervisor(self) -> Actor | None:
        supervisor: Actor | None = self._picked(self._recorder.actors("supervisor"))
        self._kill_actor(supervisor)
        return supervisor

    def _other_supervisor(self, first: Actor) -> Table | None:
        def is_back(table: Table) -> bool:
            return any(one.role == "supervisor" and one.pid not in (0, first.pid) for one in table.actors)

        return self._recorder.wait(Table, is_back, _AGAIN_S)

    def _kill_actor(self, actor: Actor | None) -> None:
        if actor is None or start_time(actor.pid) != actor.start:
            return
        named = actor.name if actor.role == "agent" else ""
        self._note(actor.role, agent=named, actor_id=actor.actor_id, node=actor.node, pid=actor.pid)
        kill(actor.pid)

    def _kill_driver(self) -> None:
        ready = sorted(name for name, life in self._drivers.lives.items() if life.ready)
        name = self._picked(ready)
        if name is not None:
            life = self._drivers.lives[name]
            self._note("driver", driver=name, pid=life.child.pid)
            life.killed = True
            kill(life.child.pid)

    def _replace_node(self) -> None:
        node = self._picked(self._cluster.workers)
        if node is not None:
            self._note("node", node=node)
            self._cluster.remove_node(node)
            self._pause(self._decision.outage_s)

    def _restart_gcs(self, further: Callable[[], Any]) -> None:
        for pid in end_strays(self._cluster.mark):
            self._note("stray", pid=pid)
        self._note("gcs")
        self._cluster.order("kill-gcs")
        further()
        self._pause(self._decision.outage_s)
        self._cluster.order("start-gcs")
        self._record(Back, what="gcs")

    def _picked(self, those: list[Any]) -> Any:
        return those[int(self._decision.pick * len(those))] if those else None

    def _note(self, what: str, **fields: Any) -> None:
        self._record(Kill, kind=self._decision.kind, what=what, moment=self._decision.moment, **fields)

    def _record(self, entry: type[Kill | Back], **fields: Any) -> None:
        self._recorder.record(entry(at=time.monotonic(), wall=time.time(), **fields))
