"""An agent that keeps an index of source files in memory and tells where a word stands."""

from __future__ import annotations

import linecache
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import schedulemesh

_WORD = re.compile(r"[A-Za-z_]\w+")
_DEFINITION = re.compile(r"\s*(?:async\s+def|def|class)\s+(\w+)")


class IndexAgent(schedulemesh.AgentActor):
    """Builds its index in the constructor, from its arguments: started again by Ray, it comes back whole."""

    def __init__(self, name: str, labels: Mapping[str, str], supervisor: Any = None, *, files: Sequence[str]) -> None:
        super().__init__(name, labels, supervisor)
        self.files = list(files)
        self.counts: dict[str, Counter[int]] = {}
        self.lines: dict[tuple[str, int], int] = {}
        self.definitions: set[tuple[str, int]] = set()
        for number, file in enumerate(self.files):
            self._read(number, Path(file).read_text(encoding="utf-8", errors="replace"))

    def about(self) -> dict[str, int]:
        return {"pid": os.getpid(), "files": len(self.files), "words": len(self.counts)}

    def best(self, word: str, limit: int = 3) -> list[dict[str, Any]]:
        """The files that tell most about a word: those that define it first, then by how often they use it."""
        hits: list[dict[str, Any]] = [
            {
                "agent": self.name,
                "file": self.files[number],
                "line": self.lines[word, number],
                "text": linecache.getline(self.files[number], self.lines[word, number]).strip(),
                "defines": (word, number) in self.definitions,
                "count": count,
            }
            for number, count in self.counts.get(word, Counter()).items()
        ]
        return sorted(hits, key=lambda hit: (not hit["defines"], -hit["count"]))[:limit]

    def _read(self, number: int, text: str) -> None:
        for line_number, line in enumerate(text.splitlines(), start=1):
            for word in _WORD.findall(line):
                self.counts.setdefault(word, Counter())[number] += 1
                self.lines.setdefault((word, number), line_number)
            definition = _DEFINITION.match(line)
            if definition and (definition[1], number) not in self.definitions:
                self.definitions.add((definition[1], number))
                self.lines[definition[1], number] = line_number
