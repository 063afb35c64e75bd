"""ScheduleMesh: quotas, an owner and an address for long-lived Ray actors.

Importing this package imports neither Ray nor the supervisor; what is used is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from schedulemesh.core.agent_actor import AgentActor

if TYPE_CHECKING:
    from schedulemesh.client.scheduler import AgentRequest, Scheduler, connect
    from schedulemesh.core.errors import (
        AgentExistsError,
        AgentNotFoundError,
        AgentSignatureError,
        AgentStartError,
        AgentStartTimeoutError,
        InsufficientClusterCapacityError,
        InsufficientPoolCapacityError,
        InvalidRequestError,
        MeshNotEmptyError,
        NoNodeFitsError,
        PoolExistsError,
        PoolNotEmptyError,
        PoolNotFoundError,
        ProtocolMismatchError,
        ScheduleMeshError,
        SupervisorNotRunningError,
        SupervisorUnavailableError,
    )
    from schedulemesh.core.infos import AgentInfo, PoolInfo

    __version__: str

_HOMES = {
    "AgentRequest": "schedulemesh.client.scheduler",
    "Scheduler": "schedulemesh.client.scheduler",
    "connect": "schedulemesh.client.scheduler",
    "AgentInfo": "schedulemesh.core.infos",
    "PoolInfo": "schedulemesh.core.infos",
}
_ERRORS = "schedulemesh.core.errors"

__all__ = [
    "AgentActor",
    "AgentExistsError",
    "AgentInfo",
    "AgentNotFoundError",
    "AgentRequest",
    "AgentSignatureError",
    "AgentStartError",
    "AgentStartTimeoutError",
    "InsufficientClusterCapacityError",
    "InsufficientPoolCapacityError",
    "InvalidRequestError",
    "MeshNotEmptyError",
    "NoNodeFitsError",
    "PoolExistsError",
    "PoolInfo",
    "PoolNotEmptyError",
    "PoolNotFoundError",
    "ProtocolMismatchError",
    "ScheduleMeshError",
    "Scheduler",
    "SupervisorNotRunningError",
    "SupervisorUnavailableError",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: every agent's process imports this package for the sake of `AgentActor`."""
    if name == "__version__":
        return import_module("importlib.metadata").version("schedulemesh")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, _ERRORS)), name)
