"""Ray options of an agent: which there are, what each may be, and what an agent gets when one is left out.

Options arrive as plain data. A Ray object among them (a scheduling strategy) travels as an `opaque` value: pickled
bytes that only a launcher opens, and a text to show and to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from schedulemesh.core.amounts import Amounts, memory_from_bytes
from schedulemesh.core.brief import brief
from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.names import check_labels, check_name, close_matches

DEFAULTS: dict[str, Any] = {
    "max_restarts": -1,
    "max_task_retries": 3,
    "max_concurrency": 1000,
    "lifetime": None,
    "name": None,
    "namespace": None,
    "runtime_env": {},
    "scheduling_strategy": "DEFAULT",
    "get_if_exists": False,
}
STRATEGIES = ("DEFAULT", "SPREAD", "NODE_AFFINITY")
LIFETIMES = ("detached", "non_detached")
RESOURCE_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources")
_CALLED = {"cpu": "num_cpus", "gpu": "num_gpus"}
"""Kinds that are an option of another name."""
MAX_BYTES = 256 * 1024
"""Encoded size of all options of one agent; they are kept in its record."""
HIDDEN = "<hidden>"
"""Stands for the value of an environment variable wherever options are shown."""

_OPAQUE = "$pickled"


_NOTHING: tuple[Amounts, frozenset[str]] = (Amounts(), frozenset())


def opaque(pickled: bytes, text: str) -> dict[str, Any]:
    """A Ray object as plain data; `text` is what users see and what two requests are compared by."""
    return {_OPAQUE: pickled, "text": text}


def opaque_bytes(value: object) -> bytes | None:
    """The pickled bytes of an opaque value, or None for a plain one."""
    if not isinstance(value, dict) or set(value) != {_OPAQUE, "text"}:
        return None
    pickled = value[_OPAQUE]
    return pickled if isinstance(pickled, bytes) and isinstance(value["text"], str) else None


def check_options(given: object, what: str = "ray_options") -> dict[str, Any]:
    """Return the options that were set (None means unset, as in Ray); raise InvalidRequestError for a wrong one."""
    if given is None:
        return {}
    if not isinstance(given, (dict, Mapping)):  # the dict first: to ask an abstract class takes longer
        raise InvalidRequestError(field=what, problem=f"must be a dict, not {type(given).__name__}")
    if not given:
        return {}
    options = {name: value for name, value in given.items() if value is not None}
    for name, value in options.items():
        _check_option(name, value, what)
    try:
        size = len(msgspec.msgpack.encode(options))
    except (TypeError, OverflowError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            field=what, problem=f"must be plain data or Ray's own objects: {error!s:.200}"
        ) from None
    if size > MAX_BYTES:
        raise InvalidRequestError(field=what, problem=f"takes {size:,} bytes, the limit is {MAX_BYTES:,}")
    return options


def named_amounts(options: Mapping[str, Any], what: str) -> tuple[Amounts, frozenset[str]]:
    """The amounts that options ask for, in our units, and the kinds they name (a kind may be named as zero)."""
    if not options:
        return _NOTHING
    named: dict[str, Any] = {}
    if "num_cpus" in options:
        named["cpu"] = options["num_cpus"]
    if "num_gpus" in options:
        named["gpu"] = options["num_gpus"]
    if "memory" in options:
        named["memory"] = memory_from_bytes(int(options["memory"]))
    for kind, amount in options.get("resources", {}).items():
        if kind in ("cpu", "gpu", "memory"):
            raise InvalidRequestError(
                field=f"{what}['resources']", problem=f"holds custom kinds only; {kind!r} goes into resources="
            )
        named[kind] = amount
    return Amounts.parse(named, what, called=_CALLED), frozenset(named)


def without_resources(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not amounts; those are resolved against the pool and shown as resources."""
    return {name: value for name, value in options.items() if name not in RESOURCE_OPTIONS} if options else {}


def shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as a user may see them: no value of an environment variable, no pickled bytes."""
    visible = {name: value["text"] if opaque_bytes(value) is not None else value for name, value in options.items()}
    if visible.get("runtime_env") and isinstance(visible["runtime_env"], Mapping):
        visible["runtime_env"] = hidden_env_vars(visible["runtime_env"])
    return visible


def hidden_env_vars(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime_env whose variables keep their names and lose their values."""
    hidden = dict(runtime_env)
    if isinstance(hidden.get("env_vars"), Mapping):
        hidden["env_vars"] = dict.fromkeys(hidden["env_vars"], HIDDEN)
    return hidden


def differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Names of the options in which two agents differ; opaque values are compared by their text."""
    one, other = _compared(left), _compared(right)
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _compared(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value["text"] if opaque_bytes(value) is not None else value
        for name, value in options.items()
        if name != "get_if_exists"
    }


def _whole(minimum: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, not {type(value).__name__}"
        if not minimum <= value < 2**31:
            return f"must be {minimum} or more (and below 2**31), got {brief(value)}"
        return None

    return check


def _bytes(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"must be a number of bytes, not {type(value).__name__}"
    if not 0 <= value < 2**53 or value != int(value):
        return f"must be a whole number of bytes, got {brief(value)}"
    return None


def _instance(kind: type, words: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if isinstance(value, kind) else f"must be {words}, not {type(value).__name__}"

    return check


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if value in choices else f"must be one of {', '.join(choices)}, got {brief(value)}"

    return check


def _strategy(value: Any) -> str | None:
    if opaque_bytes(value) is not None:
        return None
    if not isinstance(value, str):
        return f"must be one of {', '.join(STRATEGIES)} or one of Ray's strategy objects, not {type(value).__name__}"
    return _one_of(STRATEGIES)(value)


def _env(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"must be a dict, not {type(value).__name__}"
    env_vars = value.get("env_vars") or {}
    if not isinstance(env_vars, Mapping) or not all(
        isinstance(key, str) and isinstance(text, str) for key, text in env_vars.items()
    ):
        return "must have 'env_vars' as a dict of strings"
    return None


def _named(what: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        check_name(value, what)
        return None

    return check


def _labelled(what: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        check_labels(value, what)
        return None

    return check


def _anything(_: Any) -> str | None:
    return None


# Ray's own list is `ray._common.ray_option_utils.actor_options`; a test on real Ray compares the two.
KNOWN: dict[str, Callable[[Any], str | None]] = {
    "max_restarts": _whole(-1),
    "max_task_retries": _whole(-1),
    "max_concurrency": _whole(1),
    "max_pending_calls": _whole(-1),
    "lifetime": _one_of(LIFETIMES),
    "name": _named("ray_options['name']"),
    "namespace": _named("ray_options['namespace']"),
    "num_cpus": _anything,
    "num_gpus": _anything,
    "memory": _bytes,
    "resources": _instance(dict, "a dict of custom resources"),
    "object_store_memory": _bytes,
    "accelerator_type": _instance(str, "a string"),
    "runtime_env": _env,
    "scheduling_strategy": _strategy,
    "label_selector": _labelled("ray_options['label_selector']"),
    "fallback_strategy": _instance(list, "a list of dicts"),
    "get_if_exists": _instance(bool, "True or False"),
    "enable_task_events": _instance(bool, "True or False"),
    "enable_tensor_transport": _instance(bool, "True or False"),
    "allow_out_of_order_execution": _instance(bool, "True or False"),
    "concurrency_groups": _instance(dict, "a dict of group name to concurrency"),
    "placement_group": _anything,
    "placement_group_bundle_index": _whole(-1),
    "placement_group_capture_child_tasks": _instance(bool, "True or False"),
    "_labels": _labelled("ray_options['_labels']"),
    "_actor_generator_backpressure_num_objects": _whole(-1),
}


def _check_option(name: object, value: Any, what: str) -> None:
    if not isinstance(name, str) or name not in KNOWN:
        close = [_CALLED.get(name, ""), *close_matches(name, KNOWN)] if isinstance(name, str) else []
        meant = next(
            (f"; did you mean {one!r}?" for one in close if one), f"; known are {', '.join(sorted(DEFAULTS))}, …"
        )
        raise InvalidRequestError(field=what, problem=f"has no option {brief(name)}{meant}")
    problem = KNOWN[name](value)
    if problem:
        raise InvalidRequestError(field=f"{what}[{name!r}]", problem=problem)
