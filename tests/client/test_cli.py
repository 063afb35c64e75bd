"""The command line without Ray: usage, exit codes, what goes to which stream, and how a mesh is drawn."""

from __future__ import annotations

import io
import json
from typing import Any, cast

import pytest
import ray
from click.testing import CliRunner, Result
from rich.console import Console, RenderableType

from schedulemesh.client import birth, cli, tables
from schedulemesh.core import messages
from schedulemesh.core.errors import AgentNotFoundError, PoolNotFoundError, SupervisorNotRunningError
from schedulemesh.core.infos import AgentInfo, PoolInfo, StatusReply

NOW = 1_700_000_000.0


def status(**changes: Any) -> StatusReply:
    reply = {
        "mesh": "the-mesh",
        "namespace": "ns",
        "state": "serving",
        "version": "0.1.0",
        "client_version": "0.1.0",
        "protocol": 1,
        "ray_version": "2.60.0",
        "pid": 4711,
        "started_at": NOW - 3_725,
        "headroom": 0.1,
        "cluster": {"cpu": 8.0, "memory": 16_000.5, "gpu": 0.0},
        "committed": {"cpu": 4.0, "memory": 2048.0, "gpu": 0.0},
        "pools": 1,
        "agents": {"starting": 0, "running": 2, "failed": 1},
        "launchers": {"living": 1, "own": 0},
        "warm_agents": {"wanted": 0, "ready": 0},
    }
    return cast("StatusReply", {**reply, **changes})


def pool(**changes: Any) -> PoolInfo:
    info = {
        "name": "ml",
        "labels": {"team": "a"},
        "state": "active",
        "target_agents": 4,
        "default_agent_resources": {"cpu": 1.0},
        "capacity": {"cpu": 4.0, "memory": 2048.0, "gpu": 0.0},
        "used_resources": {"cpu": 2.0, "memory": 1024.0, "gpu": 0.0},
        "available_resources": {"cpu": 2.0, "memory": 1024.0, "gpu": 0.0},
        "agents": 2,
        "warm_agents": 0,
        "warm_ready": 0,
        "created_at": NOW,
    }
    return cast("PoolInfo", {**info, **changes})


def agent(**changes: Any) -> AgentInfo:
    info = {
        "name": "w1",
        "pool": "ml",
        "labels": {},
        "resources": {"cpu": 1.0},
        "options": {},
        "state": "running",
        "actor_id": "a" * 32,
        "actor_name": "w1",
        "namespace": "ns",
        "node_id": "0123456789abcdef",
        "pid": 123,
        "restarts": 7,
        "created_at": NOW - 65,
        "started_at": NOW - 60,
        "cause": None,
        "handle": object(),
    }
    return cast("AgentInfo", {**info, **changes})


def drawn(view: RenderableType, *, width: int = 120, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding), width=width)
    console.print(view)
    console.file.flush()
    return raw.getvalue().decode(encoding)


# -- drawing ---------------------------------------------------------------------------------------------------------


def test_the_mesh_line_says_what_it_is_and_what_it_holds() -> None:
    line = tables.mesh_line(status(), now=NOW).plain
    assert line.startswith("the-mesh in ns: serving · up 1h 02m · pid 4711 · 1 pool · agents: 2 running, 1 failed")
    assert tables.promised_line(status()).plain == (
        "promised to pools: cpu 4/8, memory 2,048/16,000.5 MB · headroom 10%"
    )


def test_a_pool_shows_a_bar_for_each_kind_it_has() -> None:
    text = drawn(tables.pools_table([pool()]))
    assert "cpu 2/4" in text
    assert "memory 1,024/2,048 MB" in text
    assert "gpu" not in text
    assert "2/4" in text
    assert "team=a" in text


@pytest.mark.parametrize(("used", "length"), [(0.0, 0), (2.0, 6), (4.0, 12), (6.0, 12)])
def test_a_bar_is_as_long_as_its_share(used: float, length: int) -> None:
    assert drawn(tables.capacity_bars({"cpu": used}, {"cpu": 4.0})).count("━") == length


def test_a_pool_that_owes_a_kind_it_no_longer_has_says_so() -> None:
    assert "gpu 1/0" in drawn(tables.capacity_bars({"gpu": 1.0}, {"gpu": 0.0}))


def test_bars_can_be_drawn_where_only_ascii_can() -> None:
    assert "cpu 2/4" in drawn(tables.pools_table([pool()]), encoding="ascii")


def test_an_agent_shows_state_node_restarts_and_age() -> None:
    text = drawn(tables.agents_table([agent()], now=NOW))
    for part in ("w1", "ml", "running", "01234567", "123", "7", "1m 05s"):
        assert part in text
    assert "0123456789" not in text
    assert "cause" not in text


def test_the_cause_of_a_failure_is_one_short_line() -> None:
    text = drawn(
        tables.agents_table([agent(), agent(name="w2", state="failed", cause=f"{'x' * 99}\ntraceback")], now=NOW)
    )
    assert "cause" in text
    assert "x…" in text
    assert "traceback" not in text


def test_names_are_shown_as_they_are_not_as_markup() -> None:
    text = drawn(tables.mesh_view(status(), [pool(name="[red]p")], [agent(name="[bold]w[/bold]")], now=NOW))
    assert "[red]p" in text
    assert "[bold]w[/bold]" in text


def test_nothing_there_is_said() -> None:
    assert drawn(tables.pools_table([])).strip() == "no pools"
    assert drawn(tables.agents_table([], now=NOW)).strip() == "no agents"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m 00s"), (3_599, "59m 59s"), (3_600, "1h 00m"), (90_000, "1d 01h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0001, "0.0001"), (1.5, "1.5"), (23_201.5849, "23,201.6"), (100, "100")]
)
def test_an_amount_has_no_digits_that_say_nothing(value: float, text: str) -> None:
    assert tables.amount(value) == text


# -- commands --------------------------------------------------------------------------------------------------------


class FakeConnection:
    """Answers from a dictionary; an error in it is raised."""

    def __init__(self, answers: dict[type, Any]) -> None:
        self.answers = answers
        self.stopped: list[messages.Stop] = []
        self.asked: list[Any] = []
        self.mesh, self.namespace = "the-mesh", "ns"

    def find(self) -> None:
        self.ask(messages.Status())

    def ask(self, body: Any, **_: Any) -> Any:
        self.asked.append(body)
        answer = self.answers[type(body)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask_all(self, body: Any, kind: str) -> list[Any]:
        return list(self.ask(body)[kind])

    def stop(self, body: messages.Stop, **_: Any) -> None:
        self.stopped.append(body)


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> FakeConnection:
    """The commands talk to this instead of to Ray."""
    fake = FakeConnection(
        {
            messages.Status: status(),
            messages.ListPools: {"pools": [pool()]},
            messages.ListAgents: {"agents": [agent()]},
            messages.DeleteAgent: {"agent": agent(state="stopped", cause="deleted")},
        }
    )
    monkeypatch.setattr(cli, "_join", lambda _: None)
    monkeypatch.setattr(cli, "Connection", lambda *_: fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


def run(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), input=typed)


def errors(result: Result) -> list[str]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stderr.strip().splitlines()


def test_help_documents_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for line in ("0  done", "1  refused or failed", "2  wrong usage", "3  no cluster there"):
        assert line in result.stdout


@pytest.mark.parametrize("command", ["up", "status", "pools", "agents", "delete", "down"])
def test_every_command_takes_the_common_options(command: str) -> None:
    text = run(command, "--help").stdout
    for option in ("--address", "--name", "--namespace", "RAY_ADDRESS"):
        assert option in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "--nonsense"],
        ["delete"],
        ["delete", "w1", "--grace", "-1"],
        ["delete", "w1", "--grace", "nan"],
        ["up", "--headroom", "1.5"],
        ["up", "--headroom", "nan"],
        ["status", "--address", "garbage"],
        ["status", "--address", "local"],
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert not result.stdout


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no-such-host.invalid:6379"])
def test_where_nobody_listens_it_ends_with_3_at_once(address: str) -> None:
    result = run("status", "--json", "--address", address)
    assert result.exit_code == 3
    assert not result.stdout
    (line,) = errors(result)
    assert line.startswith(f"error: no Ray cluster at '{address}': ")


def test_the_address_may_come_from_the_environment() -> None:
    result = CliRunner().invoke(cli.main, ["pools"], env={"RAY_ADDRESS": "127.0.0.1:1"})
    assert result.exit_code == 3
    assert "127.0.0.1:1" in result.stderr


def test_no_supervisor_ends_with_3(mesh: FakeConnection) -> None:
    mesh.answers[messages.Status] = SupervisorNotRunningError(mesh="the-mesh", namespace="ns")
    result = run("status")
    assert result.exit_code == 3
    (line,) = errors(result)
    assert line.startswith("error: No supervisor 'the-mesh' in namespace 'ns'; start one with `schedulemesh up`")


def test_status_draws_everything(mesh: FakeConnection) -> None:
    result = run("status")
    assert (result.exit_code, result.stderr) == (0, "")
    for part in ("the-mesh in ns", "promised to pools", "cpu 2/4", "w1"):
        assert part in result.stdout
    assert {type(body) for body in mesh.asked} == {messages.Status, messages.ListPools, messages.ListAgents}


@pytest.mark.parametrize(
    ("command", "keys"), [("status", {"mesh", "pools", "agents"}), ("pools", {"pools"}), ("agents", {"agents"})]
)
def test_json_goes_to_stdout_without_handles(mesh: FakeConnection, command: str, keys: set[str]) -> None:
    result = run(command, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer.keys() == keys
    assert all("handle" not in info for info in answer.get("agents", []))


def test_agents_of_one_pool_are_asked_for(mesh: FakeConnection) -> None:
    assert run("agents", "--pool", "ml").exit_code == 0
    assert mesh.asked == [messages.ListAgents("ml", {})]
    mesh.answers[messages.ListAgents] = PoolNotFoundError(pool="mm", close=["ml"])
    result = run("agents", "--pool", "mm", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert errors(result) == ["error: No pool 'mm' (did you mean 'ml'?); `schedulemesh pools` shows what there is"]


def test_delete_passes_its_options_on(mesh: FakeConnection) -> None:
    result = run("delete", "w1", "--grace", "5", "--force")
    assert (result.exit_code, result.stdout) == (0, "agent 'w1' stopped\n")
    assert mesh.asked == [messages.DeleteAgent("w1", 5.0, force=True)]


def test_delete_of_an_unknown_agent_is_one_error_line(mesh: FakeConnection) -> None:
    mesh.answers[messages.DeleteAgent] = AgentNotFoundError(agent="w9")
    result = run("delete", "w9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert errors(result) == ["error: No agent 'w9'; `schedulemesh agents` shows what there is"]


def test_a_name_that_cannot_be_is_one_error_line(mesh: FakeConnection) -> None:
    for arguments in (["delete", "a/b"], ["status", "--name", "a/b"], ["agents", "--pool", ""]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert errors(result)[0].startswith("error: ")


def test_up_says_when_one_is_running(mesh: FakeConnection) -> None:
    for arguments in (["up"], ["up", "--headroom", "0.1"]):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "was up already: headroom 0.1, 1 pool, 2 living agents" in result.stdout


def test_up_with_another_headroom_says_how_to_change_it(mesh: FakeConnection) -> None:
    result = run("up", "--headroom", "0.2")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = errors(result)
    assert "runs with headroom 0.1, not 0.2" in line
    assert "schedulemesh down" in line


def test_up_starts_one_with_the_headroom_asked_for(mesh: FakeConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[float] = []

    def start(_: str, __: str, *, headroom: float, **___: Any) -> None:
        started.append(headroom)
        mesh.answers[messages.Status] = status(headroom=headroom)

    monkeypatch.setattr(birth, "start_supervisor", start)
    mesh.answers[messages.Status] = SupervisorNotRunningError(mesh="the-mesh", namespace="ns")
    result = run("up", "--headroom", "0.25")
    assert (result.exit_code, started) == (0, [0.25])
    assert "is up: headroom 0.25" in result.stdout


def test_down_with_living_agents_needs_force(mesh: FakeConnection) -> None:
    result = run("down", "--yes")
    assert (result.exit_code, mesh.stopped) == (1, [])
    assert "2 living agents" in errors(result)[0]
    assert run("down", "--yes", "--force").exit_code == 0
    assert mesh.stopped == [messages.Stop(force=True)]


@pytest.mark.parametrize("typed", ["n\n", "\n", ""])
def test_down_unconfirmed_changes_nothing(mesh: FakeConnection, typed: str) -> None:
    mesh.answers[messages.Status] = status(agents={})
    result = run("down", typed=typed)
    assert (result.exit_code, result.stdout, mesh.stopped) == (1, "", [])
    assert errors(result)[-1] == "error: not confirmed, nothing was changed; --yes goes without asking"


def test_down_confirmed_ends_the_mesh(mesh: FakeConnection) -> None:
    mesh.answers[messages.Status] = status(agents={})
    result = run("down", typed="y\n")
    assert (result.exit_code, result.stdout) == (0, "mesh 'schedulemesh-supervisor' ended\n")
    assert mesh.stopped == [messages.Stop(force=False)]


def test_a_spinner_is_shown_to_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    with cli._progress("waiting"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_command_called_from_inside_a_driver_leaves_its_ray_alone(
    mesh: FakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    for was_a_driver in (True, False):
        monkeypatch.setattr(ray, "is_initialized", lambda there=was_a_driver: there)
        assert run("status").exit_code == 0
        assert bool(ended) != was_a_driver
