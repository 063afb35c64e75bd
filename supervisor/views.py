"""Views: records as the plain dicts that clients get. Values of environment variables never pass through here."""

from __future__ import annotations

from typing import Any

from schedulemesh.core.options import DEFAULTS, shown
from schedulemesh.core.records import AgentRecord, PoolRecord
from schedulemesh.supervisor.ledger import Account, capacity_of


def pool_info(pool: PoolRecord, account: Account | None, warm_ready: int) -> dict[str, Any]:
    """A PoolInfo; a pool that is gone has no account and shows its last capacity, unused."""
    capacity = account.capacity if account else capacity_of(pool.resources, pool.target_agents)
    return {
        "name": pool.name,
        "labels": pool.labels,
        "state": pool.state.value,
        "target_agents": pool.target_agents,
        "default_agent_resources": pool.resources.as_dict() if pool.target_agents else None,
        "capacity": capacity.as_dict(),
        "used_resources": account.used.as_dict(capacity) if account else capacity.times(0).as_dict(capacity),
        "available_resources": account.available.as_dict(capacity) if account else capacity.as_dict(),
        "agents": len(account.holds) if account else 0,
        "warm_agents": pool.warm_agents,
        "warm_ready": warm_ready,
        "created_at": pool.created_at,
    }


def agent_info(agent: AgentRecord) -> dict[str, Any]:
    """An AgentInfo whose handle is still as Ray serializes it, if it is known; only a client can have the handle."""
    return {
        "name": agent.name,
        "pool": agent.pool,
        "labels": agent.labels,
        "resources": agent.need.as_dict(),
        "options": _resolved(agent, shown(agent.options) if agent.options else {}),
        "state": agent.state.value,
        "actor_id": agent.actor_id,
        "actor_name": agent.actor_name,
        "namespace": agent.namespace,
        "node_id": agent.node_id,
        "pid": agent.pid,
        "restarts": agent.restarts,
        "created_at": agent.created_at,
        "started_at": agent.started_at,
        "cause": agent.cause,
        "handle": agent.handle,
    }


def ray_options(agent: AgentRecord) -> dict[str, Any]:
    """What Ray is asked for: the defaults, the options given, and exactly the amounts booked.

    Always detached: the agent's owner is the mesh, and it has to outlive a supervisor crash.
    """
    return _resolved(agent, agent.options)


def _resolved(agent: AgentRecord, given: dict[str, Any]) -> dict[str, Any]:
    return {
        **DEFAULTS,
        **given,
        **agent.need.as_ray_options(),
        "lifetime": "detached",
        "name": agent.actor_name,
        "namespace": agent.namespace,
    }
