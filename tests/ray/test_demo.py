"""The demo, as `make demo` runs it: what it shows, how long it takes, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"
LONGEST_S = 90.0


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(DEMO)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    )
    yield process
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.communicate(timeout=30)


def home_of(text: str) -> str:
    """The demo's own folder, which stands in the arguments of every process that makes up its cluster."""
    found = re.search(r"in (/\S*mesh-demo-\w+)", text)
    assert found, text
    return found[1]


def until_the_cluster_is_up(demo: subprocess.Popen[str]) -> str:
    assert demo.stdout is not None
    text = ""
    for line in demo.stdout:
        text += line
        if line.startswith("cluster up"):
            break
    return text


def processes_of(home: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (file / "cmdline").read_bytes() + (file / "environ").read_bytes()
            if home.encode() in words:
                found.append(f"{file.name} {words[:80]!r}")
    return found


def test_the_demo_shows_it_all_and_leaves_nothing(demo: subprocess.Popen[str]) -> None:
    text = until_the_cluster_is_up(demo)  # how long that takes is Ray's affair, and that of what runs beside it
    rest, _ = demo.communicate(timeout=LONGEST_S)
    text += rest
    assert demo.returncode == 0, text
    for line in (
        r"supervisor up, pid \d+",
        r"\d{3} files of the standard library indexed",
        r"reconnected: index-0 running, index-1 running, index-2 running",
        r"/heapq\.py:\d+: def heappush\(heap, item\)",
        r"index-1: restarting, seen after .*; its capacity stays held \(cpu=1\.5 used\)",
        r"index-1: running after .*, restarts 1, pid \d+, index rebuilt whole",
        r"agents answered [\d,]+ calls meanwhile, 0 failed",
        r"books the same: 3 agents, 1 pool",
        r"refused: Insufficient pool capacity: agent 'index-3' asks",
        r"deleted: 0 actors left in the cluster",
        r"cleaned up after \d+ s: no process, no file left",
    ):
        assert re.search(line, text), f"{line}\nis not in\n{text}"
    assert "Traceback" not in text
    assert processes_of(home_of(text)) == []
    assert not Path(home_of(text)).exists()


def test_an_interrupted_demo_leaves_nothing(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    seen = ""
    for line in demo.stdout:
        seen += line
        if line.startswith("pool 'index'"):
            break  # agents are being made
    home = home_of(seen)
    assert processes_of(home)
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=30)
    assert demo.returncode == 128 + signal.SIGINT
    assert "interrupted" in rest
    assert "no process, no file left" in rest
    assert processes_of(home) == []
    assert not Path(home).exists()
