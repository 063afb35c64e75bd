"""Actor handles as bytes that hold no pickle, and back.

Private parts of Ray used here: `ActorHandle._serialization_helper` and `_deserialization_helper`. If they go, a client
looks each actor up by its name, and a handle of a Ray Client driver cannot be an argument of an agent's constructor.
"""

from __future__ import annotations

from typing import Any

from ray.actor import ActorHandle


def to_bytes(handle: Any) -> bytes:
    """Return the handle as Ray serializes it."""
    serialized, *_ = handle._serialization_helper()  # noqa: SLF001 - see the module's docstring
    return bytes(serialized)


def from_bytes(serialized: bytes) -> Any:
    """Return the handle. It does not keep its actor alive: agents' actors are detached."""
    return ActorHandle._deserialization_helper(serialized, weak_ref=True)  # noqa: SLF001 - see the module's docstring
