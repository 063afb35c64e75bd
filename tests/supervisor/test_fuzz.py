"""Hostile messages at the supervisor's door, thousands a second: it is the real one, in front of a world of fakes."""

from __future__ import annotations

import pytest
from fuzz import on_examples
from hostile_wire import POOL, HostileSender, bodies, messages
from mesh_driver import agent_body
from service import Service

from schedulemesh.core.messages import Environment

EXAMPLES = 1500


@pytest.mark.parametrize("seeded", range(2))
def test_whatever_is_sent_is_answered_and_what_is_refused_changes_nothing(seeded: int) -> None:
    service = Service()
    sender = HostileSender(service.call)
    resident = agent_body("resident", pool=POOL, request_id="resident", resources={"cpu": 0.5})
    assert service.ask("resident", resident).refusal is None
    sender.look()

    def checked(message: object) -> None:
        store = dict(service.store.kept)
        if sender.send(message):
            assert service.store.kept == store, "refused, and yet something was written"
        service.mesh.check()

    good = bodies(b"the class", Environment(node_id="n1"), {"accelerator_type": "unloadable"})
    on_examples(checked, messages(good), number=EXAMPLES, seeded=seeded)
    service.close()
    assert sum(sender.outcomes.values()) >= EXAMPLES
    assert sender.outcomes["InvalidRequestError"] < EXAMPLES, "some get past the first check"
    assert {"answered", "AgentStartError", "ProtocolMismatchError", "PoolNotFoundError"} <= set(sender.outcomes)
