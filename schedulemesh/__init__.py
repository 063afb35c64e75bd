"""ScheduleMesh: quotas, an owner and an address for long-lived Ray actors.

Importing this package imports neither Ray nor the supervisor; `connect` brings them in when it is first used.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from schedulemesh.core.agent_actor import AgentActor
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

if TYPE_CHECKING:
    from schedulemesh.client.scheduler import AgentRequest, Scheduler, connect

__version__ = version("schedulemesh")

_FROM_CLIENT = {"AgentRequest", "Scheduler", "connect"}

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
    if name in _FROM_CLIENT:
        from schedulemesh.client import scheduler  # noqa: PLC0415 - late, so that `import schedulemesh` needs no Ray

        return getattr(scheduler, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
