"""The excuses of the chaos run's checker: each lets pass what it is for, and nothing beside it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from chaos_story import A, B, Story, agent, row
from chaoslib import report
from chaoslib.evidence import LOST_NODE_S, UNANSWERED_S
from chaoslib.excuses import DROPPED_S, START_S
from chaoslib.history import Gone
from rich.console import Console

OWNER_DIED = "The actor is dead because its owner has died."
KILLED = "The actor is dead because it was killed by `ray.kill`."
IMPATIENT_S = 45.0


@pytest.fixture
def story() -> Story:
    """A second actor, B, is on its way behind the name of one that was made, and nothing tells of its birth."""
    one = Story()
    one.table(1.0, row(B, "PENDING_CREATION", node="n1"))
    return one


def calls(story: Story) -> list[str]:
    """The violations by failed calls."""
    return [rule for rule in story.violations() if rule == "call"]


# -- dropped unmade ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "found"),
    [("launcher", []), ("supervisor", ["call"]), ("node", []), ("gcs", ["call"]), ("driver", ["call"])],
)
def test_a_call_to_an_actor_that_ray_dropped_with_its_launcher_may_fail(
    story: Story, what: str, found: list[str]
) -> None:
    story.kill(6.0, what, node="n2")
    story.call(5.5, B, took=1.0, error="ActorDiedError", message=OWNER_DIED)
    story.table(7.0)
    assert calls(story) == found


@pytest.mark.parametrize(("error", "message"), [("ActorUnavailableError", OWNER_DIED), ("ActorDiedError", KILLED)])
def test_only_rays_own_word_says_that_an_actor_was_dropped(story: Story, error: str, message: str) -> None:
    story.kill(6.0, "launcher")
    story.call(5.5, B, took=1.0, error=error, message=message)
    story.table(7.0)
    assert calls(story) == ["call"]


def test_an_actor_that_stands_in_a_later_reading_was_not_dropped(story: Story) -> None:
    story.kill(6.0, "launcher")
    story.call(5.5, B, took=1.0, error="ActorDiedError", message=OWNER_DIED)
    story.table(7.0, row(B))
    assert calls(story) == ["call"]


def test_an_actor_that_was_born_was_not_dropped_unmade(story: Story) -> None:
    story.born(3.0, B)
    story.kill(6.0, "launcher")
    story.call(5.5, B, took=1.0, error="ActorDiedError", message=OWNER_DIED)
    assert calls(story) == ["call"]


def test_a_launcher_that_was_killed_long_ago_dropped_nothing(story: Story) -> None:
    story.kill(6.0, "launcher")
    story.call(6.0 + DROPPED_S, B, error="ActorDiedError", message=OWNER_DIED)
    assert calls(story) == ["call"]


# -- still starting ---------------------------------------------------------------------------------------------------


def test_a_call_may_outlast_the_drivers_patience_while_its_agent_is_still_starting(story: Story) -> None:
    story.ask("get_agent", 4.0, 4.1, answer={"agent": agent(B, "starting")}, agent="red-1")
    story.call(5.0, B, took=IMPATIENT_S, error="GetTimeoutError")
    story.table(49.0, row(B, "PENDING_CREATION"))
    assert calls(story) == []


def test_any_other_error_of_an_agent_that_is_still_starting_is_found(story: Story) -> None:
    story.call(5.0, B, took=IMPATIENT_S, error="ActorUnavailableError")
    story.table(49.0, row(B, "PENDING_CREATION"))
    assert calls(story) == ["call"]


def test_a_call_that_waits_for_an_actor_that_ray_has_dropped_is_found(story: Story) -> None:
    """It should have failed at once."""
    story.table(20.0)
    story.call(5.0, B, took=IMPATIENT_S, error="GetTimeoutError")
    assert calls(story) == ["call"]


def test_a_call_that_waits_for_an_agent_that_was_said_to_be_up_is_found(story: Story) -> None:
    story.ask("get_agent", 4.0, 4.1, answer={"agent": agent(B, "running")}, agent="red-1")
    story.call(5.0, B, took=IMPATIENT_S, error="GetTimeoutError")
    story.table(49.0, row(B))
    assert calls(story) == ["call"]


def test_a_call_that_waits_for_an_agent_whose_constructor_had_run_is_found(story: Story) -> None:
    story.born(30.0, B)
    story.call(5.0, B, took=IMPATIENT_S, error="GetTimeoutError")
    story.table(49.0, row(B))
    assert calls(story) == ["call"]


def test_a_start_without_end_excuses_nothing(story: Story) -> None:
    story.table(START_S, row(B, "PENDING_CREATION"))
    story.call(START_S, B, took=IMPATIENT_S, error="GetTimeoutError")
    assert calls(story) == ["call"]


# -- nodes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("node", "found"), [("n1", []), ("n2", ["call"])])
def test_an_actor_may_go_with_the_node_that_it_was_on_its_way_to(story: Story, node: str, found: list[str]) -> None:
    story.kill(6.0, "node", node=node)
    story.call(7.0, B, took=9.0, error="ActorDiedError", message="The actor died because its node has died.")
    assert calls(story) == found


def test_a_node_that_was_killed_long_ago_excuses_no_actor_that_never_came_up(story: Story) -> None:
    story.kill(6.0, "node", node="n1")
    story.call(6.0 + LOST_NODE_S, B, error="ActorDiedError")
    assert calls(story) == ["call"]


def test_a_node_that_was_killed_before_an_actor_came_to_be_excuses_none_of_its_calls() -> None:
    story = Story()
    story.kill(6.0, "node", node="n1")
    story.table(20.0, row(B, "DEPENDENCIES_UNREADY"))
    story.call(20.5, B, error="ActorDiedError")
    assert calls(story) == ["call"]


# -- deletes and starts that were given up ----------------------------------------------------------------------------


def test_a_delete_that_was_over_before_an_actor_came_to_be_is_not_its_end() -> None:
    story = Story()
    story.ask("delete_agent", 1.0, 2.0, answer=("SupervisorUnavailableError", "later"), agent="red-1")
    story.table(3.0, row(B, "PENDING_CREATION"))
    story.call(4.0, B, error="ActorDiedError", message=KILLED)
    assert calls(story) == ["call"]


@pytest.mark.parametrize(("later_s", "found"), [(-1.0, []), (1.0, ["call"])])
def test_a_delete_of_a_killed_driver_is_carried_out_soon_or_never(later_s: float, found: list[str]) -> None:
    story = Story()
    story.delete(1.0, None)
    story.entries.append(Gone(at=1.1, driver="d1", life=1, code=-9, killed=True, ready=True))
    there = 1.0 + UNANSWERED_S + later_s
    story.table(there, row(B, "PENDING_CREATION"))
    story.call(there + 0.5, B, error="ActorDiedError", message=KILLED)
    assert calls(story) == found


@pytest.mark.parametrize(("given_up", "found"), [(5.2, []), (0.5, ["call"]), (90.0, ["call"])])
def test_only_a_start_that_is_given_up_meanwhile_ends_an_agent(story: Story, given_up: float, found: list[str]) -> None:
    late = ("AgentStartTimeoutError", "late")
    story.ask("create_agent", 0.1, given_up, answer=late, agent="red-1", max_restarts=0)
    story.call(5.0, B, error="ActorDiedError", message=KILLED)
    assert calls(story) == found


# -- the count --------------------------------------------------------------------------------------------------------


def test_the_report_counts_what_hangs_on_each_excuse(story: Story) -> None:
    story.kill(6.0, "agent", agent="red-1", actor_id=A, pid=1)
    for at in (6.1, 6.2):
        story.call(at, A, error="ActorDiedError")
    story.call(3.0, B, error="ActorUnavailableError")
    story.kill(7.0, "launcher")
    story.ask("create_agent", 6.0, 9.0, answer=("AgentStartError", "lost"), agent="red-2", max_restarts=-1)
    out = io.StringIO()
    report.show(Console(file=out, width=200), story.entries, [], Path("h.jsonl"))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "│" in line]
    assert ["call of an agent", "its process was killed", "2"] in rows
    assert ["call of an agent", "nothing excuses it", "1"] in rows
    assert ["start of an agent", "a launcher was killed", "1"] in rows
