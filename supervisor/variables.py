"""Environment variables of one agent, kept out of Ray's logs.

Ray writes a runtime_env, values and all, into a log file. So the values stay in the agent's record. Its runtime_env
only names them, says where the record is, and has Ray run `set_variables` (through the launcher's hook) in each
process of the agent, restarts and children included, before any code of the user's is imported there. A child that
is given a value of its own keeps that, as in Ray. What a process reads before Python runs can only come through Ray,
and is in its log: `EARLY`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from schedulemesh.core.records import AgentRecord, RecordError, decode, key_of
from schedulemesh.supervisor.store import read

RECORD = "SCHEDULEMESH_RECORD"
"""Names the record that has the values: namespace, mesh and uid, with a line between each."""
EARLY = re.compile(
    r"PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+|LD_(LIBRARY_PATH|PRELOAD|AUDIT|BIND_NOW|DEBUG|DEBUG_OUTPUT)|GLIBC_TUNABLES|"
    r"PYTHON[A-Z]+|PYTHON_(CPU_COUNT|GIL|JIT)|MALLOC_.+|GRPC_.+|(__)?RAY_.+"
)
"""Names that the loader, the interpreter, the allocator or Ray reads before a hook can run."""
_HIDDEN = "<in the agent's record>"
"""Stands before what the variable was before, where the value goes."""
_UNKNOWN = re.compile(r"\$\{[A-Z0-9_]+\}")


def through_ray(env_vars: Mapping[str, str]) -> dict[str, str]:
    """What Ray is told of an agent's variables: the early ones, and the names of the others."""
    return {name: value if _is_early(name) else f"{_HIDDEN}${{{name}}}" for name, value in env_vars.items()}


def reference(namespace: str, mesh: str, uid: str) -> str:
    return f"{namespace}\n{mesh}\n{uid}"


def set_variables() -> None:
    """Set this process's variables from the record that its runtime_env names."""
    hidden = uncover()
    namespace, mesh, uid = os.environ[RECORD].split("\n")
    key = key_of("agent", uid)
    stored = read(mesh, namespace, key)
    if stored is None:
        # An agent's children can outlive it, and its record goes after a while.
        sys.stderr.write(f"schedulemesh: the record with this process's env_vars is gone ({key})\n")
        return
    record = decode(key, stored)
    if not isinstance(record, AgentRecord):
        raise RecordError(f"{key} is no agent's record")
    apply({name: value for name, value in record.options["runtime_env"]["env_vars"].items() if name in hidden})


def uncover() -> set[str]:
    """The names whose values are still to be put in; until then they are what they were without the agent."""
    hidden = {name: value for name, value in os.environ.items() if value.startswith(_HIDDEN)}
    for name, value in hidden.items():
        before = value.removeprefix(_HIDDEN)
        if before in ("", f"${{{name}}}"):
            del os.environ[name]
        else:
            os.environ[name] = before
    return set(hidden)


def apply(env_vars: Mapping[str, str]) -> None:
    """Put the variables into this process as Ray does: `${NAME}` is filled in, and is empty where there is none."""
    for name, value in env_vars.items():
        os.environ[name] = _UNKNOWN.sub("", os.path.expandvars(value))


def _is_early(name: str) -> bool:
    return EARLY.fullmatch(name) is not None
