"""Kits: what launches need (class, arguments, environment), kept in the store by content hash while it is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from schedulemesh.core.records import AgentRecord, key_of
from schedulemesh.supervisor.effects import Decision, Write


class Kits:
    """Counts who needs which blob. A blob is written for the first of them and deleted with the last."""

    def __init__(self) -> None:
        self._needed: dict[str, int] = {}

    def __contains__(self, blob: str) -> bool:
        return blob in self._needed

    def need(self, blobs: Iterable[str]) -> None:
        """Someone more needs these; they are in the store, or about to be written."""
        for blob in blobs:
            self._needed[blob] = self._needed.get(blob, 0) + 1

    def put(self, key: str, blob: bytes, out: Decision) -> None:
        """Write what has this hash, if nobody has needed it so far."""
        if key not in self._needed:
            out.writes.append(Write(key_of("blob", key), blob))

    def drop(self, blobs: Iterable[str], out: Decision) -> None:
        for blob in blobs:
            self._needed[blob] -= 1
            if not self._needed[blob]:
                del self._needed[blob]
                out.writes.append(Write(key_of("blob", blob), None))

    def check(self, needed: Counter[str]) -> None:
        if needed != self._needed:
            raise AssertionError("launch kits are kept for agents that need none, or missing for some that do")


def kit_of(record: AgentRecord) -> tuple[str, str, str]:
    return record.class_blob, record.args_blob, record.environment
