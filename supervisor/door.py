"""The door: what a client sent, as bytes, and what it is answered, as bytes. Knows no Ray."""

from __future__ import annotations

import asyncio

from schedulemesh.core.errors import ScheduleMeshError, SupervisorUnavailableError
from schedulemesh.core.messages import (
    MAX_BATCH,
    CreateAgents,
    Reply,
    ReportOrder,
    Request,
    TakeOrders,
    decode_request,
    encode_reply,
)
from schedulemesh.supervisor.admission import check_batch
from schedulemesh.supervisor.dispatch import Dispatch
from schedulemesh.supervisor.runner import Runner


class Door:
    """Answers requests from a runner, or every one with the reason why none can be carried out, if it is `closed`."""

    def __init__(self, mesh: str, runner: Runner, dispatch: Dispatch) -> None:
        self._mesh = mesh
        self._runner = runner
        self._dispatch = dispatch
        self.closed = ""

    async def call(self, payload: object) -> bytes:
        """Answer one encoded request with one encoded reply. Never raises for what a client sent."""
        try:
            request = decode_request(payload)
            if self.closed:
                raise SupervisorUnavailableError(mesh=self._mesh, timeout_s=0.0, reason=self.closed)
            reply = await self._reply(request)
        except ScheduleMeshError as error:
            reply = Reply.refused(error)
        return encode_reply(reply)

    async def _reply(self, request: Request) -> Reply:
        match request.body:
            case TakeOrders():
                return await self._dispatch.take(request.body)
            case ReportOrder():
                return self._dispatch.report(request.body)
            case CreateAgents():
                return await self._batch(request.body)
            case _:
                return await self._runner.ask(request)

    async def _batch(self, body: CreateAgents) -> Reply:
        check_batch(body.agents, MAX_BATCH)
        asked = [self._runner.ask(Request(agent.request_id, agent)) for agent in body.agents]
        return Reply(replies=list(await asyncio.gather(*asked)))
