"""Actors: finding exactly the one that is meant, and asking it to stop gracefully.

Not public in Ray: `handle._actor_id`, which actor a handle is for. If it goes, `actor_id` in its repr says the same.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from schedulemesh.core.launch_protocol import Address
from schedulemesh.runtime.agent_class import STOP

_PROBLEM = 500
"""Characters of a problem that are reported; they go into the supervisor's log."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


async def stop_gracefully(address: Address) -> str:
    """Ask the agent to stop, and return once it is gone or is told to go as soon as it is back.

    Returns what prevented the order from being given, or an empty text.
    """
    if address.actor_id is None:
        return "it is not known which actor is meant"
    try:
        handle = await find(address)
        if handle is not None:
            await _stopped(handle)
    except Exception as error:  # noqa: BLE001 - looking an actor up loads a user's class, which can raise anything
        return problem_of(error)
    return ""


async def _stopped(handle: Any) -> None:
    try:
        await getattr(handle, STOP).options(max_task_retries=0).remote()
    except ActorDiedError:
        return
    except (AttributeError, RayError):  # made by a version without this method, or just being restarted by Ray
        handle.__ray_terminate__.remote()


async def find(address: Address) -> Any:
    """Return the handle of exactly that actor, or None if it is gone or its name is another's by now.

    In a thread: Ray blocks for up to a minute while the GCS is away.
    """
    try:
        handle = await asyncio.to_thread(ray.get_actor, address.actor_name, address.namespace)
    except ValueError:
        return None
    return handle if address.actor_id in (None, id_of(handle)) else None


def id_of(handle: Any) -> str:
    """Return the hex id of a handle's actor."""
    return str(handle._actor_id.hex())  # noqa: SLF001 - see the module's docstring


def problem_of(error: Exception) -> str:
    """Return an exception as one short text."""
    return sendable(f"{type(error).__name__}: {plain(str(error))}"[:_PROBLEM])


def sendable(text: str) -> str:
    """Return a text that any message can hold: users' exceptions may say what is no Unicode."""
    return text.encode(errors="backslashreplace").decode()


def plain(text: str) -> str:
    """Return Ray's message without the colours that it puts in."""
    return _ANSI.sub("", text)
