"""An agent as the books have it: its record, and what is known of it only while this process lives."""

from __future__ import annotations

import msgspec

from schedulemesh.core.records import AgentRecord

NO_NEWS = (-1, -1)
"""Nothing has been seen of the actor yet; less than any (restarts, phase)."""
_STORY = 32
"""Words kept of what happened to an agent; a move takes two."""


class Agent(msgspec.Struct, gc=False, eq=False):
    """One agent of this mesh, from its admission until its end is forgotten.

    `gc=False`, as with its record: nothing in them can lead back to them, and there may be very many to walk over.
    """

    record: AgentRecord
    changed_at: float
    attempt: int = 0
    launching: bool = False
    news: tuple[int, int] = NO_NEWS
    dropped: frozenset[str] = frozenset()
    """Actors that Ray dropped before it had begun to make them; one a launch at most."""
    story: tuple[str, ...] = ()
    stored: str = ""
    """The state that the store has; after a restart it may be what is found again, and then nothing is written."""

    def __post_init__(self) -> None:
        self.stored = self.record.state
        self.story = (self.stored,)

    def tell(self, *news: str) -> None:
        """Add to its story, of which the last part is kept: in a tuple, as each agent has one all its life."""
        self.story = (*self.story, *news)[-_STORY:]
