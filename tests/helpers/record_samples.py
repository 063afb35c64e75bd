"""Records as this version writes them: every kind, every state with every goal, all fields filled.

Run as a script, it writes them to `tests/core/data/records-v<SCHEMA>.json`, once: a file that is there stays as the
version that wrote it left it, and every later version has to read it. Beside the records, by key and in base64, the
file tells their shape: fields with their types, and the values of the enums among them.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any, get_args

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.options import opaque
from schedulemesh.core.records import SCHEMA, AgentRecord, Failure, MeshRecord, PoolRecord, encode, key_of
from schedulemesh.core.states import ENDED, AgentState, Goal, MeshState, PoolState
from schedulemesh.supervisor.transitions import TABLE

FOLDER = Path(__file__).resolve().parent.parent / "core" / "data"


def path_of(schema: int) -> Path:
    return FOLDER / f"records-v{schema}.json"


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The shape that a file tells, and its records by key."""
    stored = json.loads(path.read_text())
    return stored["shape"], {key: base64.b64decode(value) for key, value in stored["records"].items()}


def shape() -> dict[str, Any]:
    """What the records of this version look like."""
    structs = {kind.__name__: dict(kind.__annotations__) for kind in (AgentRecord, PoolRecord, MeshRecord, Amounts)}
    enums = {kind.__name__: [one.value for one in kind] for kind in (AgentState, Goal, PoolState, MeshState)}
    return {**structs, **enums, "Failure": list(get_args(Failure))}


def samples() -> dict[str, bytes]:
    """A whole store. The mesh's own record is there twice: there is one such key, and it has two states."""
    pools = [_pool(state) for state in PoolState]
    agents = [_agent(state, goal) for state, goal in TABLE]
    kits = {blob for agent in agents for blob in (agent.class_blob, agent.args_blob, agent.environment)}
    return {
        **{key_of("pool", pool.uid): encode(pool) for pool in pools},
        **{key_of("agent", agent.uid): encode(agent) for agent in agents},
        **{key_of("mesh", state.value): encode(MeshRecord(state=state)) for state in MeshState},
        **{key_of("blob", blob): b"pickled" for blob in sorted(kits)},
    }


def _pool(state: PoolState) -> PoolRecord:
    return PoolRecord(
        uid=f"uid-{state.value}",
        name=f"池-{state.value}",
        labels={"team": "ml", "说明": "a b"},
        resources=Amounts({"cpu": 25_000, "memory": 5_120_000, "fpga": 1}),
        target_agents=40,
        overcommit=True,
        state=state,
        created_at=1_700_000_000.25,
        ended_at=1_700_000_900.5,
        changed_by=["resize-1", f"resize-of-{state.value}"],
        warm_agents=3,
        environment="environment",
    )


def _agent(state: AgentState, goal: Goal) -> AgentRecord:
    name = f"{state.value}, to {goal.value}"
    ended = state in ENDED
    pool = PoolState.DELETED if ended else PoolState.DELETING if goal is Goal.STOP else PoolState.ACTIVE
    return AgentRecord(
        uid=f"uid of {name}",
        name=name,
        pool_uid=f"uid-{pool.value}",
        pool=f"池-{pool.value}",
        need=Amounts({"cpu": 10_000, "gpu": 5_000, "memory": 1_280_000, "fpga": 1}),
        labels={"team": "ml", "role": "索引", "pool": f"池-{pool.value}"},
        own_labels={"role": "索引"},
        options={
            "max_restarts": 3,
            "runtime_env": {"env_vars": {"A": "1"}, "pip": ["x"]},
            "scheduling_strategy": opaque(b"\x80\x05\xff", "PlacementGroupSchedulingStrategy(7)"),
        },
        class_name="module.Worker",
        class_blob=f"class of {name}",
        args_blob=f"arguments of {name}",
        environment="environment",
        driver_node="node-1",
        actor_name=f"actor of {name}",
        namespace="driver-namespace",
        state=state,
        goal=goal,
        created_at=1_700_000_001.5,
        start_deadline=1_700_000_301.5,
        timeout_s=300.5,
        actor_id=f"actor id of {name}",
        node_id="node-2",
        pid=4711,
        restarts=2,
        started_at=1_700_000_003.75,
        stop_deadline=1_700_000_333.5,
        ended_at=1_700_000_400.125,
        cause="Traceback:\n  ValueError: 没有",
        failure="timeout" if goal is Goal.GIVE_UP else "start",
        handle=b"\x0a\x10\xff",
        dismissed=True,
        stopped_by=["delete-1", f"delete of {name}"],
        inherited_env={"TOKEN": "of the creator", "区域": "a=b"},
    )


if __name__ == "__main__":
    target = path_of(SCHEMA)
    if target.exists():
        sys.exit(f"{target} is there and stays as it is; raise SCHEMA to write another")
    FOLDER.mkdir(exist_ok=True)
    records = {key: base64.b64encode(value).decode() for key, value in samples().items()}
    target.write_text(json.dumps({"schema": SCHEMA, "shape": shape(), "records": records}, indent=1) + "\n")
