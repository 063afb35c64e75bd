"""Errors: every refusal and failure a user can meet, with its numbers as fields and what to do in its message.

The supervisor sends an error as data (its name and fields); only the client raises it. A class here is the one
place that knows the wording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class ScheduleMeshError(Exception):
    """Above all errors of this package. Fields are plain data; every error pickles."""

    @property
    def message(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.message

    def details(self) -> dict[str, Any]:
        """The fields as plain data, enough to build the error again on the other side."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self).__name__, self.details())


@dataclass(eq=False)
class InvalidRequestError(ScheduleMeshError, ValueError):
    """The request itself is wrong; nothing was changed."""

    field: str
    problem: str

    @property
    def message(self) -> str:
        return f"{self.field}: {self.problem}"


@dataclass(eq=False)
class InsufficientPoolCapacityError(ScheduleMeshError, ValueError):
    """The pool has no room for the agent now. Amounts: cpu in cores, memory in MB."""

    agent: str
    pool: str
    short: Sequence[str]
    asked: dict[str, float]
    available: dict[str, float]
    capacity: dict[str, float]
    could_ever_fit: bool

    @property
    def message(self) -> str:
        left, whole = self.available, self.capacity
        has = ", ".join([f"{kind}={exact(left.get(kind, 0))} of {exact(whole.get(kind, 0))}" for kind in self.short])
        todo = (
            "delete an agent, ask for less, or resize the pool"
            if self.could_ever_fit
            else "it would not fit into the empty pool either: ask for less, or resize the pool"
        )
        return (
            f"Insufficient pool capacity: agent {self.agent!r} asks {_only(self.asked, self.short)}, "
            f"pool {self.pool!r} has {has} available; {todo}"
        )


@dataclass(eq=False)
class InsufficientClusterCapacityError(ScheduleMeshError, ValueError):
    """The cluster cannot back the pool's capacity. `available` is the cluster less headroom and other pools."""

    pool: str
    short: Sequence[str]
    asked: dict[str, float]
    available: dict[str, float]
    cluster: dict[str, float]
    headroom: float

    @property
    def message(self) -> str:
        kept = f" ({self.headroom:.0%} kept as headroom)" if self.headroom else ""
        return (
            f"Insufficient cluster capacity: pool {self.pool!r} asks {_only(self.asked, self.short)}, "
            f"{_only(self.available, self.short)} is not promised to other pools, "
            f"the cluster has {_only(self.cluster, self.short)}{kept}; "
            "ask for less, shrink another pool, or pass overcommit=True if the cluster autoscales"
        )


@dataclass(eq=False)
class NoNodeFitsError(ScheduleMeshError, ValueError):
    """No node is large enough for the agent, even when empty. `largest` is the most any one node has of a kind."""

    agent: str
    asked: dict[str, float]
    nodes: int
    largest: dict[str, float]

    @property
    def message(self) -> str:
        asked = {kind: value for kind, value in self.asked.items() if value}
        return (
            f"No node fits agent {self.agent!r}: it asks {_only(asked, asked)}, and none of {self.nodes} nodes has "
            f"that in one place (the most on any one node: {_only(self.largest, asked)}); "
            "ask for less, or add a larger node"
        )


@dataclass(eq=False)
class PoolNotFoundError(ScheduleMeshError, LookupError):
    pool: str
    close: Sequence[str] = ()

    @property
    def message(self) -> str:
        return f"No pool {self.pool!r}{_meant(self.close)}; list_pools() shows what there is"


@dataclass(eq=False)
class AgentNotFoundError(ScheduleMeshError, LookupError):
    agent: str
    close: Sequence[str] = ()

    @property
    def message(self) -> str:
        return f"No agent {self.agent!r}{_meant(self.close)}; list_agents() shows what there is"


@dataclass(eq=False)
class PoolExistsError(ScheduleMeshError):
    """A pool of this name has other content: `differs` says what is there and what was asked for."""

    pool: str
    differs: Sequence[str]

    @property
    def message(self) -> str:
        return (
            f"Pool {self.pool!r} exists and differs: {'; '.join(self.differs)}; "
            "use resize_pool() or delete_pool(), or take another name"
        )


@dataclass(eq=False)
class AgentExistsError(ScheduleMeshError):
    """An agent of this name lives. `differs` says in what it is another than the one asked for."""

    agent: str
    state: str
    differs: Sequence[str] = ()

    @property
    def message(self) -> str:
        other = f" and differs in {', '.join(self.differs)}" if self.differs else ""
        return (
            f"Agent {self.agent!r} exists ({self.state}){other}; "
            "take another name, delete it first, or get it with get_agent()"
        )


@dataclass(eq=False)
class PoolNotEmptyError(ScheduleMeshError):
    """Agents hold more than the change would leave. Amounts: cpu in cores, memory in MB."""

    pool: str
    agents: int
    used: dict[str, float]
    capacity: dict[str, float]

    @property
    def message(self) -> str:
        used = {kind: value for kind, value in self.used.items() if value}
        return (
            f"Pool {self.pool!r} has {self.agents} agents that hold {_only(used, used) or 'nothing'}, "
            f"and would be left with {_only(self.capacity, used) or 'nothing'}; delete agents first, or pass force=True"
        )


@dataclass(eq=False)
class MeshNotEmptyError(ScheduleMeshError):
    """stop() without force while agents live."""

    agents: int
    examples: Sequence[str]

    @property
    def message(self) -> str:
        return (
            f"The mesh has {self.agents} living agents ({', '.join(self.examples)}"
            f"{', …' if self.agents > len(self.examples) else ''}); delete them first, or pass force=True"
        )


@dataclass(eq=False)
class AgentSignatureError(ScheduleMeshError, TypeError):
    """The class cannot be constructed with these arguments; found before anything was sent."""

    agent: str
    actor_class: str
    problem: str

    @property
    def message(self) -> str:
        return (
            f"{self.actor_class}.__init__() {self.problem} (agent {self.agent!r}; the constructor is called as "
            f"{self.actor_class}(name, labels, supervisor, *actor_args, **actor_kwargs))"
        )


@dataclass(eq=False)
class AgentStartError(ScheduleMeshError):
    """The agent could not start; its capacity is back and its name is free. `cause` holds the user's traceback."""

    agent: str
    cause: str

    @property
    def message(self) -> str:
        return f"Agent {self.agent!r} did not start: {self.cause}"


@dataclass(eq=False)
class AgentStartTimeoutError(ScheduleMeshError, TimeoutError):
    """The agent was not up in time; it was ended and its capacity is back."""

    agent: str
    timeout_s: float
    waiting_for: str

    @property
    def message(self) -> str:
        return (
            f"Agent {self.agent!r} was not up after {self.timeout_s:g} s: {self.waiting_for}; "
            "it was ended and holds nothing"
        )


@dataclass(eq=False)
class SupervisorNotRunningError(ScheduleMeshError):
    """The cluster has no supervisor of this name."""

    mesh: str
    namespace: str

    @property
    def message(self) -> str:
        return (
            f"No supervisor {self.mesh!r} in namespace {self.namespace!r}; "
            "start one with `schedulemesh up` or schedulemesh.connect()"
        )


@dataclass(eq=False)
class SupervisorUnavailableError(ScheduleMeshError, TimeoutError):
    """No answer in time, through restarts and retries. What was asked may or may not have been done.

    Looking is always safe. A second call is a new request: a create that was done is refused by its own name, and a
    delete ends whoever has the name by then. So look first.
    """

    mesh: str
    timeout_s: float
    reason: str

    @property
    def message(self) -> str:
        if not self.timeout_s:  # it did answer: that it cannot do anything
            return f"Supervisor {self.mesh!r} cannot serve: {self.reason}"
        return (
            f"Supervisor {self.mesh!r} gave no answer within {self.timeout_s:g} s: {self.reason}; "
            "what was asked may have been done: look before asking again"
        )


@dataclass(eq=False)
class ProtocolMismatchError(ScheduleMeshError):
    """Client and supervisor speak different versions; nothing was changed."""

    client: int
    supervisor: int

    @property
    def message(self) -> str:
        return (
            f"This client speaks protocol {self.client}, the supervisor protocol {self.supervisor}; "
            "install the same schedulemesh version on both sides; a supervisor runs the version it was started with "
            "until its process ends, and comes back with the one that is installed then"
        )


def exact(amount: float) -> str:
    """An amount as it is booked, to the last of its four digits: a refusal may rest on that one."""
    whole = int(amount)
    return str(whole) if whole == amount else f"{amount:.4f}".rstrip("0").rstrip(".")


def rebuild(name: str, details: Mapping[str, Any]) -> ScheduleMeshError:
    """The error of that name with those fields, as it was on the other side."""
    return ERRORS[name](**details)


def _only(amounts: Mapping[str, float], kinds: Sequence[str] | Mapping[str, float]) -> str:
    return ", ".join([f"{kind}={exact(amounts.get(kind, 0))}" for kind in kinds])


def _meant(close: Sequence[str]) -> str:
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


ERRORS: dict[str, type[ScheduleMeshError]] = {
    cls.__name__: cls
    for cls in (
        InvalidRequestError,
        InsufficientPoolCapacityError,
        InsufficientClusterCapacityError,
        NoNodeFitsError,
        PoolNotFoundError,
        AgentNotFoundError,
        PoolExistsError,
        AgentExistsError,
        PoolNotEmptyError,
        MeshNotEmptyError,
        AgentSignatureError,
        AgentStartError,
        AgentStartTimeoutError,
        SupervisorNotRunningError,
        SupervisorUnavailableError,
        ProtocolMismatchError,
    )
}
