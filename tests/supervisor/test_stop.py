"""Stopping the mesh: refused while agents live, unless forced; then everything ends, and only then is it answered."""

from __future__ import annotations

import pytest
from mesh_driver import DEAD, Bench, agent_body, result

from schedulemesh.core.errors import InvalidRequestError, MeshNotEmptyError
from schedulemesh.core.messages import CreatePool, ListPools, Status, Stop
from schedulemesh.supervisor.effects import EndMesh, KillActor, StopActor
from schedulemesh.supervisor.events import LaunchFailed


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.create_pool(cpu=16)


def test_a_mesh_without_agents_ends_at_once(bench: Bench) -> None:
    assert bench.result(Stop(False)) == {"stopped": True}
    assert len(bench.orders(EndMesh)) == 1


def test_a_mesh_with_agents_is_not_stopped_and_names_some(bench: Bench) -> None:
    for number in range(7):
        bench.run(f"a{number}")
    error = bench.refusal(Stop(False), MeshNotEmptyError)
    assert (error.agents, error.examples) == (7, ["a0", "a1", "a2", "a3", "a4"])
    assert bench.result(Status())["state"] == "serving"


def test_agents_that_have_ended_do_not_keep_the_mesh(bench: Bench) -> None:
    bench.see(bench.run(), DEAD)
    assert bench.result(Stop(False)) == {"stopped": True}


def test_a_forced_stop_ends_every_agent_before_the_mesh(bench: Bench) -> None:
    running, starting = bench.run("a"), bench.create("b")
    assert bench.ask(Stop(True), "stop") is None
    assert [order.address.uid for order in bench.orders(StopActor)] == [running]
    assert [order.address.uid for order in bench.orders(KillActor)] == [starting]
    assert bench.result(Status())["state"] == "stopping"
    bench.see(running, DEAD)
    assert not bench.orders(EndMesh)
    bench.step(LaunchFailed(starting, 1, "killed"))
    assert len(bench.orders(EndMesh)) == 1
    assert result(bench.answer("stop")) == {"stopped": True}


def test_everyone_who_asked_for_the_stop_is_answered(bench: Bench) -> None:
    uid = bench.run()
    for request_id, force in (("first", True), ("second", False), ("first", True)):
        assert bench.ask(Stop(force), request_id) is None
    bench.see(uid, DEAD)
    assert result(bench.answer("first")) == result(bench.answer("second")) == {"stopped": True}
    assert len(bench.orders(EndMesh)) == 1


def test_a_mesh_that_is_being_stopped_takes_nothing_new_and_still_answers(bench: Bench) -> None:
    bench.run()
    bench.ask(Stop(True))
    bench.refusal(agent_body("b"), InvalidRequestError)
    bench.refusal(CreatePool("q", {}, {"cpu": 1}, 0, False), InvalidRequestError)
    assert len(bench.result(ListPools())["pools"]) == 1
    assert bench.agent()["state"] == "stopping"
