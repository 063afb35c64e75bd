"""The history of a chaos run: one JSON line for each thing that was asked, answered, seen or killed.

`at` is the machine's monotonic clock, which all its processes share, so lines of different processes can be compared;
`wall` is UTC. Who reads a history needs nothing else of the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

REFUSALS = frozenset(
    {
        "AgentExistsError",
        "AgentNotFoundError",
        "InsufficientClusterCapacityError",
        "InsufficientPoolCapacityError",
        "PoolExistsError",
        "PoolNotEmptyError",
        "PoolNotFoundError",
    }
)
"""Answers that say no and mean it."""
RETRYABLE = frozenset({"SupervisorUnavailableError"})
STARTS = frozenset({"AgentStartError", "AgentStartTimeoutError"})
"""The agent was admitted and did not come up."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    """What every line has."""

    at: float
    wall: float = 0.0


class Request(Entry, frozen=True, kw_only=True):
    """A driver is about to ask. `life` counts the driver's processes, `number` this one's requests."""

    driver: str
    life: int
    number: int
    op: str
    args: dict[str, Any]


class Answer(Entry, frozen=True, kw_only=True):
    """What came of the request of the same driver, life and number. `error` is the error's type."""

    driver: str
    life: int
    number: int
    op: str
    took: float
    value: Any = None
    error: str = ""
    message: str = ""

    @property
    def outcome(self) -> str:
        if not self.error:
            return "ok"
        return "refused" if self.error in REFUSALS else "retryable" if self.error in RETRYABLE else "failed"


class Call(Entry, frozen=True, kw_only=True):
    """A call to an agent through its handle, with the identity of the process that answered. `at` is when it began."""

    driver: str
    life: int
    agent: str
    actor_id: str
    took: float
    value: dict[str, Any] | None = None
    error: str = ""
    message: str = ""


class Kill(Entry, frozen=True, kw_only=True):
    """Something was about to be killed: a process, or a whole node. `kind` is the decision it belongs to."""

    kind: str
    what: str
    moment: str = "any"
    agent: str = ""
    actor_id: str = ""
    driver: str = ""
    node: str = ""
    pid: int = 0


class Back(Entry, frozen=True, kw_only=True):
    """What had been killed was started again by the run: the GCS, or a node in the place of the one that went."""

    what: str
    node: str = ""


class Gone(Entry, frozen=True, kw_only=True):
    """A driver's process ended. `ready`: it had connected to the mesh. `killed`: the run meant it."""

    driver: str
    life: int
    code: int
    killed: bool
    ready: bool
    last_words: str = ""


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """One row of Ray's actor table that is the mesh's: an agent, a launcher or the supervisor."""

    actor_id: str
    name: str
    role: str
    state: str
    pid: int = 0
    start: int = 0
    node: str = ""
    cpu: float = 0.0

    @property
    def lives(self) -> bool:
        return self.state != "DEAD"


class Table(Entry, frozen=True, kw_only=True):
    """The living rows of Ray's actor table, in one reading that began at `at`, and how many keys the mesh has."""

    took: float
    actors: list[Actor]
    keys: int


class Born(Entry, frozen=True, kw_only=True):
    """An agent's constructor ran, in this process (`start`: its start time, by which a pid is told from its next)."""

    agent: str
    actor_id: str
    pid: int
    start: int
    node: str


class Met(Entry, frozen=True, kw_only=True):
    """When an agent's constructor ran, another process still held the lock of its name, which only its end frees."""

    agent: str
    actor_id: str
    pid: int
    other_actor_id: str
    other_pid: int


class Alone(Entry, frozen=True, kw_only=True):
    """The process that was met has ended."""

    agent: str
    actor_id: str
    pid: int


class Rest(Entry, frozen=True, kw_only=True):
    """What the mesh says of itself after everything came to rest; `seen` is Ray's table then.

    `stranded` are the cpus that Ray has given out, and no agent holds: what Ray itself lost with its GCS.
    """

    pools: list[dict[str, Any]]
    agents: dict[str, dict[str, Any] | None]
    calls: dict[str, str]
    calm: bool
    seen: list[Actor]
    stranded: float = 0.0


class Left(Entry, frozen=True, kw_only=True):
    """What was still there after the mesh had been stopped."""

    actors: list[str]
    keys: int
    processes: list[str]
    problem: str = ""


AnyEntry = Request | Answer | Call | Kill | Back | Gone | Table | Born | Met | Alone | Rest | Left

_DECODER: msgspec.json.Decoder[AnyEntry] = msgspec.json.Decoder(AnyEntry)


def decode(line: bytes) -> AnyEntry:
    """Raises msgspec.DecodeError for what is not a line of a history."""
    return _DECODER.decode(line)


def encode(entry: AnyEntry) -> bytes:
    return msgspec.json.encode(entry)


def load(path: Path) -> list[AnyEntry]:
    """The whole history, as it stands in the file: entry n is line n + 1."""
    with path.open("rb") as lines:
        return [decode(line) for line in lines]
