"""A driver of the chaos run: asks the mesh for things and calls agents without pause, until it is told to end.

Uses the public API only. Told to end by a line on its input; gone at once when that is closed.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from lines import Lines, brief, problem_of
from probe import VARIABLE, Probe

import schedulemesh

SHARED = ("red", "blue")
"""Pools that all drivers use, and whose agents' names they fight over."""
NAMES = 7
"""Names for each shared pool: a few more than fit, so that some creates are refused."""
OWN_NAMES = 2
CALL_S = 45.0
"""Longer than any outage of the run, its end and a restart of the agent together."""
_PACE_S = 0.1
_ASKERS = 2
_CALLERS = 2


class Driver:
    """One life of one driver."""

    def __init__(self, name: str, life: int, seed: int, mesh: str, journal: str) -> None:
        self.name = name
        self.life = life
        self._seed = seed
        self._mesh = mesh
        self._journal = journal
        self._lines = Lines()
        self._end = threading.Event()
        self._numbers = iter(range(1, sys.maxsize))
        self._handles: dict[str, tuple[str, Any]] = {}
        self._own = f"own-{name}"
        self._weights: dict[Callable[[random.Random], None], int] = {
            self._create: 36,
            self._create_several: 4,
            self._get: 16,
            self._look: 12,
            self._delete: 24,
            self._cycle_own_pool: 4,
            self._resize: 4,
        }

    def run(self) -> None:
        ray.init(
            namespace=f"ns-{self.name}",
            # An environment of its own, so that each driver has a launcher of its own.
            runtime_env={"env_vars": {"CHAOS_DRIVER": self.name}},
            logging_level=logging.ERROR,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        self._scheduler: schedulemesh.Scheduler = self._ask("connect", {}, lambda: schedulemesh.connect(self._mesh))
        if self._scheduler is None:
            raise SystemExit(1)
        self._ask("create_pool", {"pool": "red"}, lambda: self._create_pool("red", 0.5, 6))
        self._ask("create_pool", {"pool": "blue"}, lambda: self._create_pool("blue", 3.0, 0))
        work = [(self._asking, n) for n in range(_ASKERS)] + [(self._calling, n + _ASKERS) for n in range(_CALLERS)]
        threads = [threading.Thread(target=target, args=(self._chance(n),)) for target, n in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # -- requests -----------------------------------------------------------------------------------------------

    def _asking(self, chance: random.Random) -> None:
        while not self._end.is_set():
            chance.choices(list(self._weights), list(self._weights.values()))[0](chance)

    def _create(self, chance: random.Random) -> None:
        wanted = self._wanted(chance)
        options = wanted["ray_options"]
        args = {"agent": wanted["name"], "max_restarts": options["max_restarts"]}
        self._ask("create_agent", args, lambda: self._scheduler.create_agent(**wanted))

    def _create_several(self, chance: random.Random) -> None:
        wanted = {one["name"]: one for one in (self._wanted(chance) for _ in range(3))}
        numbers = {}
        for name, one in wanted.items():
            args = {"agent": name, "max_restarts": one["ray_options"]["max_restarts"]}
            numbers[name] = self._asked("create_agent", args)
        began = time.monotonic()
        requests = [schedulemesh.AgentRequest(**one) for one in wanted.values()]
        replies: list[Any]
        try:
            replies = list(self._scheduler.create_agents(requests))
        except Exception as error:  # noqa: BLE001 - whatever it is goes into the history
            replies = [error] * len(wanted)
        for number, reply in zip(numbers.values(), replies, strict=True):
            self._answered("create_agent", number, began, reply)

    def _get(self, chance: random.Random) -> None:
        name = self._name(chance)
        self._ask("get_agent", {"agent": name}, lambda: self._scheduler.get_agent(name))

    def _look(self, chance: random.Random) -> None:
        pool = chance.choice((*SHARED, self._own))
        looks: list[tuple[str, dict[str, Any], Callable[[], Any]]] = [
            ("get_pool", {"pool": pool}, lambda: self._scheduler.get_pool(pool)),
            ("list_pools", {}, self._scheduler.list_pools),
            ("list_agents", {"pool": pool}, lambda: self._scheduler.list_agents(pool)),
            ("status", {}, self._scheduler.status),
        ]
        self._ask(*chance.choice(looks))

    def _delete(self, chance: random.Random) -> None:
        name, force = self._name(chance), chance.random() < 0.3  # noqa: PLR2004 - three in ten
        args = {"agent": name, "force": force}
        self._ask("delete_agent", args, lambda: self._scheduler.delete_agent(name, grace_s=5.0, force=force))

    def _cycle_own_pool(self, _: random.Random) -> None:
        """A pool that comes and goes, with whatever agents are in it."""
        pool = {"pool": self._own}
        self._ask("delete_pool", pool, lambda: self._scheduler.delete_pool(self._own, force=True))
        self._ask("create_pool", pool, lambda: self._create_pool(self._own, 0.5, 2))

    def _resize(self, chance: random.Random) -> None:
        size = chance.choice((4, 5, 6))
        args = {"pool": "red", "target_agents": size}
        self._ask("resize_pool", args, lambda: self._scheduler.resize_pool("red", target_agents=size))

    def _create_pool(self, pool: str, cpu: float, target_agents: int) -> Any:
        return self._scheduler.create_pool(pool, {"color": pool}, {"cpu": cpu}, target_agents=target_agents)

    def _ask(self, op: str, args: dict[str, Any], work: Callable[[], Any]) -> Any:
        number = self._asked(op, args)
        began = time.monotonic()
        try:
            reply = work()
        except Exception as error:  # noqa: BLE001 - whatever it is goes into the history
            self._answered(op, number, began, error)
            return None
        self._answered(op, number, began, reply)
        return reply

    def _asked(self, op: str, args: dict[str, Any]) -> int:
        number = next(self._numbers)
        self._lines.write("request", driver=self.name, life=self.life, number=number, op=op, args=args)
        return number

    def _answered(self, op: str, number: int, began: float, reply: Any) -> None:
        fields: dict[str, Any] = {"driver": self.name, "life": self.life, "number": number, "op": op}
        fields["took"] = time.monotonic() - began
        if isinstance(reply, Exception):
            self._lines.write("answer", **fields, **problem_of(reply))
        else:
            self._keep_handles(reply)
            self._lines.write("answer", **fields, value=_value(reply))

    # -- calls --------------------------------------------------------------------------------------------------

    def _keep_handles(self, reply: Any) -> None:
        agents = [*reply.get("agents", []), reply.get("agent")] if isinstance(reply, dict) else []
        for agent in agents:
            if isinstance(agent, dict) and agent["handle"] is not None and agent["actor_id"] is not None:
                # The handle is the name's actor now, which may be a later one than the answer was about.
                self._handles[agent["name"]] = (agent["handle"]._actor_id.hex(), agent["handle"])  # noqa: SLF001

    def _calling(self, chance: random.Random) -> None:
        while not self._end.wait(_PACE_S):
            known = sorted(self._handles.copy().items(), key=lambda one: one[0])
            if known:
                self._call(*chance.choice(known))

    def _call(self, agent: str, known: tuple[str, Any]) -> None:
        actor_id, handle = known
        fields: dict[str, Any] = {"driver": self.name, "life": self.life, "agent": agent, "actor_id": actor_id}
        began, wall = time.monotonic(), time.time()
        try:
            fields["value"] = ray.get(handle.who.remote(), timeout=CALL_S)
        except Exception as error:  # noqa: BLE001 - whatever it is goes into the history
            fields |= problem_of(error)
            if self._handles.get(agent) == known:
                del self._handles[agent]
        self._lines.write("call", **fields, at=began, wall=wall, took=time.monotonic() - began)

    # -- inside -------------------------------------------------------------------------------------------------

    def _wanted(self, chance: random.Random) -> dict[str, Any]:
        name = self._name(chance)
        pool = name.rpartition("-")[0]
        variable = chance.choice(("", "", f"of {name}"))
        return {
            "name": name,
            "pool": pool,
            "actor_class": Probe,
            "resources": {"cpu": chance.choice((0.25, 0.75))} if pool == "blue" else None,
            "ray_options": {
                "max_concurrency": 1,
                "max_restarts": chance.choice((-1, -1, 0)),
                "get_if_exists": chance.random() < 0.3,  # noqa: PLR2004 - three in ten
                "runtime_env": {"env_vars": {VARIABLE: variable}} if variable else {},
            },
            "actor_kwargs": {"journal": self._journal, "variable": variable},
        }

    def _name(self, chance: random.Random) -> str:
        pool = chance.choice((*SHARED, *SHARED, self._own))
        return f"{pool}-{chance.randrange(NAMES if pool in SHARED else OWN_NAMES)}"

    def _chance(self, thread: int) -> random.Random:
        return random.Random(f"{self._seed}/{self.name}/{self.life}/{thread}")  # noqa: S311 - to be replayed

    def _listen(self) -> None:
        if not sys.stdin.readline():
            os._exit(1)
        self._end.set()


def _value(reply: Any) -> Any:
    if not isinstance(reply, dict):
        return None
    if "agents" in reply and isinstance(reply["agents"], list):
        return {"agents": [brief(agent) for agent in reply["agents"]]}
    if "agent" in reply:
        return {**reply, "agent": brief(reply["agent"])}
    return reply


if __name__ == "__main__":
    Driver(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]).run()
