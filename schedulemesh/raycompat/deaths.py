"""Why an actor is dead, as its row in Ray's actor table says.

Private parts of Ray used here: `ActorTableData` and `ActorDiedErrorContext`, the names of states and of reasons. If
they go, an actor that Ray dropped before creating it counts as one that failed, and is not launched again.
"""

from __future__ import annotations

from typing import Any

from ray.core.generated.common_pb2 import ActorDiedErrorContext  # type: ignore[attr-defined]  # made by protoc
from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]  # made by protoc, without types


def was_never_created(row: Any) -> bool:
    """Return whether Ray dropped the actor before creating it: only then a detached actor dies of its owner's end."""
    died = row.death_cause.actor_died_error_context
    return bool(row.state == ActorTableData.DEAD and died.reason == ActorDiedErrorContext.OWNER_DIED)
