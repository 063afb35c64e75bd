"""The front of the chaos run: what it says when it cannot run, and what it shows when something was broken."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

from chaoslib import report
from chaoslib.checker import Violation
from chaoslib.history import Answer, AnyEntry, Back, Call, Kill, Request
from rich.console import Console

CHAOS = Path(__file__).resolve().parents[2] / "scripts" / "chaos.py"


def test_without_redis_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), "--history", str(tmp_path / "h.jsonl")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "apt-get install redis-server" in done.stderr


def test_a_kind_of_kill_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), "--kinds", "gcs,heart"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "heart: there are supervisor" in done.stderr


def test_the_report_counts_kills_and_operations_and_names_the_lines_that_show_a_violation(tmp_path: Path) -> None:
    who: dict[str, Any] = {"driver": "d1", "life": 1}
    history: list[AnyEntry] = [
        Request(at=0.0, number=1, op="status", args={}, **who),
        Answer(at=1.0, number=1, op="status", took=1.0, value={}, **who),
        Kill(at=60.0, kind="gcs", what="gcs", moment="create"),
        Call(at=60.5, agent="w1", actor_id="a", took=0.5, value={}, **who),
        Back(at=61.0, what="gcs"),
        Call(at=61.5, agent="w1", actor_id="a", took=0.2, error="ActorDiedError", **who),
        Request(at=2.0, number=2, op="status", args={}, **who),
        Answer(at=62.0, number=2, op="status", took=60.0, error="SupervisorUnavailableError", message="away", **who),
    ]
    out = io.StringIO()
    broken = [Violation("lost", "w1 [gone] is lost", (2, 4))]
    report.show(Console(file=out, width=200), history, broken, tmp_path / "h.jsonl")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "│" in line]
    assert ["gcs", "1", "1", "0"] in rows
    assert ["status", "1", "", "1", "", "", "60.0 s"] in rows
    assert ["call of an agent", "1", "", "", "1", "", "0.5 s"] in rows
    assert ["… while no GCS was up", "1", "", "", "", "", "0.5 s"] in rows
    assert "w1 [gone] is lost h.jsonl:2, h.jsonl:4" in out.getvalue()
    assert "2 answered requests a minute" in out.getvalue()
