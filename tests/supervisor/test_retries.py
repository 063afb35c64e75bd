"""The same request asked again: the first answer, whatever happened in between, and nothing done twice."""

from __future__ import annotations

from typing import Any

import pytest
from mesh_driver import DEAD, Bench, agent_body, result

from schedulemesh.core.errors import AgentStartError, InsufficientPoolCapacityError
from schedulemesh.core.messages import AnyBody, CreatePool, DeleteAgent, DeletePool, ResizePool, Stop
from schedulemesh.supervisor.books import REMEMBERED_REQUESTS
from schedulemesh.supervisor.effects import Launch, StopActor
from schedulemesh.supervisor.events import LaunchFailed

RESTARTED = pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.result(CreatePool("p", {}, {"cpu": 4}, 0, False), "create-p")


def again(bench: Bench, body: AnyBody, request_id: str, *, restarted: bool) -> dict[str, Any]:
    """Ask again; nothing may be written or ordered by it."""
    if restarted:
        bench.restart()
    before, effects = dict(bench.store), len(bench.effects)
    answer = bench.result(body, request_id)
    assert (bench.store, len(bench.effects)) == (before, effects)
    return answer


@RESTARTED
def test_a_created_pool_is_still_created(bench: Bench, restarted: bool) -> None:
    reply = again(bench, CreatePool("p", {}, {"cpu": 4}, 0, False), "create-p", restarted=restarted)
    assert reply["created"] is True


@RESTARTED
def test_a_created_pool_is_still_created_while_the_mesh_is_being_stopped(bench: Bench, restarted: bool) -> None:
    bench.run()
    assert bench.ask(Stop(force=True)) is None
    reply = again(bench, CreatePool("p", {}, {"cpu": 4}, 0, False), "create-p", restarted=restarted)
    assert reply["created"] is True


@RESTARTED
def test_a_created_agent_is_still_created(bench: Bench, restarted: bool) -> None:
    uid = bench.run()
    reply = again(bench, agent_body(request_id=uid), uid, restarted=restarted)
    assert reply["created"] is True
    assert len(bench.orders(Launch)) == 1


def test_a_create_that_is_asked_again_while_it_waits_is_answered_once(bench: Bench) -> None:
    uid = bench.create()
    assert bench.ask(agent_body(request_id=uid), uid) is None
    bench.come_up(uid)
    assert result(bench.answer(uid))["created"] is True
    assert len(bench.orders(Launch)) == 1


@RESTARTED
def test_a_failed_create_fails_the_same_way_and_is_not_tried_again(bench: Bench, restarted: bool) -> None:
    uid = bench.create()
    bench.step(LaunchFailed(uid, 1, "ValueError: no model"))
    first = bench.answer(uid)
    if restarted:
        bench.restart()
    assert bench.ask(agent_body(request_id=uid), uid) == first
    assert len(bench.orders(Launch)) == 1


@RESTARTED
def test_a_failed_create_is_remembered_beside_a_newer_agent_of_its_name(bench: Bench, restarted: bool) -> None:
    failed = bench.create()
    bench.step(LaunchFailed(failed, 1, "ValueError: no model"))
    bench.run()
    if restarted:
        bench.restart()
    bench.answers.clear()
    bench.ask(agent_body(request_id=failed), failed)
    assert isinstance(bench.error_of(failed), AgentStartError)


@RESTARTED
def test_a_create_asked_again_after_the_agent_died_tells_of_that_agent(bench: Bench, restarted: bool) -> None:
    uid = bench.run()
    bench.see(uid, DEAD)
    reply = again(bench, agent_body(request_id=uid), uid, restarted=restarted)
    assert (reply["created"], reply["agent"]["state"]) == (True, "failed")


def test_a_refused_create_is_decided_anew(bench: Bench) -> None:
    body = agent_body(request_id="big", resources={"cpu": 5})
    bench.refusal(body, InsufficientPoolCapacityError)
    bench.result(ResizePool("p", {"cpu": 5}, None, False))
    assert bench.ask(body, "big") is None


@RESTARTED
def test_a_delete_is_not_carried_over_to_the_next_agent_of_that_name(bench: Bench, restarted: bool) -> None:
    first = bench.run()
    request_id = bench.delete()
    bench.see(first, DEAD)
    bench.run()
    stops = len(bench.orders(StopActor))
    reply = again(bench, DeleteAgent("w1", 30.0, False), request_id, restarted=restarted)
    assert reply["agent"]["actor_id"] == f"actor-{first}"
    assert len(bench.orders(StopActor)) == stops
    assert bench.agent()["state"] == ("recovering" if restarted else "running")


@RESTARTED
def test_a_delete_of_what_had_ended_is_not_carried_over_either(bench: Bench, restarted: bool) -> None:
    bench.see(bench.run(), DEAD)
    for request_id in ("dismiss", "again"):
        assert bench.result(DeleteAgent("w1", 30.0, False), request_id)["agent"]["state"] == "failed"
    bench.run()
    for request_id in ("dismiss", "again"):
        reply = again(bench, DeleteAgent("w1", 30.0, False), request_id, restarted=restarted)
        assert reply["agent"]["state"] == "failed"
    assert bench.agent()["state"] == ("recovering" if restarted else "running")


def test_a_delete_that_is_asked_again_while_it_waits_is_ordered_and_answered_once(bench: Bench) -> None:
    uid = bench.run()
    request_id = bench.delete()
    assert bench.ask(DeleteAgent("w1", 30.0, False), request_id) is None
    assert len(bench.orders(StopActor)) == 1
    bench.see(uid, DEAD)
    assert result(bench.answer(request_id))["agent"]["state"] == "stopped"


@RESTARTED
def test_a_resize_is_not_done_over_a_later_one(bench: Bench, restarted: bool) -> None:
    bench.result(ResizePool("p", {"cpu": 8}, None, False), "first")
    bench.result(ResizePool("p", {"cpu": 2}, None, False), "second")
    again(bench, ResizePool("p", {"cpu": 8}, None, False), "first", restarted=restarted)
    assert bench.pool()["capacity"]["cpu"] == 2


@RESTARTED
def test_a_pool_delete_is_not_carried_over_to_the_next_pool_of_that_name(bench: Bench, restarted: bool) -> None:
    bench.result(DeletePool("p", False), "delete-p")
    bench.create_pool(cpu=1)
    reply = again(bench, DeletePool("p", False), "delete-p", restarted=restarted)
    assert reply["pool"]["state"] == "deleted"
    assert bench.pool()["state"] == "active"


@RESTARTED
def test_a_pool_create_asked_again_after_its_delete_does_not_bring_it_back(bench: Bench, restarted: bool) -> None:
    bench.result(DeletePool("p", False))
    reply = again(bench, CreatePool("p", {}, {"cpu": 4}, 0, False), "create-p", restarted=restarted)
    assert reply["created"] is True
    assert not bench.everything()["pools"]


def test_what_is_remembered_of_one_pool_is_bounded(bench: Bench) -> None:
    many = REMEMBERED_REQUESTS + 50
    for size in range(1, many + 1):
        bench.result(ResizePool("p", {"cpu": size % 4 + 1}, None, False), f"resize-{size}")
    (record,) = bench.pool_records().values()
    assert record.changed_by == [f"resize-{size}" for size in range(many + 1 - REMEMBERED_REQUESTS, many + 1)]
    assert len(bench.mesh._books._asked_of_pools) == REMEMBERED_REQUESTS + 1
