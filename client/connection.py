"""The connection: finds the supervisor by name, asks it, and goes on asking through its restarts.

Holds names, and a handle only until it fails. A request keeps its id through every retry, so that asking again is
always safe.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import msgspec
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError

from schedulemesh.client.environment import session
from schedulemesh.core.errors import InvalidRequestError, SupervisorNotRunningError, SupervisorUnavailableError
from schedulemesh.core.messages import (
    AnyBody,
    ListAgents,
    ListPools,
    Place,
    Reply,
    ReplyError,
    Request,
    decode_reply,
    encode_request,
)

_RETRY_S = 0.1
CALL_S = 60.0
"""Default time to wait for an answer: a supervisor comes back in seconds; a GCS may take half a minute."""


class Connection:
    """One mesh, as seen from this process. Thread-safe; pickles to its two names."""

    def __init__(self, mesh: str, namespace: str) -> None:
        self.mesh = mesh
        self.namespace = namespace
        self._lock = threading.Lock()
        self._handle: Any = None
        self._session: tuple[str, str] | None = None

    def __reduce__(self) -> tuple[type[Connection], tuple[str, str]]:
        return Connection, (self.mesh, self.namespace)

    def find(self) -> Any:
        """The supervisor's handle; raises SupervisorNotRunningError, or InvalidRequestError for another actor's name.

        Ray keeps the name while it restarts the actor, so a name that is not there means a mesh that was stopped.
        """
        with self._lock:
            if self._handle is None or self._session != session():  # a handle is good for one connection to Ray
                try:
                    handle = ray.get_actor(self.mesh, namespace=self.namespace)
                except ValueError:
                    raise SupervisorNotRunningError(mesh=self.mesh, namespace=self.namespace) from None
                if not hasattr(handle, "call"):
                    problem = f"{self.mesh!r} in namespace {self.namespace!r} is an actor, but no supervisor"
                    raise InvalidRequestError(field="name", problem=problem)
                self._handle, self._session = handle, session()
            return self._handle

    def ask(self, body: AnyBody, *, request_id: str | None = None, timeout_s: float = CALL_S) -> dict[str, Any]:
        """The result; raises the error that the supervisor refused with, or SupervisorUnavailableError."""
        return result_of(self.request(body, request_id=request_id, timeout_s=timeout_s))

    def ask_all(self, body: ListAgents | ListPools, kind: str) -> list[dict[str, Any]]:
        """All that is listed under `kind`, page after page."""
        listed: list[dict[str, Any]] = []
        while True:
            page = self.ask(body)
            listed += page[kind]
            if page["next"] is None:
                return listed
            body = msgspec.structs.replace(body, after=Place(**page["next"]))

    def request(self, body: AnyBody, *, request_id: str | None = None, timeout_s: float = CALL_S) -> Reply:
        payload = encode_request(Request(request_id or new_id(), body))
        until = time.monotonic() + timeout_s
        while True:
            reason: Exception
            try:
                handle = self.find()
                return self._read(ray.get(handle.call.remote(payload), timeout=max(0.0, until - time.monotonic())))
            except GetTimeoutError:
                raise SupervisorUnavailableError(
                    mesh=self.mesh, timeout_s=timeout_s, reason="it is busy, restarting, or cannot be reached"
                ) from None
            except RayActorError as error:
                self._forget(handle)
                reason = error
            except RayError as error:
                reason = error
            if time.monotonic() > until:
                raise SupervisorUnavailableError(mesh=self.mesh, timeout_s=timeout_s, reason=_short(reason)) from None
            time.sleep(_RETRY_S)

    def stop(self, body: AnyBody, *, timeout_s: float) -> None:
        """Have the mesh end, and wait until Ray has no actor of its name any more.

        Only the supervisor that is there now is asked: by the time of a retry another driver may have started anew.
        """
        self._forget(self._handle)  # it may be of a mesh that was stopped before
        handle = self.find()
        payload = encode_request(Request(new_id(), body))
        until = time.monotonic() + timeout_s
        reason = "it did not end"
        while time.monotonic() < until:
            try:
                result_of(self._read(ray.get(handle.call.remote(payload), timeout=until - time.monotonic())))
            except ActorDiedError:
                self._forget(handle)
                return  # gone; its answer may not have got out
            except RayError as error:
                reason = _short(error)
            time.sleep(_RETRY_S)
        raise SupervisorUnavailableError(mesh=self.mesh, timeout_s=timeout_s, reason=reason)

    def _read(self, answer: Any) -> Reply:
        try:
            return decode_reply(answer)
        except ReplyError as error:
            reason = f"it answers what this version cannot read ({error}); install the same version on both sides"
            raise SupervisorUnavailableError(mesh=self.mesh, timeout_s=0.0, reason=reason) from None

    def _forget(self, handle: Any) -> None:
        with self._lock:
            if self._handle is handle:
                self._handle = None


def new_id() -> str:
    return uuid.uuid4().hex


def result_of(reply: Reply) -> dict[str, Any]:
    if reply.refusal is not None:
        raise reply.refusal.as_error()
    return reply.result or {}


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
