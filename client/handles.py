"""Handles: an agent's Ray handle as a caller can use it, whether or not this process has the agent's module.

Attributes of Ray's that are not public: `_ray_method_signatures` of a handle, and the name of a method that only Ray's
stand-in for a missing class has. If they go, a driver without the module has to pass arguments by name. `_actor_id`,
which actor a handle is for; if it goes, `actor_id` in its repr says the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from inspect import Parameter
from typing import Any

import ray
from ray.exceptions import RayError

from schedulemesh.client.environment import is_ray_client
from schedulemesh.raycompat.handle_bytes import from_bytes

_STAND_IN = "_TemporaryActor__dummy_method"
"""A method that only Ray's stand-in for a class that cannot be imported has."""
_ANY_ARGUMENTS = Parameter("args", Parameter.VAR_POSITIONAL)
_NEWS_S = 1.0
"""How long a name may lead to the actor that had it before: Ray tells each process of an actor's end by itself."""
_LOOK_S = 0.02


def handle_of(agent: Mapping[str, Any]) -> Any:
    """The handle of exactly this agent's actor, from what a supervisor tells of it (`handle`: as Ray serializes it).

    Without that, as while it is starting, the actor is looked up by name: None if it is not there, or Ray cannot tell;
    another may have its name. Then, while the GCS is away, Ray waits for it, up to a minute, unless this process has
    seen the actor before.
    """
    if agent["handle"] and not is_ray_client():
        with suppress(Exception):  # whatever another version of Ray may have against it, there is the name
            handle = from_bytes(agent["handle"])
            if handle._actor_id.hex() == agent["actor_id"]:  # noqa: SLF001 - see the module's list
                return _with_positional_arguments(handle)
    return _looked_up(agent["actor_name"], agent["namespace"], agent["actor_id"])


def _looked_up(actor_name: str, namespace: str, actor_id: str | None) -> Any:
    until = time.monotonic() + _NEWS_S
    while actor_id is not None:
        try:
            handle = ray.get_actor(actor_name, namespace=namespace)
        except (ValueError, RayError):
            return None
        if handle._actor_id.hex() == actor_id:  # noqa: SLF001 - see the module's list
            return _with_positional_arguments(handle)
        if time.monotonic() > until:
            return None
        time.sleep(_LOOK_S)
    return None


def _with_positional_arguments(handle: Any) -> Any:
    """The handle, mended if Ray could not import its class.

    Then Ray puts in a stand-in whose methods are all `(*args, **kwargs)`, and drops the first parameter as if it were
    `self`: what is left takes keywords only. Positional ones are let in again; the agent itself checks them.
    """
    signatures = getattr(handle, "_ray_method_signatures", {})
    if _STAND_IN in signatures:
        for parameters in signatures.values():
            if _ANY_ARGUMENTS not in parameters:
                parameters.insert(0, _ANY_ARGUMENTS)
    return handle
