"""The pure core under load: creates, and the reports that the agents are up, among so many agents in the books."""

from __future__ import annotations

import time

from harness.records import request

from schedulemesh.core.amounts import Amounts
from schedulemesh.core.messages import CreatePool, Request
from schedulemesh.supervisor.effects import Launch
from schedulemesh.supervisor.events import Asked, ClusterSeen, LaunchReady, Node
from schedulemesh.supervisor.mesh import Mesh


def decisions_per_second(agents: int, decisions: int) -> float:
    """Decisions a second with so many agents in the books."""
    mesh = Mesh(name="bench", namespace="bench")
    node = Amounts.parse({"cpu": 64.0}, "node")
    mesh.step(ClusterSeen((Node("node", node, node),)), 0.0)
    mesh.step(Asked(Request("pool", CreatePool("records", {}, {"cpu": 0.01}, 1_000_000, overcommit=True))), 0.0)
    _create(mesh, 0, agents)
    began = time.perf_counter()
    _create(mesh, agents, decisions // 2)
    return decisions // 2 * 2 / (time.perf_counter() - began)


def _create(mesh: Mesh, first: int, count: int) -> None:
    for number in range(first, first + count):
        body = request(f"agent-{number:07}")
        decision = mesh.step(Asked(Request(body.request_id, body)), float(number))
        for effect in decision.effects:
            if isinstance(effect, Launch):
                mesh.step(LaunchReady(effect.uid, effect.attempt, f"actor-{effect.uid}"), float(number))
