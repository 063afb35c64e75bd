"""Spy: where the time of a running Python process goes, from py-spy, which comes with Ray's dashboard.

It has to be allowed to look into other processes: as root, or where `kernel.yama.ptrace_scope` is 0.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

Stacks = dict[tuple[str, ...], int]
"""How often each stack of frames was seen, the outermost first; a frame reads `function (file:line)`."""
OTHER = "all other"


class Spy:
    """Looks at a process until it is asked what it saw, or the process ends."""

    def __init__(self, pid: int, *, rate: int = 250) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "stacks"
        command = [str(Path(sys.executable).parent / "py-spy"), "record", "--pid", str(pid), "--rate", str(rate)]
        command += ["--format", "raw", "--output", str(self._file), "--nonblocking", "--duration", "600"]
        self._process = subprocess.Popen(  # noqa: S603 - this environment's own py-spy
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def seen(self) -> Stacks:
        self._process.send_signal(2)  # as Ctrl-C does: it writes down what it has
        _, said = self._process.communicate(timeout=60)
        if not self._file.exists():
            raise RuntimeError(f"py-spy saw nothing: {said.strip()[-500:]}")
        stacks = read(self._file.read_text())
        self._folder.cleanup()
        return stacks


def read(text: str) -> Stacks:
    """The stacks in a file of py-spy's `raw` format: frames with semicolons between, and a count."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stacks[tuple(frames.split(";"))] += int(count)
    return dict(stacks)


def shares(stacks: Stacks, parts: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Which share of the samples each part has: a stack is of the part that its innermost known frame belongs to.

    A part has pieces of text that stand in its frames; the first part that knows a frame has it.
    """
    found: Counter[str] = Counter()
    for frames, count in stacks.items():
        known = (part for frame in reversed(frames) for part, texts in parts.items() if any(t in frame for t in texts))
        found[next(known, OTHER)] += count
    total = sum(found.values())
    return {part: count / total for part, count in found.most_common()}
