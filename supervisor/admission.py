"""Admission: from a create request to the record of an agent, or one of our errors. Pure checks, nothing is changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from schedulemesh.core.amounts import Amounts, check_one_agent
from schedulemesh.core.environments import encode_environment
from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.messages import MAX_SECONDS, CreateAgent, check_blob
from schedulemesh.core.names import check_labels, check_name
from schedulemesh.core.options import (
    MAX_BYTES,
    RESOURCE_OPTIONS,
    check_options,
    differing,
    named_amounts,
    without_resources,
)
from schedulemesh.core.records import AgentRecord, PoolRecord, digest
from schedulemesh.core.states import AgentState

POOL_LABEL = "pool"
_ARGUMENTS = (
    "actor_args or actor_kwargs (compared as they are pickled, which for sets, and for objects of classes "
    "that the script itself defines, differs from run to run)"
)


class Terms(msgspec.Struct, frozen=True):
    """What a request for an agent comes to, once it was found to be in order. `environment` is encoded."""

    name: str
    need: Amounts
    own_labels: dict[str, str]
    options: dict[str, Any]
    actor_name: str
    namespace: str
    environment: bytes


def admit(body: CreateAgent, pool: PoolRecord, mesh_namespace: str) -> Terms:
    """The terms on which the agent may have its place; raises InvalidRequestError for what cannot be.

    The id of the request was checked when it came in.
    """
    name = check_name(body.name, "agent name")
    own_labels = check_labels(body.labels, "labels")
    decorator = check_options(body.decorator, "@ray.remote options")
    given = check_options(body.options)
    options = {**decorator, **given}
    if not 0 < body.timeout_s <= MAX_SECONDS:
        raise InvalidRequestError(
            field="timeout_s", problem=f"must be above 0 and at most {MAX_SECONDS:g}, got {body.timeout_s}"
        )
    check_blob(len(body.class_blob), "actor_class")
    check_blob(len(body.args_blob), "actor_args and actor_kwargs")
    need = _need(body, pool, decorator, given)
    check_name(body.class_name, "actor_class name")
    _check_inherited(body.inherited_env)
    return Terms(
        name=name,
        need=need,
        own_labels=own_labels,
        options=without_resources(options),
        environment=encode_environment(body.environment),
        actor_name=options.get("name", name),
        namespace=_namespace(body, options, mesh_namespace),
    )


def record_of(body: CreateAgent, terms: Terms, pool: PoolRecord, now: float) -> AgentRecord:
    """The record of an agent that starts now. It names the blobs by their hash, which a refused agent does not need."""
    return AgentRecord(
        uid=body.request_id,
        name=terms.name,
        pool_uid=pool.uid,
        pool=pool.name,
        need=terms.need,
        labels={**pool.labels, **terms.own_labels, POOL_LABEL: pool.name},
        own_labels=terms.own_labels,
        options=terms.options,
        class_name=body.class_name,
        class_blob=digest(body.class_blob),
        args_blob=digest(body.args_blob),
        environment=digest(terms.environment),
        driver_node=body.environment.node_id,
        actor_name=terms.actor_name,
        namespace=terms.namespace,
        state=AgentState.STARTING,
        created_at=now,
        start_deadline=now + body.timeout_s,
        timeout_s=body.timeout_s,
        inherited_env=body.inherited_env,
    )


def differences(there: AgentRecord, asked: AgentRecord) -> list[str]:
    """In what the agent that is there is another than the one asked for.

    Classes are compared by name: the pickled bytes of a class defined in a script change from run to run.
    """
    same_field = {
        "pool": there.pool_uid == asked.pool_uid,
        "actor_class": there.class_name == asked.class_name,
        _ARGUMENTS: there.args_blob == asked.args_blob,
        "resources": there.need == asked.need,
        "labels": there.own_labels == asked.own_labels,
        "actor name": (there.namespace, there.actor_name) == (asked.namespace, asked.actor_name),
    }
    return [field for field, same in same_field.items() if not same] + [
        f"ray_options[{name!r}]"
        for name in differing(there.options, asked.options)
        if name not in ("name", "namespace")
    ]


def check_grace(grace_s: float) -> float:
    if not math.isfinite(grace_s) or not 0 <= grace_s <= MAX_SECONDS:
        raise InvalidRequestError(field="grace_s", problem=f"must be 0 to {MAX_SECONDS:g}, got {grace_s}")
    return grace_s


def check_batch(agents: Sequence[CreateAgent], limit: int) -> None:
    """Refuse a batch that is too long, or in which two requests have the same id."""
    if len(agents) > limit:
        raise InvalidRequestError(field="requests", problem=f"has {len(agents):,} entries, the limit is {limit:,}")
    if len({agent.request_id for agent in agents}) != len(agents):
        raise InvalidRequestError(field="requests", problem="has two entries with the same request id")


def _check_inherited(env_vars: dict[str, str]) -> None:
    size = sum(len(name.encode()) + len(value.encode()) for name, value in env_vars.items())
    if size > MAX_BYTES:
        raise InvalidRequestError(
            field="env_vars", problem=f"of the creating agent take {size:,} bytes, the limit is {MAX_BYTES:,}"
        )


def _need(body: CreateAgent, pool: PoolRecord, decorator: dict[str, object], given: dict[str, object]) -> Amounts:
    """What the agent gets, layer over layer: the decorator, the pool's default, ray_options, resources."""
    lowest, lowest_kinds = named_amounts(decorator, "@ray.remote options")
    named, named_kinds = named_amounts(given, "ray_options")
    if body.resources is not None:
        resources = Amounts.parse(body.resources, "resources")
        need = lowest.overlaid(named, named_kinds).overlaid(resources, body.resources)
    elif pool.target_agents:
        need = lowest.overlaid(pool.resources, pool.resources.units).overlaid(named, named_kinds)
    elif named_kinds or lowest_kinds:
        need = lowest.overlaid(named, named_kinds)
    else:
        raise InvalidRequestError(
            field="resources",
            problem=f"must be given: pool {pool.name!r} has no default for an agent (target_agents is 0); "
            f"pass resources=, or {', '.join(RESOURCE_OPTIONS)} in ray_options",
        )
    check_one_agent(need, "resources")
    return need


def _namespace(body: CreateAgent, options: dict[str, object], mesh_namespace: str) -> str:
    """A user who named the actor looks for it in the driver's own namespace; the mesh's own names stay together."""
    if "namespace" in options:
        return str(options["namespace"])
    if "name" in options and body.namespace:
        return check_name(body.namespace, "namespace")
    return mesh_namespace
