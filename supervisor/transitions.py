"""The life of an agent: every state, every signal, and where each pair leads. All transitions stand here.

Theory of operation. An agent holds capacity from the moment its record is written (`starting`) until the end of its
actor was *observed*: Ray said DEAD, the table does not have it, or the launcher says it left none. Asking for an end
(`stopping`) frees nothing. `recovering` means that nobody knows whether an actor exists: after a restart of the
supervisor, or when a launcher ended in the middle of a launch. The next reading of Ray's table settles it, by the
agent's goal: to start (its constructor never finished), to run, to stop, or to be given up (it did not start in time).

Ray says ALIVE when a constructor has returned *or raised*, so only the launcher's READY leads from `starting` to
`running`. News race with each other: DEAD may come before the launcher's answer, and late news reach an ended agent.
Every such pair has its row. A pair without a row cannot happen; meeting it is a defect, raised as ImpossibleError,
and changes nothing. News about an earlier actor of the same name never get here: they carry another uid.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from schedulemesh.core.states import (
    ENDED,
    FAILED,
    RECOVERING,
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    AgentState,
    Goal,
)


class Signal(str, Enum):
    """What can happen to an agent."""

    READY = "ready"  # the launcher saw the constructor finish
    LAUNCH_FAILED = "launch failed"  # the launcher gave up and left no actor
    LAUNCH_LOST = "launch lost"  # the launcher ended; an actor may exist
    PENDING = "pending"  # Ray has the actor, not yet its process or constructor
    ALIVE = "alive"  # Ray: the constructor returned or raised
    RESTARTS = "restarts"  # Ray is starting the process again
    DEAD = "dead"  # Ray: ended for good
    ABSENT = "absent"  # a fresh table does not have it
    DELETE = "delete"  # someone asked for its end
    GROUP_REMOVED = "group removed"  # its placement group is gone: Ray would wait for a place for ever
    LATE = "late"  # its start deadline passed
    OVERDUE = "overdue"  # its stop deadline passed


class ImpossibleError(Exception):
    """A signal that cannot reach an agent in this state: a defect of ours. `story` is what led here."""

    def __init__(self, state: AgentState, goal: Goal, signal: Signal, story: Sequence[str]) -> None:
        super().__init__(
            f"{signal.value!r} cannot happen to an agent that is {state.value!r} (goal {goal.value!r}); "
            f"its story: {' > '.join(story)}"
        )


_S = Signal
_NEWS = (_S.PENDING, _S.ALIVE, _S.RESTARTS)
_LATE_NEWS = (_S.READY, _S.LAUNCH_FAILED, _S.LAUNCH_LOST, *_NEWS, _S.DEAD)

# A row for each state and each goal an agent in it can have; `stopping` and `recovering` have several.
TABLE: dict[tuple[AgentState, Goal], dict[Signal, AgentState]] = {
    (STARTING, Goal.START): {
        _S.READY: RUNNING,
        _S.LAUNCH_FAILED: FAILED,
        _S.LAUNCH_LOST: RECOVERING,
        **dict.fromkeys(_NEWS, STARTING),
        _S.DEAD: FAILED,
        _S.DELETE: STOPPING,
        _S.GROUP_REMOVED: STOPPING,
        _S.LATE: STOPPING,
    },
    (RUNNING, Goal.RUN): {
        _S.PENDING: RUNNING,  # from a table reading that was under way when it came up
        _S.ALIVE: RUNNING,
        _S.RESTARTS: RESTARTING,
        _S.DEAD: FAILED,
        _S.ABSENT: FAILED,
        _S.DELETE: STOPPING,
        _S.GROUP_REMOVED: STOPPING,
    },
    (RESTARTING, Goal.RUN): {
        _S.PENDING: RESTARTING,
        _S.ALIVE: RUNNING,
        _S.RESTARTS: RESTARTING,
        _S.DEAD: FAILED,
        _S.ABSENT: FAILED,
        _S.DELETE: STOPPING,
        _S.GROUP_REMOVED: STOPPING,
    },
    **{
        (STOPPING, goal): {
            _S.READY: STOPPING,  # it came up while it was being ended: killed again
            _S.LAUNCH_FAILED: end,
            _S.LAUNCH_LOST: STOPPING,
            **dict.fromkeys(_NEWS, STOPPING),
            _S.DEAD: end,
            _S.ABSENT: end,
            _S.DELETE: STOPPING,
            _S.GROUP_REMOVED: STOPPING,
            _S.OVERDUE: STOPPING,
        }
        for goal, end in ((Goal.STOP, STOPPED), (Goal.GIVE_UP, FAILED))
    },
    (RECOVERING, Goal.START): {
        **dict.fromkeys(_NEWS, STARTING),  # a launcher has to see the constructor through
        _S.DEAD: FAILED,
        _S.ABSENT: STARTING,  # launched again
        _S.DELETE: RECOVERING,
        _S.GROUP_REMOVED: STOPPING,
    },
    (RECOVERING, Goal.RUN): {
        _S.PENDING: RESTARTING,
        _S.ALIVE: RUNNING,
        _S.RESTARTS: RESTARTING,
        _S.DEAD: FAILED,
        _S.ABSENT: FAILED,
        _S.DELETE: RECOVERING,
        _S.GROUP_REMOVED: STOPPING,
    },
    **{
        (RECOVERING, goal): {
            **dict.fromkeys(_NEWS, STOPPING),
            _S.DEAD: end,
            _S.ABSENT: end,
            _S.DELETE: RECOVERING,
            _S.GROUP_REMOVED: STOPPING,
        }
        for goal, end in ((Goal.STOP, STOPPED), (Goal.GIVE_UP, FAILED))
    },
    **{(STOPPED, goal): dict.fromkeys(_LATE_NEWS, STOPPED) for goal in (Goal.STOP,)},
    **{(FAILED, goal): dict.fromkeys(_LATE_NEWS, FAILED) for goal in (Goal.START, Goal.RUN, Goal.GIVE_UP)},
}


def after(state: AgentState, goal: Goal, signal: Signal, story: Sequence[str] = ()) -> AgentState:
    """The state that follows; raises ImpossibleError for a pair that has no row."""
    try:
        return TABLE[state, goal][signal]
    except KeyError:
        raise ImpossibleError(state, goal, signal, story) from None


def diagram() -> str:
    """The table as a Mermaid state diagram; the docs hold its output and a test compares them."""
    arrows: dict[tuple[AgentState, AgentState], list[str]] = {}
    for (state, goal), row in TABLE.items():
        for signal, target in row.items():
            if target is not state:
                several = sum(other is state for other, _ in TABLE) > 1
                words = f"{signal.value} ({goal.value})" if several else signal.value
                arrows.setdefault((state, target), []).append(words)
    lines = ["stateDiagram-v2", "    [*] --> starting"]
    lines += [
        f"    {source.value} --> {target.value}: {', '.join(words)}" for (source, target), words in arrows.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in AgentState if state in ENDED]
    return "\n".join(lines)
