"""Agents by the ten thousand that come and go: each with its own class, arguments, labels, and end."""

from __future__ import annotations

from itertools import count

import msgspec
from mesh_driver import agent_body
from service import Service

from schedulemesh.core.messages import CreateAgent, CreateAgents, CreatePool, DeleteAgent

POOL = "turnover"
BATCH = 100


class Turnover:
    """Every second agent cannot be loaded; every other one comes up, and is deleted after that."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._numbers = count(1)
        self.ended = 0
        service.ask("pool", CreatePool(POOL, {"team": "a"}, {"cpu": 1.0}, 1_000_000, True))

    def keep_one_waiting(self) -> None:
        """One agent that does not come up: its deadline is before those of all others, and stays."""
        body = msgspec.structs.replace(
            self._body(0), options={"accelerator_type": "nowhere"}, timeout_s=6 * 24 * 3600.0
        )
        self._service.send(body.request_id, body)

    def up_to(self, ended: int) -> None:
        while self.ended < ended:
            self._batch()

    def _batch(self) -> None:
        bodies = [self._body(next(self._numbers)) for _ in range(BATCH)]
        replies = self._service.ask(f"batch-{self.ended}", CreateAgents(bodies)).replies
        assert replies is not None
        for body, reply in zip(bodies, replies, strict=True):
            assert (reply.refusal is None) == (not body.options)
        deletes = {f"delete-{body.name}": DeleteAgent(body.name, 30.0, False) for body in bodies if not body.options}
        for ended in self._service.ask_at_once(deletes):
            assert ended.result is not None
            assert ended.result["agent"]["state"] == "stopped"
        self.ended += len(bodies)

    @staticmethod
    def _body(number: int) -> CreateAgent:
        return agent_body(
            f"agent-{number:06}",
            pool=POOL,
            request_id=f"create-{number:06}",
            class_blob=b"class %06d" % number,
            args_blob=b"arguments %06d" % number,
            labels={"number": f"{number:06}"},
            options={"accelerator_type": "unloadable"} if number % 2 else {},
            timeout_s=7 * 24 * 3600.0,
        )
