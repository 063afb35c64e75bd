"""The description of the architecture, held against the code."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from documents import ARCHITECTURE, ROOT

if TYPE_CHECKING:
    from pathlib import Path

ROOMS = {
    "### `schedulemesh/core`": ROOT / "schedulemesh" / "core",
    "### `schedulemesh/runtime`": ROOT / "schedulemesh" / "runtime",
    "### `schedulemesh/raycompat`": ROOT / "schedulemesh" / "raycompat",
    "### `supervisor`": ROOT / "supervisor",
    "### `client`": ROOT / "client",
}


def test_the_state_diagram_is_the_one_that_the_table_gives() -> None:
    check = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "diagram.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize(("heading", "folder"), ROOMS.items())
def test_every_module_of_the_house_is_described_and_no_other(heading: str, folder: Path) -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    section = re.split(r"^#{2,3} ", text.split(heading)[1], flags=re.MULTILINE)[0]
    described = re.findall(r"^\| `(\w+\.py)` \|", section, flags=re.MULTILINE)
    assert sorted(described) == sorted(file.name for file in folder.glob("*.py") if file.name != "__init__.py")
