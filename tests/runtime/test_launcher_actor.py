"""The launcher's actor: one for each environment, found by its labels, and no burden on any node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dispatch_bench import KEY

from schedulemesh.core.launch_protocol import BARE, LABEL_LENGTH, LAUNCHER_LABEL, MESH_LABEL
from schedulemesh.core.names import launcher_name, mesh_label
from schedulemesh.runtime import launcher_actor
from schedulemesh.runtime.launcher_actor import create_launcher
from schedulemesh.supervisor.launcher_table import OWN


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], tuple[Any, ...]]]:
    """What Ray was asked for: options and arguments."""
    asked: list[tuple[dict[str, Any], tuple[Any, ...]]] = []

    def options(**given: Any) -> Any:
        return SimpleNamespace(remote=lambda *arguments: asked.append((given, arguments)))

    monkeypatch.setattr(launcher_actor, "_actor_class", lambda: SimpleNamespace(options=options))
    return asked


def test_a_launcher_outlives_its_driver_and_is_restarted_and_takes_no_room(created: list[Any]) -> None:
    create_launcher("mesh", "ns", KEY)
    ((options, arguments),) = created
    assert arguments == ("mesh", "ns", KEY)
    expected = {
        "name": launcher_name("mesh", KEY),
        "namespace": "ns",
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
    }
    assert {name: options[name] for name in expected} == expected
    assert "scheduling_strategy" not in options


def test_it_is_found_by_its_mesh_and_the_beginning_of_its_key_only(created: list[Any]) -> None:
    """Everyone can read labels, and the whole key entitles to orders."""
    create_launcher("mesh", "ns", KEY)
    create_launcher("mesh", "ns", BARE, own=True)
    labels = [options["_labels"] for options, _ in created]
    assert labels == [
        {MESH_LABEL: mesh_label("mesh", "ns"), LAUNCHER_LABEL: KEY[:LABEL_LENGTH]},
        {MESH_LABEL: mesh_label("mesh", "ns"), LAUNCHER_LABEL: BARE},
    ]
    assert len(KEY) > LABEL_LENGTH


def test_one_that_the_mesh_starts_has_another_name_by_which_it_is_counted(created: list[Any]) -> None:
    create_launcher("mesh", "ns", KEY)
    create_launcher("mesh", "ns", KEY, own=True)
    theirs, own = (options["name"] for options, _ in created)
    assert (theirs.endswith(OWN), own.endswith(OWN)) == (False, True)
    assert theirs != own


def test_it_runs_on_its_drivers_node(created: list[Any]) -> None:
    create_launcher("mesh", "ns", KEY, node_id="a1" * 28)
    ((options, _),) = created
    assert (options["scheduling_strategy"].node_id, options["scheduling_strategy"].soft) == ("a1" * 28, False)
