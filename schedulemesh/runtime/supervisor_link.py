"""The link from a launcher to its supervisor: requests through restarts, from the launcher's own event loop."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import ray
from ray.exceptions import RayError

from schedulemesh.core.messages import AnyBody, Reply, ReplyError, Request, decode_reply, encode_request

_RETRY_S = 0.2
_ANSWER_S = 60.0
"""Longest wait for one answer; a long poll is answered sooner. Then the request is sent again."""
GONE_S = 10.0
"""How long Ray must have no actor of the supervisor's name until the mesh counts as stopped."""


class SupervisorGoneError(Exception):
    """The mesh was stopped: Ray has had no supervisor of its name for GONE_S seconds."""


class SupervisorLink:
    """Sends requests; each is repeated until it is answered."""

    def __init__(self, mesh: str, namespace: str) -> None:
        self._mesh = mesh
        self._namespace = namespace
        self._handle: Any = None

    async def ask(self, body: AnyBody) -> Reply:
        """Return the supervisor's reply, a refusal included; raises SupervisorGoneError."""
        payload = encode_request(Request(uuid.uuid4().hex, body))
        missing_since: float | None = None
        while True:
            try:
                if self._handle is None:  # in a thread: Ray blocks for up to a minute while the GCS is away
                    self._handle = await asyncio.to_thread(ray.get_actor, self._mesh, self._namespace)
                missing_since = None
                return decode_reply(await asyncio.wait_for(self._handle.call.remote(payload), _ANSWER_S))
            except ValueError:
                missing_since = missing_since or time.monotonic()
                if time.monotonic() - missing_since > GONE_S:
                    raise SupervisorGoneError from None
            except ReplyError:
                raise SupervisorGoneError from None  # another version serves by now, and nothing can be asked of it
            except (RayError, asyncio.TimeoutError):
                self._handle = None
            await asyncio.sleep(_RETRY_S)
