"""Shapes of the replies: plain dicts, typed. Times are UTC seconds since the epoch; memory is in MB."""

from __future__ import annotations

from typing import Any, TypedDict


class PoolInfo(TypedDict):
    """One pool. Resource dicts always carry cpu (cores), memory (MB) and gpu, and every custom kind in play.

    `warm_agents` idle processes are wanted for its next agents, and `warm_ready` stand ready.
    """

    name: str
    labels: dict[str, str]
    state: str
    target_agents: int
    default_agent_resources: dict[str, float] | None
    capacity: dict[str, float]
    used_resources: dict[str, float]
    available_resources: dict[str, float]
    agents: int
    warm_agents: int
    warm_ready: int
    created_at: float


class AgentInfo(TypedDict):
    """One agent. `handle` is its Ray actor handle while it lives, else None; `cause` says why it ended or restarts."""

    name: str
    pool: str
    labels: dict[str, str]
    resources: dict[str, float]
    options: dict[str, Any]
    state: str
    actor_id: str | None
    actor_name: str
    namespace: str
    node_id: str | None
    pid: int | None
    restarts: int
    created_at: float
    started_at: float | None
    cause: str | None
    handle: Any


class PoolReply(TypedDict):
    pool: PoolInfo


class CreatePoolReply(TypedDict):
    pool: PoolInfo
    created: bool


class PoolsReply(TypedDict):
    pools: list[PoolInfo]


class AgentReply(TypedDict):
    agent: AgentInfo


class CreateAgentReply(TypedDict):
    agent: AgentInfo
    created: bool


class AgentsReply(TypedDict):
    agents: list[AgentInfo]


class StatusReply(TypedDict):
    """The mesh at a glance. `committed` is the capacity of all pools without overcommit; `agents` counts by state.

    `launchers`: how many `living` ones there are, and how many of them the mesh started on its `own`.
    `warm_agents`: how many idle processes are `wanted` for agents to come, and how many are `ready`.
    """

    mesh: str
    namespace: str
    state: str
    version: str
    client_version: str
    protocol: int
    ray_version: str
    pid: int
    started_at: float
    headroom: float
    cluster: dict[str, float]
    committed: dict[str, float]
    pools: int
    agents: dict[str, int]
    launchers: dict[str, int]
    warm_agents: dict[str, int]
