"""States of agents, pools and the mesh, and the named sets of them that decisions are made on."""

from __future__ import annotations

from enum import Enum


class AgentState(str, Enum):
    """Where an agent is. `HOLDING` states hold capacity, `ENDED` ones do not."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    RECOVERING = "recovering"
    STOPPED = "stopped"
    FAILED = "failed"


# By their plain names, too: `AgentState.RUNNING` is looked up in Python, at each use (before 3.12).
STARTING, RUNNING, RESTARTING, STOPPING, RECOVERING, STOPPED, FAILED = AgentState


class Goal(str, Enum):
    """Where an agent is going, apart from where it is."""

    START = "start"
    RUN = "run"
    STOP = "stop"
    GIVE_UP = "give up"


class PoolState(str, Enum):
    ACTIVE = "active"
    DELETING = "deleting"
    DELETED = "deleted"


class MeshState(str, Enum):
    SERVING = "serving"
    STOPPING = "stopping"


HOLDING = frozenset({STARTING, RUNNING, RESTARTING, STOPPING, RECOVERING})
ENDED = frozenset({STOPPED, FAILED})
LEAVING = frozenset({Goal.STOP, Goal.GIVE_UP})
