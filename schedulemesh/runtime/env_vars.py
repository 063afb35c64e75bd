"""Environment variables of one agent, kept out of Ray's logs.

Ray writes a runtime_env, values and all, into a log file. So the values stay in the agent's record. Its runtime_env
only names them, says where the record is, and has Ray run `prepare_process` in each process of the agent, restarts and
children included, before any code of the user's is imported there. A child that is given a value of its own keeps that,
as in Ray. What a process reads before Python runs can only come through Ray, and is in its log: `EARLY`.

An agent that creates an agent hands its variables on, as Ray does. Their values are kept in the record of the new agent
too (`inherited_env`), as that of its creator goes one day.

Private parts of Ray used here: `WORKER_PROCESS_SETUP_HOOK_ENV_VAR` and `load_and_execute_setup_hook`. Ray runs the hook
that this variable names in a new process before it loads a class there, and documents the hook for `ray.init` only. If
it goes, an agent's env_vars would have to go through its runtime_env again, which Ray writes into a log.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR
from ray._private.runtime_env.setup_hook import load_and_execute_setup_hook

RECORD = "SCHEDULEMESH_RECORD"
"""Names the record that has the values: namespace, mesh and uid, with a line between each."""
NEXT_HOOK = "SCHEDULEMESH_NEXT_HOOK"
"""The hook that the driver's own runtime_env asked for; it runs after ours."""
EARLY = re.compile(
    r"PATH|TZ|LANG|LANGUAGE|LC_[A-Z]+|LD_(LIBRARY_PATH|PRELOAD|AUDIT|BIND_NOW|DEBUG|DEBUG_OUTPUT)|GLIBC_TUNABLES|"
    r"PYTHON[A-Z]+|PYTHON_(CPU_COUNT|GIL|JIT)|MALLOC_.+|GRPC_.+|(__)?RAY_.+"
)
"""Names that the loader, the interpreter, the allocator or Ray reads before a hook can run."""
_HIDDEN = "<in the agent's record>"
"""Stands before what the variable was before, where the value goes."""
_UNKNOWN = re.compile(r"\$\{[A-Z0-9_]+\}")
_NAMED = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_HOOK = "schedulemesh.runtime.env_vars.prepare_process"
_OLD_HOOK = "schedulemesh.supervisor.launcher.prepare_process"
"""As agents of version 0.1 have it."""
_OURS = (_HOOK, _OLD_HOOK)

_given: dict[str, str] = {}
"""What this process got from its record."""


def given() -> dict[str, str]:
    """Return the variables that this process got from the record of its agent; what it creates is to have them too."""
    return dict(_given)


def through_ray(env_vars: Mapping[str, str], record: str, *, inherits: bool) -> dict[str, str]:
    """Return what Ray is told of an agent's variables: the early ones, the names of the others, and our hook.

    Args:
        env_vars: those that the agent itself is given. Ray merges them with this process's own.
        record: where the values are, as `reference` gives it.
        inherits: whether the record also holds variables that this process has from a record.
    """
    told: dict[str, str] = {}
    values = dict(_given)
    for name, value in env_vars.items():
        values[name] = _filled_in(value, values)
        # A name that is hidden from Ray cannot be filled in by Ray, so it is done here.
        told[name] = values[name] if _is_early(name) else f"{_HIDDEN}${{{name}}}"
    if inherits or any(not _is_early(name) for name in env_vars):
        hook = os.environ.get(WORKER_PROCESS_SETUP_HOOK_ENV_VAR, "")
        further = os.environ.get(NEXT_HOOK, "") if hook in _OURS else hook
        told[RECORD] = record
        told[NEXT_HOOK] = "" if further in _OURS else further
        told[WORKER_PROCESS_SETUP_HOOK_ENV_VAR] = _HOOK
    return told


def reference(namespace: str, mesh: str, uid: str) -> str:
    return f"{namespace}\n{mesh}\n{uid}"


def prepare_process() -> None:
    """Set up a new process of an agent; then run the hook that its driver asked for."""
    set_variables()
    further = os.environ.get(NEXT_HOOK)
    problem = load_and_execute_setup_hook(further) if further and further not in _OURS else None
    if problem:
        raise RuntimeError(problem)


def set_variables() -> None:
    """Set this process's variables from the record that its runtime_env names."""
    from schedulemesh.core.records import AgentRecord, RecordError, decode, key_of  # noqa: PLC0415 - few processes
    from schedulemesh.runtime.record_reader import read_record  # noqa: PLC0415 - need them

    hidden = uncover()
    namespace, mesh, uid = os.environ[RECORD].split("\n")
    key = key_of("agent", uid)
    stored = read_record(mesh, namespace, key)
    if stored is None:
        # An agent's children can outlive it, and its record goes after a while.
        sys.stderr.write(f"schedulemesh: the record with this process's env_vars is gone ({key})\n")
        return
    record = decode(key, stored)
    if not isinstance(record, AgentRecord):
        raise RecordError(f"{key} is no agent's record")
    own = (record.options.get("runtime_env") or {}).get("env_vars") or {}
    apply({name: value for name, value in {**record.inherited_env, **own}.items() if name in hidden})


def uncover() -> set[str]:
    """Return the names whose values are still to be set; until then they are what they were without the agent."""
    hidden = {name: value for name, value in os.environ.items() if value.startswith(_HIDDEN)}
    for name, value in hidden.items():
        before = value.replace(_HIDDEN, "")
        if before in ("", f"${{{name}}}"):
            del os.environ[name]
        else:
            os.environ[name] = before
    return set(hidden)


def apply(env_vars: Mapping[str, str]) -> None:
    """Set the variables in this process as Ray does: `${NAME}` is filled in, and is empty where there is none."""
    for name, value in env_vars.items():
        os.environ[name] = _given[name] = _UNKNOWN.sub("", os.path.expandvars(value))


def _filled_in(value: str, values: Mapping[str, str]) -> str:
    """Return the value with the given names filled in; others are left to Ray."""
    return _NAMED.sub(lambda named: values.get(named[1] or named[2], named[0]), value)


def _is_early(name: str) -> bool:
    return EARLY.fullmatch(name) is not None
