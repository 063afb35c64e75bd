"""Hostile messages at the supervisor's door, thousands a second: it is the real one, in front of a world of fakes."""

from __future__ import annotations

import pytest
from dispatch_bench import order
from fuzz import on_examples
from hostile_wire import POOL, HostileSender, bodies, messages, reports
from mesh_driver import agent_body
from service import Service

from schedulemesh.core.environments import Environment
from schedulemesh.core.launch_protocol import Held, Launch, LaunchReady, decode_orders, encode_orders
from schedulemesh.core.messages import AnyBody, ReportOrder, TakeOrders
from schedulemesh.supervisor import dispatch

EXAMPLES = 1500
KEY, ACTOR = "a launcher's key", "launcher"


def leases_in(service: Service) -> list[str]:
    return sorted(lease for box in service.dispatch._mailboxes.values() for lease in box._leased)


@pytest.mark.parametrize("seeded", range(2))
def test_whatever_is_sent_is_answered_and_what_is_refused_changes_nothing(
    seeded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "POLL_S", 0.0)  # nobody waits for orders here
    service = Service()
    sender = HostileSender(service.call)
    resident = agent_body("resident", pool=POOL, request_id="resident", resources={"cpu": 0.5})
    assert service.ask("resident", resident).refusal is None
    held, good = a_launcher_with_orders(service)
    sender.look()

    def checked(message: object) -> None:
        store, leases = dict(service.store.kept), leases_in(service)
        if sender.send(message):
            assert service.store.kept == store, "refused, and yet something was written"
            assert leases_in(service) == leases, "refused, and yet a lease was taken or ended"
        service.mesh.check()

    good += bodies(b"the class", Environment(node_id="n1"), {"accelerator_type": "unloadable"})
    on_examples(checked, messages(good), number=EXAMPLES, seeded=seeded)
    left = leases_in(service)
    service.close()
    assert sum(sender.outcomes.values()) >= EXAMPLES
    assert sender.outcomes["InvalidRequestError"] < EXAMPLES, "some get past the first check"
    assert {"answered", "AgentStartError", "ProtocolMismatchError", "PoolNotFoundError"} <= set(sender.outcomes)
    assert {"TakeOrders", "ReportOrder"} <= set(sender.kinds)
    assert set(left) <= set(held), "nobody gets a lease that was not ordered"


def a_launcher_with_orders(service: Service) -> tuple[list[str], list[AnyBody]]:
    """Leases that a launcher holds, and what it may ask and report."""
    for number in range(3):
        launch = order(f"launched-{number}", key=KEY, class_blob="c", args_blob="a")
        service.store.kept |= {"blob/c": b"", "blob/a": b""}
        service.begin(service.dispatch.launch(launch))
    reply = service.ask("poll", TakeOrders(KEY, ACTOR, "p1"))
    assert reply.result is not None
    leased = decode_orders(reply.result["orders"])
    assert len(leased) == 3
    good: list[AnyBody] = [TakeOrders(KEY, ACTOR, "p1", [Held(one.lease) for one in leased])]
    assert service.ask("poll again", good[0]).result == {"orders": encode_orders([])}
    for one in leased:
        good += reports(KEY, ACTOR, one.lease)
        assert isinstance(one.order, Launch)
        good.append(ReportOrder(KEY, ACTOR, "p1", one.lease, LaunchReady(one.order.uid, 2, "another attempt's actor")))
    return [one.lease for one in leased], good
