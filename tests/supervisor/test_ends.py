"""Ending an agent: asked first, killed when time is up, and free only when its end was seen."""

from __future__ import annotations

import pytest
from mesh_driver import DEAD, PENDING, RESTARTING, Bench, result

from schedulemesh.core.errors import AgentStartTimeoutError
from schedulemesh.core.messages import DeleteAgent
from schedulemesh.supervisor.effects import StopActor
from schedulemesh.supervisor.events import LaunchFailed


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.create_pool(cpu=4)


def test_a_delete_asks_first_and_kills_when_the_grace_is_over(bench: Bench) -> None:
    uid = bench.run()
    bench.delete(grace_s=10)
    (stop,) = bench.orders(StopActor)
    assert (stop.address.uid, stop.address.actor_id, stop.grace_s) == (uid, f"actor-{uid}", 10)
    assert (bench.agent()["state"], bench.free()) == ("stopping", 3)
    bench.pass_time(9)
    assert not bench.killed()
    bench.pass_time(2)
    assert (bench.killed(), bench.free()) == ([uid], 3)


def test_a_kill_without_effect_is_given_again(bench: Bench) -> None:
    uid = bench.run()
    bench.delete(force=True)
    assert bench.killed() == [uid]
    for times in (2, 3, 4):
        assert bench.wake_at is not None
        bench.pass_time(bench.wake_at - bench.now)
        assert bench.killed() == [uid] * times
    bench.see(uid, DEAD)
    assert bench.wake_at is None


def test_capacity_comes_back_and_the_delete_returns_only_when_the_end_was_seen(bench: Bench) -> None:
    uid = bench.run()
    request_id = bench.delete(force=True)
    bench.pass_time(100)
    assert request_id not in bench.answers
    assert bench.free() == 3
    bench.see(uid, DEAD)
    assert bench.free() == 4
    shown = result(bench.answer(request_id))["agent"]
    assert (shown["state"], shown["cause"]) == ("stopped", "deleted")


def test_a_delete_while_starting_kills_and_tells_the_creator(bench: Bench) -> None:
    uid = bench.create()
    request_id = bench.delete()
    assert bench.killed() == [uid]
    assert not bench.orders(StopActor)
    assert not bench.blobs(), "it will not be launched again"
    bench.step(LaunchFailed(uid, 1, "killed while it was launched"))
    assert "deleted while it was starting" in str(bench.error_of(uid))
    assert result(bench.answer(request_id))["agent"]["state"] == "stopped"
    assert bench.free() == 4


def test_a_delete_of_one_that_waits_for_its_next_process_kills_at_once(bench: Bench) -> None:
    """There is nobody who could be asked, and it may wait for a place for ever."""
    uid = bench.run()
    bench.see(uid, RESTARTING, restarts=1)
    request_id = bench.delete(grace_s=600)
    assert (bench.killed(), bench.orders(StopActor)) == ([uid], [])
    assert request_id not in bench.answers
    bench.see(uid, DEAD)
    assert result(bench.answer(request_id))["agent"]["state"] == "stopped"


def test_a_delete_of_one_whose_next_process_is_there_still_asks_first(bench: Bench) -> None:
    uid = bench.run()
    bench.restart()
    bench.see(uid, PENDING, pid=4712, restarts=1)
    assert bench.agent()["state"] == "restarting"
    bench.delete()
    assert (bench.killed(), len(bench.orders(StopActor))) == ([], 1)
    bench.see(uid, DEAD)
    assert bench.agent()["state"] == "stopped"


def test_a_second_delete_may_hurry_but_never_delays(bench: Bench) -> None:
    uid = bench.run()
    bench.delete(grace_s=60)
    end = bench.wake_at
    bench.delete(grace_s=600)
    assert bench.wake_at == end
    bench.delete(grace_s=5)
    assert bench.wake_at is not None
    assert bench.wake_at - bench.now == pytest.approx(5)
    assert not bench.killed()
    bench.delete(force=True)
    bench.pass_time(0)
    assert bench.killed() == [uid]
    bench.see(uid, DEAD)
    assert all(len(bench.answers[request]) == 1 for request in bench.records()[uid].stopped_by)


def test_a_delete_of_one_that_is_late_gets_its_end_too(bench: Bench) -> None:
    uid = bench.create(timeout_s=1)
    bench.pass_time(2)
    request_id = bench.delete()
    bench.step(LaunchFailed(uid, 1, "killed"))
    assert isinstance(bench.error_of(uid), AgentStartTimeoutError)
    assert result(bench.answer(request_id))["agent"]["state"] == "failed"
    assert not bench.everything()["agents"], "it was asked to go, and went"


def test_a_delete_of_what_has_ended_returns_its_last_state(bench: Bench) -> None:
    bench.see(bench.run(), DEAD)
    assert bench.result(DeleteAgent("w1", 1.0, False))["agent"]["state"] == "failed"
