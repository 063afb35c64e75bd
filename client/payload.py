"""The payload: a user's class and arguments as bytes, checked here, where the user can still see the line at fault.

Attributes of Ray's that are not public: `__ray_metadata__.modified_class` and `_default_options` of a class under
`@ray.remote`, the plain class and its decorator's options. If they go, only plain classes can be agents.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import cloudpickle
from ray.runtime_env import RuntimeEnv

from schedulemesh.client.arguments import reading
from schedulemesh.core.brief import brief
from schedulemesh.core.errors import AgentSignatureError, InvalidRequestError
from schedulemesh.core.messages import check_blob
from schedulemesh.core.names import check_name
from schedulemesh.core.options import check_options, opaque
from schedulemesh.raycompat.handle_bytes import from_bytes, to_bytes

# Ray Client has a reference type of its own, which is not importable without its extra.
_LONG = 300
_MAX_DEPTH = 8
"""How deep the fields of one of Ray's objects are described."""
_CLIENT_HANDLE = "ClientActorHandle"
_REFERENCES = frozenset({"ObjectRef", "ClientObjectRef", "ObjectRefGenerator"})


@reading("actor_class")
def plain_class(actor_class: Any) -> tuple[type, dict[str, Any]]:
    """The user's own class, and the options of its `@ray.remote` decorator if it has one."""
    metadata = getattr(actor_class, "__ray_metadata__", None)
    if metadata is not None and not isinstance(actor_class, type):
        options = getattr(actor_class, "_default_options", None) or {}
        actor_class, decorator = metadata.modified_class, dict(options)
    else:
        decorator = {}
    if isinstance(actor_class, type):
        return actor_class, decorator
    raise InvalidRequestError(
        field="actor_class",
        problem=f"must be a class, plain or under @ray.remote, not {type(actor_class).__name__} {brief(actor_class)}",
    )


@reading("actor_class")
def name_of(cls: type) -> str:
    """The class's full name; what two requests for the same agent are compared by."""
    return check_name(f"{cls.__module__}.{cls.__qualname__}", "actor_class name")


@reading("actor_class")
def check_signature(agent: str, cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise AgentSignatureError (a TypeError) if `cls(name, labels, supervisor, *args, **kwargs)` cannot be called."""
    constructor = inspect.getattr_static(cls, "__init__")
    if constructor is object.__init__:
        raise AgentSignatureError(
            agent=agent,
            actor_class=cls.__name__,
            problem="takes no arguments; derive from schedulemesh.AgentActor, "
            "or write __init__(self, name, labels, supervisor=None)",
        )
    try:
        signature = inspect.signature(constructor)
    except (TypeError, ValueError):
        return  # written in C, without a signature: the constructor itself will tell
    try:
        signature.bind(None, agent, {}, None, *args, **kwargs)
    except TypeError as error:
        raise AgentSignatureError(agent=agent, actor_class=cls.__name__, problem=str(error)) from None


def pickle_class(cls: type) -> bytes:
    return _pickle(cls, "actor_class")


def pickle_arguments(supervisor: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """What the agent's constructor gets after its name and labels."""
    return _pickle((supervisor, tuple(args), dict(kwargs)), "actor_args and actor_kwargs")


def plain_options(options: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """Ray options as plain data, checked; Ray's own objects (scheduling strategies) become opaque values."""
    if options is None:
        return {}
    with reading(what):
        if not isinstance(options, Mapping):
            raise InvalidRequestError(field=what, problem=f"must be a dict, not {type(options).__name__}")
        plain = check_options({name: _plain(value) for name, value in options.items()}, what)
        if plain.get("runtime_env"):
            plain = check_options({**plain, "runtime_env": _resolved(plain["runtime_env"], what)}, what)
        return plain


def _resolved(runtime_env: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a runtime_env as Ray reads it here, in the driver's folder: requirements files become their lines."""
    try:
        _probe().options(runtime_env=dict(runtime_env))
        resolved: dict[str, Any] = RuntimeEnv(**runtime_env).to_dict()
    except Exception as error:  # Ray checks a runtime_env with many kinds of exceptions
        raise InvalidRequestError(field=f"{what}['runtime_env']", problem=brief(str(error), _LONG)) from error
    return {name: value for name, value in resolved.items() if not name.startswith("_")}


@functools.cache
def _probe() -> Any:
    """Return an actor class by which Ray checks options; it is never created."""
    remote: Any = ray.remote
    return remote(_Probe)


class _Probe:
    """Never created."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if type(value).__module__.split(".")[0] != "ray":
        return value
    return opaque(cloudpickle.dumps(value), _described(value))


def _described(value: Any, depth: int = 0) -> str:
    """Return a text that names an object and its public fields, the same for two that mean the same."""
    fields = {name: field for name, field in sorted(vars(value).items()) if not name.startswith("_")}
    shown = ", ".join(f"{name}={_field(field, depth)}" for name, field in fields.items())
    return f"{type(value).__name__}({shown})"


def _field(value: Any, depth: int) -> str:
    ident = getattr(value, "id", None)  # a placement group is known by its id
    if ident is not None and hasattr(ident, "hex"):
        return str(ident.hex())
    if depth > _MAX_DEPTH:
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_field(one, depth + 1) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_field(one, depth + 1)}' for key, one in value.items())}}}"
    if type(value).__module__.split(".")[0] == "ray" and hasattr(value, "__dict__"):
        return _described(value, depth + 1)  # an operator on labels, say, whose repr is only where it lies in memory
    return repr(value)


def _handle_bytes(client_handle: Any) -> bytes:
    """Return a Ray Client driver's handle as the cluster has it; only a process inside of it can tell."""
    remote: Any = ray.remote
    return bytes(ray.get(remote(to_bytes).options(num_cpus=0).remote(client_handle)))


class _Pickler(cloudpickle.Pickler):
    """cloudpickle, but a reference to an object in Ray's store is refused."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ray.ObjectRef) or type(obj).__name__ in _REFERENCES:
            raise InvalidRequestError(
                field="actor_args and actor_kwargs",
                problem=f"hold {brief(obj)}: the object belongs to this driver and goes when it goes, so the agent "
                "could not be started again from it; pass the value itself (ray.get), or where to load it from",
            )
        if type(obj).__name__ == _CLIENT_HANDLE:
            return from_bytes, (_handle_bytes(obj),)
        return super().reducer_override(obj)  # type: ignore[no-untyped-call]  # untyped in Ray


def _pickle(value: Any, what: str) -> bytes:
    stream = io.BytesIO()
    try:
        pickler: Any = _Pickler
        pickler(stream).dump(value)
    except InvalidRequestError:
        raise
    except Exception as error:
        # Pickling runs users' __reduce__ and __getstate__, which can raise anything.
        raise InvalidRequestError(field=what, problem=f"cannot be pickled: {brief(error, _LONG)}") from error
    check_blob(stream.tell(), what)
    return stream.getvalue()
