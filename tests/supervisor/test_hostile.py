"""Requests that no client of ours sends: each is refused, and none is remembered, kept or acted upon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from mesh_driver import DEAD, PENDING, agent_body, refusal

from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import AgentStartError, InvalidRequestError
from schedulemesh.core.messages import (
    MAX_DEPTH,
    AnyBody,
    CreatePool,
    DeleteAgent,
    DeletePool,
    Request,
    ResizePool,
    Stop,
    decode_request,
    encode_request,
)
from schedulemesh.supervisor.events import Asked
from schedulemesh.supervisor.lifecycle import MAX_CAUSE

if TYPE_CHECKING:
    from mesh_driver import Bench


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.create_pool("p", cpu=4)


@pytest.mark.parametrize(
    "strategy", [{"$pickled": b"x"}, {"$pickled": b"x", "text": 1}, {"$pickled": "x", "text": "y"}, {"text": "y"}]
)
def test_half_an_opaque_value_is_refused(bench: Bench, strategy: Any) -> None:
    body = agent_body(resources={"cpu": 1}, options={"scheduling_strategy": strategy})
    bench.refusal(body, InvalidRequestError)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 900])
def test_what_is_nested_too_deep_is_refused_at_the_door(depth: int) -> None:
    nested: Any = "core"
    for _ in range(depth):
        nested = [nested]
    environment = Environment({"pip": nested})
    bodies: list[AnyBody] = [
        agent_body(options={"lifetime": nested}),
        agent_body(decorator={"lifetime": nested}),
        agent_body(environment=environment),
        CreatePool("p", {}, {"cpu": 1.0}, 0, False, 1, environment),
        ResizePool("p", None, None, False, 1, environment),
    ]
    for body in bodies:
        with pytest.raises(InvalidRequestError):
            decode_request(encode_request(Request("r", body)))


def test_an_id_that_was_used_for_another_agent_is_refused(bench: Bench) -> None:
    uid = bench.run("w1", resources={"cpu": 1})
    refused = bench.ask(agent_body("w2", resources={"cpu": 1}), uid)
    assert refused is not None
    assert refused.refusal is not None
    assert refused.refusal.error == "InvalidRequestError"
    assert [agent["name"] for agent in bench.everything()["agents"]] == ["w1"]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (CreatePool("q", {}, {"cpu": 1.0}, 0, False), CreatePool("other", {}, {"cpu": 1.0}, 0, False)),
        (CreatePool("q", {}, {"cpu": 1.0}, 0, False), DeletePool("p", False)),
        (ResizePool("p", {"cpu": 2.0}, None, False), ResizePool("q", {"cpu": 1.0}, None, False)),
    ],
    ids=["create", "delete", "resize"],
)
def test_an_id_that_was_used_for_another_pool_is_refused(bench: Bench, first: AnyBody, then: AnyBody) -> None:
    bench.result(first, "used")
    before = bench.everything()
    assert "was used before, about pool" in str(refusal(bench.ask(then, "used"), InvalidRequestError))
    assert bench.everything() == before


def test_the_id_that_created_one_agent_does_not_end_it_under_anothers_name(bench: Bench) -> None:
    uid = bench.run("w1", resources={"cpu": 1})
    refused = bench.ask(DeleteAgent("w2", 30.0, False), uid)
    assert "was used before, about agent 'w1'" in str(refusal(refused, InvalidRequestError))
    assert bench.agent("w1")["state"] == "running"


def test_an_id_of_an_agent_used_on_a_pool_does_not_make_two_lives_of_one(bench: Bench) -> None:
    uid = bench.run("w1", resources={"cpu": 1})
    bench.delete("w1")
    bench.see(uid, DEAD)
    bench.result(ResizePool("p", {"cpu": 2}, None, False), uid)
    again = bench.ask(agent_body("w1", resources={"cpu": 1}), uid)
    assert again is not None, "answered from the first life, not launched a second time"
    assert bench.free() == 2.0


def test_an_id_that_differs_from_its_envelopes_is_refused(bench: Bench) -> None:
    decision = bench.step(Asked(Request("outer", agent_body(request_id="inner", resources={"cpu": 1}))))
    (answer,) = decision.answers
    assert answer.reply.refusal is not None


@pytest.mark.parametrize("name", ["mesh", "mesh:launcher:0123"])
def test_the_meshs_own_names_are_not_given_away(bench: Bench, name: str) -> None:
    bench.refusal(agent_body(name, resources={"cpu": 1}), InvalidRequestError)


def test_a_long_cause_is_kept_short_and_still_says_what_happened(bench: Bench) -> None:
    uid = bench.create("w1", resources={"cpu": 1})
    bench.see(uid, DEAD, cause="first line" + "x" * 10_000_000 + "ValueError: last line")
    error = bench.error_of(uid)
    assert isinstance(error, AgentStartError)
    assert len(error.cause) <= MAX_CAUSE
    assert error.cause.startswith("first line")
    assert error.cause.endswith("ValueError: last line")
    assert max(map(len, bench.store.values())) < 2 * MAX_CAUSE


def test_an_actor_that_was_seen_is_known_after_a_restart(bench: Bench) -> None:
    uid = bench.create("w1", resources={"cpu": 1})
    bench.see(uid, PENDING)
    assert bench.records()[uid].actor_id is not None


def test_deletes_that_change_nothing_take_no_room(bench: Bench) -> None:
    bench.run("w1", resources={"cpu": 1})
    for number in range(100):
        bench.step(Asked(Request(f"d{number}", DeleteAgent("w1", 30.0, False))))
    assert len(bench.mesh._books.deadlines) < 5


def test_a_mesh_that_is_being_stopped_changes_no_pool(bench: Bench) -> None:
    bench.run("w1", resources={"cpu": 1})
    bench.step(Asked(Request("stop", Stop(force=True))))
    refused = bench.ask(ResizePool("p", {"cpu": 2}, None, False))
    assert refused is not None
    assert refused.refusal is not None
    assert msgspec.to_builtins(refused.refusal)["error"] == "InvalidRequestError"
