"""The checker of the chaos run: each rule finds the history that breaks it, and lets the clean one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chaos_story import A, B, Story, agent, pool, row
from chaoslib.checker import DYING_S, void
from chaoslib.history import (
    Alone,
    Back,
    Born,
    Gone,
    Met,
    decode,
    encode,
    load,
)
from chaoslib.recorder import merge


@pytest.fixture
def story() -> Story:
    """An agent is made, called, and there."""
    one = Story()
    one.ask("create_pool", 0.0, 0.1, answer={"pool": pool(0.0)}, pool="red")
    one.create(1.0, 3.0)
    one.born(2.0)
    one.table(4.0, row())
    one.call(5.0)
    return one


def test_a_clean_history_passes_every_rule(story: Story) -> None:
    story.ask("get_pool", 6.0, 6.1, answer={"pool": pool(0.5)}, pool="red")
    story.kill(7.0, "supervisor")
    story.kill(7.0, "gcs")
    story.ask("list_agents", 7.1, 7.2, answer=("SupervisorUnavailableError", "later"), pool="red")
    story.end(row(), red_1=agent())
    assert story.violations() == []


def test_a_clean_history_with_every_excuse_passes_too(story: Story) -> None:
    story.kill(6.0, "agent", agent="red-1", actor_id=A, pid=1)
    story.call(6.1, error="ActorDiedError")
    story.born(8.0, pid=2)
    story.call(9.0, pid=2)
    story.delete(20.0, 21.0)
    story.call(20.5, error="ActorDiedError")
    story.end(red_1=agent(A, "stopped"))
    assert story.violations() == []


# -- lost ---------------------------------------------------------------------------------------------------------


def test_an_acknowledged_agent_that_is_gone_is_lost(story: Story) -> None:
    story.end(red_1=None)
    assert story.violations() == ["lost"]


def test_an_agent_that_another_replaced_without_a_delete_is_lost(story: Story) -> None:
    story.create(30.0, 31.0, B)
    story.born(30.5, B, pid=2)
    story.end(row(B), red_1=agent(B))
    assert story.violations() == ["lost"]


def test_an_agent_that_ended_by_itself_is_lost_even_if_a_cause_is_given(story: Story) -> None:
    story.end(red_1=agent(A, "failed", "its actor is gone from Ray's table"))
    assert story.violations() == ["lost"]


def test_an_agent_that_ended_without_a_cause_is_named(story: Story) -> None:
    story.delete(20.0, None)
    story.end(red_1={**agent(A, "failed"), "cause": None})
    assert story.violations() == ["lost", "unclear"]


def test_a_delete_that_was_refused_excuses_nothing(story: Story) -> None:
    story.ask("delete_agent", 20.0, 20.1, answer=("AgentNotFoundError", "no agent"), agent="red-1")
    story.end(red_1=None)
    assert story.violations() == ["lost"]


def test_a_delete_of_an_earlier_agent_of_the_name_excuses_nothing(story: Story) -> None:
    story.delete(0.5, 0.9, "actor-before")
    story.end(red_1=None)
    assert story.violations() == ["lost"]


def test_a_delete_that_a_killed_driver_had_sent_may_have_been_carried_out(story: Story) -> None:
    story.delete(20.0, None)
    story.entries.append(Gone(at=20.1, driver="d1", life=1, code=-9, killed=True, ready=True))
    story.end(red_1=agent(A, "stopped"))
    assert story.violations() == []


def test_an_agent_without_restarts_may_end_with_its_process_and_one_with_restarts_may_not() -> None:
    for max_restarts, found in ((0, []), (-1, ["lost"])):
        story = Story()
        story.create(1.0, 3.0, max_restarts=max_restarts)
        story.born(2.0)
        story.kill(6.0, "agent", agent="red-1", actor_id=A, pid=1)
        story.end(red_1=agent(A, "failed", "its process died"))
        assert story.violations() == found


def test_an_agent_may_end_with_its_own_node_and_not_with_another() -> None:
    for node, found in (("n1", []), ("n2", ["lost"])):
        story = Story()
        story.create(1.0, 3.0, max_restarts=0)
        story.born(2.0, node="n1")
        story.kill(6.0, "node", node=node)
        story.end(red_1=agent(A, "failed", "its node died"))
        assert story.violations() == found


# -- two actors ---------------------------------------------------------------------------------------------------


def test_a_name_twice_in_one_reading_of_the_table_is_found(story: Story) -> None:
    story.table(6.0, row(A), row(B))
    story.delete(7.0, 8.0, B)
    story.end(row(), red_1=agent())
    assert "two actors" in story.violations()


def test_a_dead_row_beside_a_living_one_is_no_second_actor(story: Story) -> None:
    story.table(6.0, row(A), row(B, "DEAD"))
    story.end(row(), red_1=agent())
    assert story.violations() == []


def test_a_process_that_lives_on_beside_its_successor_is_found(story: Story) -> None:
    met = Met(at=10.0, agent="red-1", actor_id=A, pid=2, other_actor_id=A, other_pid=1)
    story.entries += [met, Alone(at=10.0 + DYING_S + 1, agent="red-1", actor_id=A, pid=2)]
    story.end(row(), red_1=agent())
    assert story.violations() == ["two actors"]


@pytest.mark.parametrize(("back", "found"), [(2.0, []), (0.5, ["two actors"])])
def test_a_process_may_live_on_if_the_gcs_was_away_while_it_was_made(
    story: Story, back: float, found: list[str]
) -> None:
    story.kill(0.2, "gcs")
    story.entries.append(Back(at=back, what="gcs"))
    story.born(1.5, B, pid=100)  # its process was started at 1.0
    met = Met(at=10.0, agent="red-1", actor_id=A, pid=2, other_actor_id=B, other_pid=100)
    story.entries += [met, Alone(at=10.0 + DYING_S + 1, agent="red-1", actor_id=A, pid=2)]
    story.end(row(), red_1=agent())
    assert story.violations() == found


def test_a_process_that_is_dying_while_its_successor_comes_up_is_allowed(story: Story) -> None:
    met = Met(at=10.0, agent="red-1", actor_id=A, pid=2, other_actor_id=A, other_pid=1)
    story.entries += [met, Alone(at=11.0, agent="red-1", actor_id=A, pid=2)]
    story.end(row(), red_1=agent())
    assert story.violations() == []


def test_an_answer_from_a_process_whose_successor_was_born_is_found(story: Story) -> None:
    story.born(6.0, pid=2)
    story.call(7.0, pid=1)
    story.end(row(), red_1=agent())
    assert story.violations() == ["two actors"]


# -- capacity -----------------------------------------------------------------------------------------------------


def test_a_pool_that_says_it_is_overdrawn_is_found(story: Story) -> None:
    story.ask("get_pool", 6.0, 6.1, answer={"pool": pool(1.5)}, pool="red")
    story.end(row(), red_1=agent())
    assert story.violations() == ["overdrawn"]


def test_living_actors_that_hold_more_than_the_pool_has_are_found(story: Story) -> None:
    story.table(6.0, *(row(f"actor-{n}", name=f"red-{n}") for n in range(3)))
    story.end(row(), red_1=agent())
    assert story.violations() == ["overdrawn"]


# -- at rest ------------------------------------------------------------------------------------------------------


def test_used_that_differs_from_what_living_agents_hold_is_found(story: Story) -> None:
    story.end(row(), used=1.0, red_1=agent())
    assert story.violations() == ["books"]


def test_an_actor_that_the_books_do_not_know_is_found(story: Story) -> None:
    story.end(row(), row(B, name="red-2"), used=1.0, red_1=agent())
    assert story.violations() == ["books"]


def test_an_agent_that_is_called_running_and_has_no_actor_is_found(story: Story) -> None:
    story.end(used=0.0, red_1=agent())
    assert story.violations() == ["books"]


def test_a_mesh_that_does_not_come_to_rest_is_found(story: Story) -> None:
    story.end(row(), calm=False, red_1=agent())
    assert story.violations() == ["books"]


def test_a_running_agent_that_does_not_answer_at_rest_is_found(story: Story) -> None:
    story.end(row(), red_1=agent())
    left = story.entries.pop()
    story.replace_last(calls={"red-1": "GetTimeoutError"})
    story.entries.append(left)
    assert story.violations() == ["books"]


def test_a_run_that_never_looked_at_the_end_proves_nothing(story: Story) -> None:
    assert sorted(story.violations()) == ["books", "left behind", "lost"]


# -- left behind --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left",
    [{"actors": ["launcher x"]}, {"keys": 1}, {"processes": ["agent red-1 (pid 1)"]}, {"problem": "it did not end"}],
)
def test_whatever_is_left_after_the_stop_is_found(story: Story, left: dict[str, Any]) -> None:
    story.end(row(), red_1=agent())
    story.replace_last(**left)
    assert story.violations() == ["left behind"]


# -- calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["supervisor", "launcher", "gcs", "driver"])
def test_a_call_that_failed_when_something_else_was_killed_is_found(story: Story, what: str) -> None:
    story.kill(6.0, what)
    story.call(6.0, error="ActorUnavailableError")
    story.end(row(), red_1=agent())
    assert story.violations() == ["call"]


def test_a_call_that_failed_long_after_the_agent_was_back_is_found(story: Story) -> None:
    story.kill(6.0, "agent", agent="red-1", actor_id=A, pid=1)
    story.born(8.0, pid=2)
    story.call(60.0, error="ActorUnavailableError")
    story.end(row(), red_1=agent())
    assert story.violations() == ["call"]


def test_a_call_that_failed_before_its_agent_was_killed_is_found(story: Story) -> None:
    story.call(5.0, error="ActorUnavailableError")
    story.kill(6.0, "agent", agent="red-1", actor_id=A, pid=1)
    story.born(8.0, pid=2)
    story.end(row(), red_1=agent())
    assert story.violations() == ["call"]


def test_a_call_to_an_agent_of_a_node_that_was_removed_may_fail(story: Story) -> None:
    story.kill(6.0, "node", node="n1")
    story.call(6.5, error="ActorUnavailableError")
    story.born(20.0, pid=2, node="n2")
    story.end(row(), red_1=agent())
    assert story.violations() == []


# -- errors -------------------------------------------------------------------------------------------------------


def test_an_error_that_is_not_ours_is_found(story: Story) -> None:
    story.kill(6.0, "gcs")
    story.ask("get_agent", 6.0, 7.0, answer=("RpcError", "failed to connect"), agent="red-1")
    story.end(row(), red_1=agent())
    assert story.violations() == ["unclear"]


def test_a_request_that_was_never_answered_to_a_living_driver_is_found(story: Story) -> None:
    story.ask("get_agent", 6.0, agent="red-1")
    story.end(row(), red_1=agent())
    assert story.violations() == ["unclear"]


@pytest.mark.parametrize(("what", "found"), [("launcher", []), ("node", []), ("supervisor", ["unclear"])])
def test_a_start_may_fail_with_its_launcher_or_a_node_and_not_with_the_supervisor(
    story: Story, what: str, found: list[str]
) -> None:
    story.ask("create_agent", 6.0, 9.0, answer=("AgentStartError", "lost"), agent="red-2", max_restarts=-1)
    story.kill(7.0, what)
    story.end(row(), red_1=agent())
    assert story.violations() == found


def test_an_actor_that_lives_on_after_its_delete_was_acknowledged_is_found(story: Story) -> None:
    story.delete(6.0, 7.0)
    story.table(8.0, row())
    story.call(8.0)
    story.end(red_1=agent(A, "stopped"))
    assert story.violations() == ["deleted", "deleted"]


@pytest.mark.parametrize(
    ("killed", "ready", "found"), [(True, True, []), (False, False, []), (False, True, ["driver"])]
)
def test_a_driver_may_end_when_killed_or_starting(story: Story, killed: bool, ready: bool, found: list[str]) -> None:
    story.entries.append(Gone(at=8.0, driver="d2", life=1, code=-9, killed=killed, ready=ready))
    story.end(row(), red_1=agent())
    assert story.violations() == found


# -- the history itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kills", "answers", "found"),
    [
        (3, 30, []),
        (2, 30, ["2.0 kills a minute"]),
        (3, 20, ["20.0 requests a minute"]),
        (0, 0, ["0.0 req", "0.0 kills"]),
    ],
)
def test_a_run_that_was_asked_or_harmed_too_little_is_void(kills: int, answers: int, found: list[str]) -> None:
    story = Story()
    story.ask("connect", 0.0)
    for number in range(answers * 10):
        story.ask("status", number * 600 / (answers * 10), 600.0, answer={})
    for number in range(kills * 10):
        story.kill(number * 60 / kills, "supervisor")
    for number in range(100):
        story.kill(number, "stray")  # nothing uses those
    story.ask("connect", 600.0)
    reasons = void(story.entries)
    assert len(reasons) == len(found)
    assert all(reason.startswith(beginning) for reason, beginning in zip(reasons, found, strict=True))


def test_what_agents_noted_is_merged_in_the_order_of_time_and_read_back(story: Story, tmp_path: Path) -> None:
    history, journal = tmp_path / "history.jsonl", tmp_path / "journal.jsonl"
    journal.write_bytes(encode(Born(at=2.5, agent="red-1", actor_id=A, pid=1, start=1, node="n")) + b"\n")
    history.write_bytes(b"".join(encode(entry) + b"\n" for entry in story.entries))
    merge(history, journal)
    entries = load(history)
    assert [entry.at for entry in entries] == sorted(entry.at for entry in [*story.entries, entries[4]])
    assert decode(journal.read_bytes()) in entries
