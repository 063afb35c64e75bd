"""The table of an agent's life, against a second copy written by hand, and what must be true of any such table."""

from __future__ import annotations

from itertools import product

import pytest

from schedulemesh.core.states import ENDED, HOLDING, AgentState, Goal
from schedulemesh.supervisor.transitions import TABLE, ImpossibleError, Signal, after, diagram

# One line for a state and a goal: where each signal leads. What is not here cannot happen.
EXPECTED = """
starting/start: ready=running, launch failed=failed, launch lost=recovering, pending=starting, alive=starting, \
restarts=starting, dead=failed, delete=stopping, group removed=stopping, late=stopping
running/run: pending=running, alive=running, restarts=restarting, dead=failed, absent=failed, delete=stopping, \
group removed=stopping
restarting/run: pending=restarting, alive=running, restarts=restarting, dead=failed, absent=failed, delete=stopping, \
group removed=stopping
stopping/stop: ready=stopping, launch failed=stopped, launch lost=stopping, pending=stopping, alive=stopping, \
restarts=stopping, dead=stopped, absent=stopped, delete=stopping, group removed=stopping, overdue=stopping
stopping/give up: ready=stopping, launch failed=failed, launch lost=stopping, pending=stopping, alive=stopping, \
restarts=stopping, dead=failed, absent=failed, delete=stopping, group removed=stopping, overdue=stopping
recovering/start: pending=starting, alive=starting, restarts=starting, dead=failed, absent=starting, delete=recovering, \
group removed=stopping
recovering/run: pending=restarting, alive=running, restarts=restarting, dead=failed, absent=failed, delete=recovering, \
group removed=stopping
recovering/stop: pending=stopping, alive=stopping, restarts=stopping, dead=stopped, absent=stopped, delete=recovering, \
group removed=stopping
recovering/give up: pending=stopping, alive=stopping, restarts=stopping, dead=failed, absent=failed, delete=recovering, \
group removed=stopping
stopped/stop: ready=stopped, launch failed=stopped, launch lost=stopped, pending=stopped, alive=stopped, \
restarts=stopped, dead=stopped
failed/start: ready=failed, launch failed=failed, launch lost=failed, pending=failed, alive=failed, restarts=failed, \
dead=failed
failed/run: ready=failed, launch failed=failed, launch lost=failed, pending=failed, alive=failed, restarts=failed, \
dead=failed
failed/give up: ready=failed, launch failed=failed, launch lost=failed, pending=failed, alive=failed, \
restarts=failed, dead=failed
"""


def _rows() -> dict[tuple[AgentState, Goal, Signal], AgentState]:
    rows = {}
    for line in EXPECTED.strip().splitlines():
        place, _, pairs = line.partition(": ")
        state, _, goal = place.partition("/")
        for pair in pairs.split(", "):
            signal, _, target = pair.partition("=")
            rows[AgentState(state), Goal(goal), Signal(signal)] = AgentState(target)
    return rows


ROWS = _rows()
EVERYTHING = list(product(AgentState, Goal, Signal))
IMPOSSIBLE = [triple for triple in EVERYTHING if triple not in ROWS]
OBSERVED_ENDS = {Signal.DEAD, Signal.ABSENT, Signal.LAUNCH_FAILED}


@pytest.mark.parametrize(("triple", "target"), ROWS.items(), ids=str)
def test_every_possible_signal_leads_where_it_should(
    triple: tuple[AgentState, Goal, Signal], target: AgentState
) -> None:
    assert after(*triple) is target


@pytest.mark.parametrize("triple", IMPOSSIBLE, ids=str)
def test_every_other_signal_raises_and_tells_the_story(triple: tuple[AgentState, Goal, Signal]) -> None:
    state, goal, signal = triple
    with pytest.raises(ImpossibleError) as caught:
        after(state, goal, signal, ("starting", "ready > running"))
    for part in (signal.value, state.value, goal.value, "starting > ready > running"):
        assert part in str(caught.value)


def test_possible_and_impossible_are_all_there_is() -> None:
    assert len(ROWS) + len(IMPOSSIBLE) == len(AgentState) * len(Goal) * len(Signal)
    assert len(ROWS) == sum(len(row) for row in TABLE.values())


def test_every_state_holds_or_has_ended_and_never_both() -> None:
    assert frozenset(AgentState) == HOLDING | ENDED
    assert not HOLDING & ENDED


def test_capacity_comes_back_only_by_an_observed_end() -> None:
    ends = {signal for (state, _, signal), target in ROWS.items() if state in HOLDING and target in ENDED}
    assert ends == OBSERVED_ENDS


def test_asking_for_an_end_never_frees_anything() -> None:
    for goal, row in ((goal, row) for (state, goal), row in TABLE.items() if state in HOLDING):
        assert row.get(Signal.DELETE) in HOLDING, goal


def test_what_has_ended_never_comes_back() -> None:
    assert all(target is state for (state, _, _), target in ROWS.items() if state in ENDED)


def test_only_the_launcher_says_that_a_constructor_has_finished() -> None:
    up = {
        signal for (state, _, signal), to in ROWS.items() if state is AgentState.STARTING and to is AgentState.RUNNING
    }
    assert up == {Signal.READY}


@pytest.mark.parametrize(("state", "goal"), [place for place in TABLE if place[0] in HOLDING], ids=str)
def test_every_holding_state_can_reach_an_end(state: AgentState, goal: Goal) -> None:
    reached = {(state, goal)}
    frontier = [(state, goal)]
    while frontier:
        at, aim = frontier.pop()
        for signal in Signal:
            if (at, aim, signal) in ROWS:
                place = (ROWS[at, aim, signal], _aim_after(aim, signal))
                assert place in TABLE or place[0] in ENDED, f"{at} on {signal} ends in a place without a row: {place}"
                if place not in reached:
                    reached.add(place)
                    frontier.append(place)
    assert any(at in ENDED for at, _ in reached)


def test_every_place_can_be_reached_from_a_new_agent_or_a_restart() -> None:
    reached = {(AgentState.STARTING, Goal.START)}
    frontier = list(reached)
    while frontier:
        at, aim = frontier.pop()
        follows = {(ROWS[at, aim, signal], _aim_after(aim, signal)) for signal in Signal if (at, aim, signal) in ROWS}
        if at in HOLDING:
            follows.add((AgentState.RECOVERING, aim))
        frontier += follows - reached
        reached |= follows
    assert reached == set(TABLE)


def test_the_diagram_names_every_state_and_both_ends() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    for state in AgentState:
        assert any(state.value in line for line in lines[1:]), state
    assert "    [*] --> starting" in lines
    assert {line.strip() for line in lines if line.endswith("--> [*]")} == {"stopped --> [*]", "failed --> [*]"}


def test_the_diagram_has_an_arrow_for_every_change_of_state_and_no_other() -> None:
    arrows = {line.strip().partition(":")[0] for line in diagram().splitlines()[1:] if "[*]" not in line}
    changes = {f"{at.value} --> {to.value}" for (at, _, _), to in ROWS.items() if at is not to}
    assert arrows == changes


def test_what_ray_says_and_what_users_ask_is_possible_in_every_holding_state() -> None:
    always = {Signal.PENDING, Signal.ALIVE, Signal.RESTARTS, Signal.DEAD, Signal.DELETE}
    for (state, goal), row in TABLE.items():
        if state in HOLDING:
            assert always <= row.keys(), (state, goal)
            assert Signal.ABSENT in row or state is AgentState.STARTING


def _aim_after(goal: Goal, signal: Signal) -> Goal:
    """How goals change beside the table: by being ready, deleted, late, without its placement group, or launched too often."""
    if signal is Signal.READY and goal is Goal.START:
        return Goal.RUN
    if signal is Signal.DELETE and goal in (Goal.START, Goal.RUN):
        return Goal.STOP
    if signal is Signal.LATE or (signal is Signal.GROUP_REMOVED and goal in (Goal.START, Goal.RUN)):
        return Goal.GIVE_UP
    return goal
