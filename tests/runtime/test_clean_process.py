"""Clean processes: they inherit nothing of a job's, and what goes wrong in them comes back as one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from schedulemesh.runtime.clean_process import _INHERITED, run_module

TELLS = """
import json, os, sys
told = {"cwd": os.getcwd(), "files": os.listdir(), "env": dict(os.environ), "given": sys.stdin.read(), "args": sys.argv[1:]}
open(os.environ["TOLD"], "w").write(json.dumps(told))
"""
LONG_S = 60.0


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that tells what it found; a test may write another."""
    file = tmp_path / "told_module.py"
    file.write_text(TELLS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TOLD", str(tmp_path / "told.json"))
    return file


def told(module: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((module.parent / "told.json").read_text())
    return found


def test_nothing_of_this_jobs_is_inherited_and_access_is(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _INHERITED:
        monkeypatch.setenv(name, "of this job")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the token")
    assert run_module("told_module", [], timeout_s=LONG_S) == ""
    env = told(module)["env"]
    assert isinstance(env, dict)
    assert not set(_INHERITED) & env.keys()
    assert env["RAY_AUTH_TOKEN"] == "the token"
    assert "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ, "this process keeps its own"


def test_it_gets_its_arguments_and_its_input(module: Path) -> None:
    assert run_module("told_module", ["--key", "a b"], timeout_s=LONG_S, given=b"an environment") == ""
    assert (told(module)["args"], told(module)["given"]) == (["--key", "a b"], "an environment")


def test_it_runs_in_the_given_folder(module: Path) -> None:
    assert run_module("told_module", [], timeout_s=LONG_S, folder=str(module.parent)) == ""
    assert told(module)["cwd"] == str(module.parent)


@pytest.mark.parametrize("folder", ["", "/no/such/folder"])
def test_without_a_folder_it_runs_in_an_empty_one_that_goes_with_it(module: Path, folder: str) -> None:
    assert run_module("told_module", [], timeout_s=LONG_S, folder=folder) == ""
    assert told(module)["files"] == []
    assert not Path(str(told(module)["cwd"])).exists()


def test_what_went_wrong_is_the_last_line_that_it_says(module: Path) -> None:
    module.write_text("import sys\nsys.stderr.write('noise\\nValueError: no such node\\n')\nsys.exit(1)\n")
    assert run_module("told_module", [], timeout_s=LONG_S) == "ValueError: no such node"
    module.write_text("import sys\nsys.exit(1)\n")
    assert run_module("told_module", [], timeout_s=LONG_S) == "no reason given"


def test_what_it_says_on_the_way_is_no_problem(module: Path) -> None:
    module.write_text("import sys\nsys.stderr.write('a warning\\n')\n")
    assert run_module("told_module", [], timeout_s=LONG_S) == ""


def test_one_that_hangs_is_killed(module: Path) -> None:
    module.write_text("import threading\nthreading.Event().wait()\n")
    assert run_module("told_module", [], timeout_s=0.5) == "not up after 0.5 s"
