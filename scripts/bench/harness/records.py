"""Records: a stub mesh, and agents in it that are records only. They are asked for as any client asks."""

from __future__ import annotations

import uuid
from typing import Any

import ray

import schedulemesh
from harness.rounds import say
from harness.stub import StubSupervisor
from schedulemesh.core.environments import Environment
from schedulemesh.core.messages import (
    AnyBody,
    CreateAgent,
    CreateAgents,
    CreatePool,
    Reply,
    Request,
    decode_reply,
    encode_request,
)

NAMESPACE = "bench-records"
POOL = "records"
NOTE = "these agents are records with a stub launcher, not processes"
_BATCH = 500
_ENVIRONMENT = Environment(paths=["/home/someone/project"], node_id="n" * 56)
# Of the size that an importable class and a few arguments have.
_CLASS, _ARGUMENTS = b"c" * 300, b"a" * 300


class StubMesh:
    """A mesh of records in this cluster, filled up to `records`."""

    def __init__(self, name: str, records: int) -> None:
        remote: Any = ray.remote
        self.handle = (
            remote(StubSupervisor)
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=100_000,
                num_cpus=0,
            )
            .remote(name, NAMESPACE)
        )
        self.records = 0
        self.ask(CreatePool(POOL, {"team": "bench"}, {"cpu": 0.01}, 1_000_000, overcommit=True))
        self.scheduler = schedulemesh.connect(name, namespace=NAMESPACE, start=False)
        self.fill(records)

    def fill(self, records: int) -> None:
        """Create agents until there are so many."""
        missing = records - self.records
        if missing > _BATCH:
            say(f"filling the books with {missing:,} records")
        while (missing := records - self.records) > 0:
            self.ask(CreateAgents(self.bodies(min(missing, _BATCH))))

    def bodies(self, count: int) -> list[CreateAgent]:
        """Requests for new agents, all of one size."""
        first = self.records
        self.records += count
        return [request(f"agent-{number:07}") for number in range(first, first + count)]

    def ask(self, body: AnyBody) -> Reply:
        return checked(ray.get(self.handle.call.remote(encoded(body))))

    @property
    def pid(self) -> int:
        pid: int = ray.get(self.handle.pid.remote())
        return pid

    def end(self) -> None:
        """The actor goes; what it has stored goes with the cluster."""
        ray.kill(self.handle, no_restart=True)


def encoded(body: AnyBody) -> bytes:
    request_id = body.request_id if isinstance(body, CreateAgent) else uuid.uuid4().hex
    return encode_request(Request(request_id, body))


def checked(answer: bytes) -> Reply:
    """The reply, if nothing in it is refused."""
    reply = decode_reply(answer)
    for one in (reply, *(reply.replies or ())):
        if one.refusal is not None:
            raise one.refusal.as_error()
    return reply


def request(name: str) -> CreateAgent:
    return CreateAgent(
        request_id=uuid.uuid4().hex,
        name=name,
        pool=POOL,
        class_name="module.Worker",
        class_blob=_CLASS,
        args_blob=_ARGUMENTS,
        environment=_ENVIRONMENT,
        namespace="",
        resources={"cpu": 0.01},
        options={},
        decorator={},
        labels={"role": "worker"},
        timeout_s=300.0,
    )
