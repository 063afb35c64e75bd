"""Answers, compared: whether two replies say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulemesh.core.messages import Reply


def same_answer(one: Reply, other: Reply) -> bool:
    """The same outcome about the same subject; what an info shows moves on with the world."""
    if one.refusal is not None or other.refusal is not None:
        return one.refusal == other.refusal
    assert one.result is not None
    assert other.result is not None
    subject = "agent" if "agent" in one.result else "pool"
    return bool(
        one.result.get("created") == other.result.get("created")
        and one.result[subject]["name"] == other.result[subject]["name"]
        and one.result[subject]["created_at"] == other.result[subject]["created_at"]
    )
