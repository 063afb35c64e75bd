"""The door: what a client sent, as bytes, and what it is answered, as bytes. Knows no Ray."""

from __future__ import annotations

import asyncio

from schedulemesh.core.errors import ScheduleMeshError, SupervisorUnavailableError
from schedulemesh.core.messages import MAX_BATCH, CreateAgents, Reply, Request, decode_request, encode_reply
from schedulemesh.supervisor.admission import check_batch
from schedulemesh.supervisor.runner import Runner


class Door:
    """Answers requests from a runner, or every one with the reason why none can be carried out, if it is `closed`."""

    def __init__(self, mesh: str, runner: Runner) -> None:
        self._mesh = mesh
        self._runner = runner
        self.closed = ""

    async def call(self, payload: object) -> bytes:
        """Answer one encoded request with one encoded reply. Never raises for what a client sent."""
        try:
            request = decode_request(payload)
            if self.closed:
                raise SupervisorUnavailableError(mesh=self._mesh, timeout_s=0.0, reason=self.closed)
            if isinstance(request.body, CreateAgents):
                reply = await self._batch(request.body)
            else:
                reply = await self._runner.ask(request)
        except ScheduleMeshError as error:
            reply = Reply.refused(error)
        return encode_reply(reply)

    async def _batch(self, body: CreateAgents) -> Reply:
        check_batch(body.agents, MAX_BATCH)
        asked = [self._runner.ask(Request(agent.request_id, agent)) for agent in body.agents]
        return Reply(replies=list(await asyncio.gather(*asked)))
