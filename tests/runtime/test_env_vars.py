"""An agent's environment variables: which go through Ray, how the others get into a process, and what is handed on."""

from __future__ import annotations

import os
import re

import pytest
import record_samples
from mesh_driver import Bench
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR as HOOK

from schedulemesh.core.records import MeshRecord, RecordError, encode
from schedulemesh.core.states import AgentState, Goal
from schedulemesh.runtime import env_vars, record_reader
from schedulemesh.runtime.env_vars import (
    NEXT_HOOK,
    RECORD,
    apply,
    given,
    prepare_process,
    reference,
    set_variables,
    through_ray,
    uncover,
)
from schedulemesh.supervisor import launcher as launcher_of_0_1

OURS = "schedulemesh.runtime.env_vars.prepare_process"
OF_0_1 = "schedulemesh.supervisor.launcher.prepare_process"
DRIVERS = "drivers_module.set_up"
WHERE = reference("ns", "mesh", "a1")


class Processes:
    """Starts processes as Ray does, one at a time in this one, for agents of a mesh that keeps their records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.bench = Bench()
        self.bench.create_pool(cpu=10)
        self.hooks: list[str] = []
        """Hooks that ran, apart from ours."""
        self.runtime_env: dict[str, str] = {}
        """The env_vars that this process's runtime_env has, and its children's too."""
        monkeypatch.setattr(record_reader, "read_record", lambda *where: self.bench.store.get(where[-1]))
        monkeypatch.setattr(env_vars, "load_and_execute_setup_hook", self.hooks.append)
        self.start({})

    def start(self, runtime_env: dict[str, str], node: dict[str, str] | None = None) -> None:
        """This becomes a new process: with the node's variables, and those of the runtime_env filled in on top."""
        environ = dict(node or {})
        self._monkeypatch.setattr(os, "environ", environ)
        self._monkeypatch.setattr(env_vars, "_given", {})
        self.runtime_env = runtime_env
        for name, value in runtime_env.items():
            environ[name] = re.sub(r"\$\{[A-Z0-9_]+\}", "", os.path.expandvars(value))
        if environ.get(HOOK) in (OURS, OF_0_1):
            prepare_process()

    def create(self, name: str, own: dict[str, str], node: dict[str, str] | None = None) -> dict[str, str]:
        """This process creates an agent, and becomes that agent's; returns what Ray was told."""
        options = {"runtime_env": {"env_vars": own}} if own else {}
        uid = self.bench.create(name, options=options, inherited_env=given())
        launch = self.bench.launch(uid)
        theirs = launch.options["runtime_env"].get("env_vars") or {}
        told = through_ray(theirs, reference("ns", "mesh", uid), inherits=launch.inherits)
        self.start({**self.runtime_env, **told}, node)
        return told


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(monkeypatch)


# -- what goes through Ray -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("processes")
def test_only_what_is_read_before_python_runs_goes_through_ray() -> None:
    early = {"PATH": "/bin", "LD_LIBRARY_PATH": "/lib", "PYTHONHASHSEED": "1", "RAY_TMPDIR": "/t", "LC_ALL": "C"}
    secret = dict.fromkeys(
        ("TOKEN", "MODEL_PATH", "LANGCHAIN_API_KEY", "PATHFINDER_TOKEN", "LD_SDK_KEY", "PYTHONANYWHERE_TOKEN"), "secret"
    )
    told = through_ray({**early, **secret}, WHERE, inherits=False)
    assert {name: told[name] for name in early} == early
    assert set(told) == {*early, *secret, RECORD, NEXT_HOOK, HOOK}
    assert (told[RECORD], told[HOOK]) == (WHERE, OURS)
    assert not any("secret" in value for value in told.values())


@pytest.mark.usefixtures("processes")
def test_an_agent_with_nothing_to_hide_has_no_hook() -> None:
    """Reading a record costs each of its processes some time."""
    assert through_ray({}, WHERE, inherits=False) == {}
    assert through_ray({"PATH": "/bin"}, WHERE, inherits=False) == {"PATH": "/bin"}


def test_a_variable_that_is_read_early_may_refer_to_one_that_is_hidden(processes: Processes) -> None:
    told = processes.create("w1", {"A": "/opt", "LD_LIBRARY_PATH": "${A}/lib64", "PYTHONPATH": "$A/py:${PYTHONPATH}"})
    assert told["LD_LIBRARY_PATH"] == "/opt/lib64"
    assert told["PYTHONPATH"] == "/opt/py:${PYTHONPATH}", "what is not given is the node's, which Ray fills in"
    assert (os.environ["A"], os.environ["LD_LIBRARY_PATH"]) == ("/opt", "/opt/lib64")


def test_a_variable_refers_to_what_stands_before_it_as_in_ray(processes: Processes) -> None:
    told = processes.create("w1", {"PATH": "${ROOT}/bin", "ROOT": "/opt"}, {"ROOT": "/usr"})
    assert told["PATH"] == "${ROOT}/bin"
    assert (os.environ["PATH"], os.environ["ROOT"]) == ("/usr/bin", "/opt")


def test_a_variable_may_refer_to_one_of_an_agent_that_created_it(processes: Processes) -> None:
    processes.create("w1", {"ROOT": "/opt"})
    told = processes.create("w2", {"LD_LIBRARY_PATH": "${ROOT}/lib", "MODELS": "${ROOT}/models"})
    assert told["LD_LIBRARY_PATH"] == "/opt/lib"
    assert (os.environ["LD_LIBRARY_PATH"], os.environ["MODELS"]) == ("/opt/lib", "/opt/models")


# -- in the process --------------------------------------------------------------------------------------------------


def test_until_the_values_are_there_names_are_what_they_were_and_a_childs_own_value_stays(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"NEW": "secret", "KNOWN": "${KNOWN}:more", "lower": "secret", "TOKEN": "the agent's"}
    told = through_ray(variables, WHERE, inherits=False)
    # What Ray makes of them where KNOWN was there before; the child was given a TOKEN of its own.
    filled = {name: told[name].replace("${NEW}", "").replace("${KNOWN}", "before") for name in variables}
    monkeypatch.setattr(os, "environ", {**filled, "TOKEN": "the child's"})
    assert uncover() == {"NEW", "KNOWN", "lower"}
    assert os.environ == {"KNOWN": "before", "TOKEN": "the child's"}


@pytest.mark.usefixtures("processes")
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
    assert given() == {name: os.environ[name] for name in variables}


def test_a_process_gets_the_values_from_its_agents_record(processes: Processes) -> None:
    told = processes.create("w1", {"TOKEN": "secret", "KNOWN": "${KNOWN}:more"}, {"KNOWN": "before"})
    assert not any("secret" in value for value in told.values())
    assert (os.environ["TOKEN"], os.environ["KNOWN"]) == ("secret", "before:more")


def test_a_child_that_was_given_a_value_keeps_that(processes: Processes) -> None:
    told = processes.create("w1", {"TOKEN": "the agent's", "OTHER": "the agent's"})
    processes.start({**told, "TOKEN": "the child's"})
    assert (os.environ["TOKEN"], os.environ["OTHER"]) == ("the child's", "the agent's")


def test_a_process_whose_record_is_gone_starts_without_the_values_and_says_so(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    told = processes.create("w1", {"TOKEN": "secret"})
    processes.bench.store.clear()
    processes.start(told)
    assert "TOKEN" not in os.environ
    assert "the record with this process's env_vars is gone (agent/" in capsys.readouterr().err


def test_a_record_of_another_kind_is_not_taken_for_an_agents(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_vars, "load_and_execute_setup_hook", lambda _: None)
    told = processes.create("w1", {"TOKEN": "secret"})
    processes.bench.store = {key: encode(MeshRecord()) for key in processes.bench.store}
    with pytest.raises(RecordError):
        processes.start(told)


# -- handed on -------------------------------------------------------------------------------------------------------


def test_what_an_agent_was_given_it_hands_on_to_those_it_creates(processes: Processes) -> None:
    processes.create("w1", {"TOKEN": "secret"})
    assert given() == {"TOKEN": "secret"}
    told = processes.create("w2", {})
    assert (os.environ["TOKEN"], given()) == ("secret", {"TOKEN": "secret"})
    assert not any("secret" in value for value in told.values())


def test_it_stays_when_the_creators_record_has_gone(processes: Processes) -> None:
    processes.create("w1", {"TOKEN": "secret"})
    first = set(processes.bench.store)
    told = processes.runtime_env | processes.create("w2", {})
    processes.create("w3", {})
    processes.bench.store = {key: value for key, value in processes.bench.store.items() if key not in first}
    processes.start(told)
    assert os.environ["TOKEN"] == "secret"


def test_an_agents_own_value_goes_before_what_it_was_handed(processes: Processes) -> None:
    processes.create("w1", {"TOKEN": "first", "OTHER": "first"})
    processes.create("w2", {"TOKEN": "second"})
    assert (os.environ["TOKEN"], os.environ["OTHER"]) == ("second", "first")
    processes.create("w3", {})
    assert (os.environ["TOKEN"], os.environ["OTHER"]) == ("second", "first")


def test_what_is_handed_on_stands_in_the_record_and_is_ordered_to_be_read(processes: Processes) -> None:
    bench = processes.bench
    first = bench.create("w1")
    second = bench.create("w2", inherited_env={"TOKEN": "secret"})
    assert (bench.launch(first).inherits, bench.launch(second).inherits) == (False, True)
    assert bench.records()[second].inherited_env == {"TOKEN": "secret"}
    bench.restart()
    bench.read_table(asked_ago=-1)
    assert bench.launch(second).inherits


# -- hooks -----------------------------------------------------------------------------------------------------------


def test_the_drivers_own_hook_is_kept_through_two_generations(processes: Processes) -> None:
    processes.start({HOOK: DRIVERS})
    for name in ("w1", "w2", "w3"):
        processes.hooks.clear()
        told = processes.create(name, {"TOKEN": name})
        assert (told[HOOK], told[NEXT_HOOK]) == (OURS, DRIVERS)
        assert (processes.hooks, os.environ["TOKEN"]) == ([DRIVERS], name)


def test_the_drivers_hook_runs_when_the_variables_are_there(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | None] = []
    monkeypatch.setattr(env_vars, "load_and_execute_setup_hook", lambda _: found.append(os.environ.get("TOKEN")))
    processes.start({HOOK: DRIVERS})
    processes.create("w1", {"TOKEN": "secret"})
    assert found == ["secret"]


def test_a_hook_of_the_drivers_that_fails_fails_the_process(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_vars, "load_and_execute_setup_hook", lambda hook: f"{hook} cannot be imported")
    processes.start({HOOK: DRIVERS})
    with pytest.raises(RuntimeError, match=r"drivers_module\.set_up cannot be imported"):
        processes.create("w1", {"TOKEN": "secret"})


@pytest.mark.parametrize("ours", [OURS, OF_0_1])
@pytest.mark.parametrize("following", ["", OURS, OF_0_1, DRIVERS])
def test_our_hook_never_names_itself_as_the_next_one(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, ours: str, following: str
) -> None:
    monkeypatch.setattr(os, "environ", {HOOK: ours, NEXT_HOOK: following})
    told = through_ray({"TOKEN": "secret"}, WHERE, inherits=False)
    assert (told[HOOK], told[NEXT_HOOK]) == (OURS, DRIVERS if following == DRIVERS else "")


@pytest.mark.parametrize("following", [OURS, OF_0_1])
def test_a_process_in_which_it_is_named_as_the_next_one_runs_it_once(processes: Processes, following: str) -> None:
    told = processes.create("w1", {"TOKEN": "secret"})
    processes.start({**told, NEXT_HOOK: following})
    assert (processes.hooks, os.environ["TOKEN"]) == ([], "secret")


def test_the_hook_of_agents_made_by_0_1_is_found_under_its_old_name_and_reads_their_records(
    processes: Processes,
) -> None:
    assert launcher_of_0_1.prepare_process is prepare_process
    _, stored = record_samples.read(record_samples.path_of(2))
    uid = f"uid of {AgentState.RUNNING.value}, to {Goal.RUN.value}"
    processes.bench.store = {f"agent/{uid}": stored[f"agent/{uid}"]}
    processes.start({HOOK: OF_0_1, RECORD: reference("ns", "mesh", uid), "A": "<in the agent's record>${A}"})
    assert os.environ["A"] == "1"


def test_setting_the_variables_twice_changes_nothing(processes: Processes) -> None:
    processes.create("w1", {"TOKEN": "secret", "KNOWN": "${KNOWN}:more"}, {"KNOWN": "before"})
    before = dict(os.environ)
    set_variables()
    assert dict(os.environ) == before
