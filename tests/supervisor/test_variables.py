"""An agent's environment variables: which go through Ray, and how the others are put into a process."""

from __future__ import annotations

import os

import pytest

from schedulemesh.supervisor.variables import apply, through_ray, uncover


def test_only_what_is_read_before_python_runs_goes_through_ray() -> None:
    early = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "PYTHONHASHSEED": "1", "RAY_TMPDIR": "/t", "LC_ALL": "C"}
    secret = dict.fromkeys(
        ("TOKEN", "MODEL_PATH", "LANGCHAIN_API_KEY", "PATHFINDER_TOKEN", "LD_SDK_KEY", "PYTHONANYWHERE_TOKEN"), "secret"
    )
    told = through_ray({**early, **secret})
    assert {name: told[name] for name in early} == early
    assert set(told) == {*early, *secret}
    assert not any("secret" in value for value in told.values())


def test_until_the_values_are_there_names_are_what_they_were_and_a_childs_own_value_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = through_ray({"NEW": "secret", "KNOWN": "${KNOWN}:more", "lower": "secret", "TOKEN": "the agent's"})
    # What Ray makes of them where KNOWN was there before; the child was given a TOKEN of its own.
    filled = {name: value.replace("${NEW}", "").replace("${KNOWN}", "before") for name, value in told.items()}
    monkeypatch.setattr(os, "environ", {**filled, "TOKEN": "the child's"})
    assert uncover() == {"NEW", "KNOWN", "lower"}
    assert os.environ == {"KNOWN": "before", "TOKEN": "the child's"}


def test_variables_are_filled_in_as_ray_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"ROOT_FOLDER": "/root-folder"})
    variables = {
        "MODELS": "${ROOT_FOLDER}/models",
        "LATER": "${MODELS}/large",
        "NOWHERE": "x${THIS_IS_NOT_SET}y",
    }
    apply(variables)
    assert os.environ["MODELS"] == "/root-folder/models"
    assert os.environ["LATER"] == "/root-folder/models/large"
    assert os.environ["NOWHERE"] == "xy"
