"""Handles: an agent's Ray handle as a caller can use it, whether or not this process has the agent's module.

Attributes of Ray's that are not public: `_ray_method_signatures` of a handle, and the name of a method that only Ray's
stand-in for a missing class has. If they go, a driver without the module has to pass arguments by name. `_actor_id`,
which actor a handle is for; if it goes, `actor_id` in its repr says the same.
"""

from __future__ import annotations

import time
from inspect import Parameter
from typing import Any

import ray
from ray.exceptions import RayError

_STAND_IN = "_TemporaryActor__dummy_method"
"""A method that only Ray's stand-in for a class that cannot be imported has."""
_ANY_ARGUMENTS = Parameter("args", Parameter.VAR_POSITIONAL)
_NEWS_S = 1.0
"""How long a name may lead to the actor that had it before: Ray tells each process of an actor's end by itself."""
_LOOK_S = 0.02


def handle_of(actor_name: str, namespace: str, actor_id: str | None) -> Any:
    """The handle of exactly that actor. None if it is not there, or Ray cannot tell; another may have its name.

    While the GCS is away, Ray waits for it, up to a minute, unless this process has seen the actor before.
    """
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
