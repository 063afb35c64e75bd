"""Environments: where a driver's classes can be imported, and the hash that names such a place."""

from __future__ import annotations

from typing import Any

import msgspec

from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.records import digest

MAX_ENVIRONMENT = 256 * 1024
"""Bytes of one encoded environment."""
_CANONICAL = msgspec.json.Encoder(order="deterministic")


class Environment(msgspec.Struct, frozen=True):
    """A driver's job as Ray knows it: enough to start a launcher there, or in a job of the same kind.

    Version 0.1 recorded neither job nor namespace; its agents ran in the supervisor's job.
    """

    runtime_env: dict[str, Any] = {}
    """As Ray resolved it for the driver's process."""
    paths: list[str] = []
    """What Ray puts on `sys.path` of the job's workers."""
    node_id: str = ""
    """The driver's node, in hex."""
    job_id: str = ""
    """The driver's Ray job, in hex."""
    namespace: str = ""
    """The job's Ray namespace."""


def encode_environment(environment: Environment) -> bytes:
    """Return canonical bytes, so that equal environments have equal hashes.

    Raises:
        InvalidRequestError: it is not plain data, or takes more than MAX_ENVIRONMENT bytes.
    """
    try:
        encoded = _CANONICAL.encode(environment)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(field="runtime_env", problem=f"must be plain data with text keys: {error}") from None
    if len(encoded) > MAX_ENVIRONMENT:
        raise InvalidRequestError(
            field="runtime_env", problem=f"takes {len(encoded):,} bytes, the limit is {MAX_ENVIRONMENT:,}"
        )
    return encoded


def environment_key(environment: Environment) -> str:
    """Return the hash that names this environment, its blob and its launcher."""
    return digest(encode_environment(environment))
