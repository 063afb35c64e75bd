"""A history of a chaos run in the making, for the tests of its checker."""

from __future__ import annotations

from typing import Any

from chaoslib.checker import check
from chaoslib.history import (
    Actor,
    Answer,
    AnyEntry,
    Born,
    Call,
    Kill,
    Left,
    Request,
    Rest,
    Table,
)

A, B = "actor-a", "actor-b"


class Story:
    """A history in the making. Times are seconds from the beginning."""

    def __init__(self) -> None:
        self.entries: list[AnyEntry] = []
        self._number = 0

    def ask(self, op: str, begin: float, end: float | None = None, /, *, answer: Any = None, **args: Any) -> None:
        """A request, answered at `end` with a value, or with an error given as (type, message)."""
        self._number += 1
        who: dict[str, Any] = {"driver": "d1", "life": 1, "number": self._number, "op": op}
        self.entries.append(Request(at=begin, args=args, **who))
        if end is not None:
            said: dict[str, Any] = (
                {"error": answer[0], "message": answer[1]} if isinstance(answer, tuple) else {"value": answer}
            )
            self.entries.append(Answer(at=end, took=end - begin, **who, **said))

    def create(self, begin: float, end: float | None, actor: str = A, *, max_restarts: int = -1) -> None:
        answer = {"agent": agent(actor), "created": True}
        self.ask("create_agent", begin, end, answer=answer, agent="red-1", max_restarts=max_restarts)

    def delete(self, begin: float, end: float | None, actor: str = A) -> None:
        self.ask("delete_agent", begin, end, answer={"agent": agent(actor, "stopped")}, agent="red-1")

    def born(self, at: float, actor: str = A, pid: int = 1, node: str = "n1") -> None:
        self.entries.append(Born(at=at, agent="red-1", actor_id=actor, pid=pid, start=pid, node=node))

    def call(
        self, at: float, actor: str = A, *, pid: int = 1, error: str = "", message: str = "", took: float = 0.1
    ) -> None:
        value = None if error else {"actor_id": actor, "pid": pid, "start": pid, "at": at + took}
        who: dict[str, Any] = {"driver": "d1", "life": 1, "agent": "red-1", "actor_id": actor}
        self.entries.append(Call(at=at, took=took, value=value, error=error, message=message, **who))

    def kill(self, at: float, what: str, **fields: Any) -> None:
        self.entries.append(Kill(at=at, kind=what, what=what, **fields))

    def table(self, at: float, *actors: Actor) -> None:
        self.entries.append(Table(at=at, took=0.01, actors=list(actors), keys=1))

    def end(self, *actors: Actor, used: float | None = None, calm: bool = True, **found: dict[str, Any] | None) -> None:
        """Come to rest with these actors in Ray's table, and the mesh saying what is `found`; then stop."""
        booked = {name.replace("_", "-"): one for name, one in found.items()}
        living = [one for one in booked.values() if one and one["state"] == "running"]
        rest = Rest(
            at=900.0,
            pools=[pool(sum(one["cpu"] for one in living) if used is None else used)],
            agents=booked,
            calls={one["name"]: one["actor_id"] for one in living},
            calm=calm,
            seen=list(actors),
        )
        self.entries += [rest, Left(at=910.0, actors=[], keys=0, processes=[])]

    def replace_last(self, **fields: Any) -> None:
        last = self.entries.pop()
        self.entries.append(type(last)(**{name: getattr(last, name) for name in last.__struct_fields__} | fields))

    def violations(self) -> list[str]:
        return [violation.rule for violation in check(sorted(self.entries, key=lambda entry: entry.at))]


def agent(actor: str = A, state: str = "running", cause: str | None = None) -> dict[str, Any]:
    cause = cause or ("deleted" if state == "stopped" else None)
    return {"name": "red-1", "pool": "red", "state": state, "actor_id": actor, "cause": cause, "cpu": 0.5}


def pool(used: float, capacity: float = 1.0) -> dict[str, Any]:
    return {"name": "red", "capacity": {"cpu": capacity}, "used_resources": {"cpu": used}}


def row(actor: str = A, state: str = "ALIVE", name: str = "red-1", node: str = "") -> Actor:
    return Actor(actor_id=actor, name=name, role="agent", state=state, pid=1, start=1, node=node, cpu=0.5)
