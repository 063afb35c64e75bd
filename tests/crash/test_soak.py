"""The soak as a program. Its parts are run for long by `make soak`; that they can begin is seen here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
LOOK = """
import os, sys

class WhenRayIsImported:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            print("imported with", os.environ.get("RAY_AUTH_MODE"))
            sys.meta_path.remove(self)

sys.meta_path.insert(0, WhenRayIsImported())
import soak
"""


def test_a_cluster_of_the_soak_lets_only_its_own_drivers_in() -> None:
    """Ray takes in how it authenticates when it is imported; what is set later does not count."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", LOOK]
    done = subprocess.run(
        command, cwd=SCRIPTS, env={**env, "PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["imported with token"]
