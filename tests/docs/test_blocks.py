"""Every python block of the documents, and every example, on a real Ray. Each document is one program."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from documents import GUIDE, GUIDE_ZH, README, ROOT, blocks_of_its_own, promised_output, script
from drivers import start_supervisor

import schedulemesh

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from raycluster import RealCluster

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def mesh(cluster: RealCluster) -> Iterator[schedulemesh.Scheduler]:
    """The mesh of the default name, which the documents and examples use; ended after the last of them."""
    start_supervisor(cluster, "schedulemesh-supervisor", launcher_idle_s=15)
    mesh = schedulemesh.connect(start=False)
    yield mesh
    mesh.stop(force=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them are run, one after the other, as a reader would. Their drivers share a launcher so."""
    return tmp_path_factory.mktemp("reader")


def test_the_blocks_of_the_readme_run_in_order_and_print_what_it_says(
    cluster: RealCluster, mesh: schedulemesh.Scheduler, folder: Path
) -> None:
    check_printed(README, run_script(script(README), cluster, folder))
    assert_nothing_is_left(mesh)


def test_the_blocks_of_both_guides_run_in_order_and_print_what_they_say(
    cluster: RealCluster, mesh: schedulemesh.Scheduler, folder: Path
) -> None:
    """Where a block is the same program in both languages, but for comments, it is run once."""
    printed = run_script(script(GUIDE_ZH) + "\n".join(blocks_of_its_own(GUIDE, GUIDE_ZH)), cluster, folder)
    for guide in (GUIDE, GUIDE_ZH):
        check_printed(guide, printed)
    assert_nothing_is_left(mesh)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_leaves_nothing(
    example: Path, cluster: RealCluster, mesh: schedulemesh.Scheduler, folder: Path
) -> None:
    assert run(example, cluster.env, folder)
    assert_nothing_is_left(mesh)


def run_script(code: str, cluster: RealCluster, folder: Path) -> str:
    program = folder / "document.py"
    program.write_text(code, encoding="utf-8")
    return run(program, cluster.env, folder)


def check_printed(document: Path, printed: str) -> None:
    position = 0
    for text in promised_output(document):
        assert text in printed[position:], f"{document.name} says that {text!r} is printed here:\n{printed}"
        position = printed.index(text, position) + len(text)


def run(program: Path, env: Mapping[str, str], folder: Path) -> str:
    """What the program printed, without what its agents print in between."""
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**env, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{program.name} failed:\n{done.stdout}\n{done.stderr}"
    return "\n".join(line for line in done.stdout.splitlines() if " pid=" not in line.partition(")")[0])


def assert_nothing_is_left(mesh: schedulemesh.Scheduler) -> None:
    assert mesh.list_pools() == {"pools": []}
    assert mesh.list_agents() == {"agents": []}
