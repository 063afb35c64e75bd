"""The roll: who is listed, oldest first, so that a listing can be given in pages and go on where a page ended.

A page costs what is on it, wherever it begins, but for the places of those who went lately. Who stays on the roll from
the first page to the last is listed exactly once; who comes or goes meanwhile may be or not.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from itertools import islice

from schedulemesh.core.messages import Place

PAGE = 500
"""Members that are looked at for one page of a listing: some milliseconds of the supervisor's time."""
_LOOKED_AT = 10_000
"""Places that are looked at for the newest members: a millisecond."""
_STALE_MAX = 1000
"""Places of those who have gone that are kept beyond as many as are there. Then the order is made anew, and the cost of
that is borne by as many departures as there are members."""


class Roll:
    """Members by uid, each at its place: when it was created, and its uid."""

    def __init__(self) -> None:
        self._created_at: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._created_at)

    def __iter__(self) -> Iterator[str]:
        return self.after(None)

    def newest(self) -> Iterator[str]:
        """The newest members, newest first: those in the last places, of which a bounded number is looked at."""
        last = islice(reversed(self._order), _LOOKED_AT)
        return (uid for created_at, uid in last if self._created_at.get(uid) == created_at)

    def add(self, uid: str, created_at: float) -> None:
        if uid not in self._created_at:
            self._created_at[uid] = created_at
            insort(self._order, (created_at, uid))  # almost always at the end

    def discard(self, uid: str) -> None:
        if self._created_at.pop(uid, None) is not None and len(self._order) > 2 * len(self) + _STALE_MAX:
            self._order = sorted((created_at, uid) for uid, created_at in self._created_at.items())

    def place(self, uid: str) -> Place:
        return Place(self._created_at[uid], uid)

    def after(self, place: Place | None) -> Iterator[str]:
        """The members behind that place, or all; who has it need not be there any more."""
        first = bisect_right(self._order, (place.created_at, place.uid)) if place else 0
        for index in range(first, len(self._order)):
            created_at, uid = self._order[index]
            if self._created_at.get(uid) == created_at:
                yield uid
