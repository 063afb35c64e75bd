"""Starting an agent: the launcher, the table and the clock race, and one outcome is told."""

from __future__ import annotations

import pytest
from mesh_driver import ALIVE, DEAD, PENDING, RESTARTING, Bench, node, result

from schedulemesh.core.errors import AgentStartError, AgentStartTimeoutError
from schedulemesh.supervisor.effects import KillActor, Launch, ReadTable, StopActor
from schedulemesh.supervisor.events import ClusterSeen, LaunchFailed, LaunchLost, LaunchReady


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.create_pool(cpu=4)


def test_alive_alone_does_not_make_an_agent_run(bench: Bench) -> None:
    """Ray says ALIVE for a constructor that raised, too."""
    uid = bench.create()
    bench.see(uid, ALIVE)
    assert bench.agent()["state"] == "starting"
    bench.step(LaunchReady(uid, 1, f"actor-{uid}"))
    assert bench.agent()["state"] == "running"


def test_a_death_that_comes_before_the_launchers_answer_ends_the_start(bench: Bench) -> None:
    uid = bench.create()
    bench.see(uid, ALIVE)
    bench.see(uid, DEAD, cause="worker.py, line 3: ValueError")
    assert isinstance(bench.error_of(uid), AgentStartError)
    assert "worker.py, line 3" in str(bench.error_of(uid))
    assert bench.free() == 4
    before = bench.everything()
    bench.step(LaunchFailed(uid, 1, "too late"))
    assert bench.everything() == before


def test_the_launchers_answer_that_comes_before_a_death_ends_the_start(bench: Bench) -> None:
    uid = bench.create()
    bench.see(uid, ALIVE)
    bench.step(LaunchFailed(uid, 1, "worker.py, line 3: ValueError"))
    assert "worker.py, line 3" in str(bench.error_of(uid))
    before = bench.everything()
    bench.see(uid, DEAD)
    bench.see(uid, DEAD)
    assert bench.everything() == before


def test_the_users_traceback_wins_over_an_earlier_crash(bench: Bench) -> None:
    uid = bench.create()
    bench.see(uid, RESTARTING, restarts=1, cause="its process crashed")
    bench.step(LaunchFailed(uid, 1, "worker.py, line 3: ValueError"))
    assert "worker.py, line 3" in str(bench.error_of(uid))


def test_a_restart_that_was_over_before_it_was_seen_is_counted_and_kept(bench: Bench) -> None:
    uid = bench.run()
    bench.see(uid, ALIVE, restarts=2)
    assert bench.agent()["restarts"] == 2
    assert bench.records()[uid].restarts == 2


def test_answers_of_an_earlier_launch_are_dropped(bench: Bench) -> None:
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table()
    assert bench.launch(uid).attempt == 2
    for event in (LaunchReady(uid, 1, "old"), LaunchFailed(uid, 1, "old"), LaunchLost(uid, 1, "old")):
        bench.step(event)
        assert bench.agent()["state"] == "starting"
    bench.come_up(uid)
    assert bench.agent()["state"] == "running"


def test_an_answer_for_an_agent_nobody_knows_is_dropped(bench: Bench) -> None:
    before = bench.everything()
    bench.step(LaunchReady("unknown", 1, "a"))
    assert bench.everything() == before


def test_a_start_that_takes_too_long_is_ended_and_answered_once_the_end_was_seen(bench: Bench) -> None:
    uid = bench.create(timeout_s=60)
    bench.see(uid, PENDING)
    assert bench.wake_at == bench.agent()["created_at"] + 60
    bench.pass_time(59)
    assert bench.agent()["state"] == "starting"
    bench.pass_time(2)
    assert (bench.agent()["state"], bench.free()) == ("stopping", 3)
    assert bench.killed() == [uid]
    assert uid not in bench.answers
    bench.see(uid, DEAD)
    assert bench.free() == 4
    error = bench.error_of(uid)
    assert isinstance(error, AgentStartTimeoutError)
    assert error.timeout_s == 60
    assert not bench.blobs()


@pytest.mark.parametrize(
    ("seen", "free_cpus", "says"),
    [
        (None, 16, "its environment was still being built, or its class loaded"),
        ({"pid": None}, 0.5, "no node has room for cpu=1"),
        ({"pid": None}, 16, "no node matched its scheduling strategy"),
        ({"pid": 99, "node_id": "n2"}, 0.5, "its constructor was still running (pid 99 on node n2)"),
    ],
)
def test_a_start_timeout_says_what_it_was_waiting_for(
    bench: Bench, seen: dict[str, object] | None, free_cpus: float, says: str
) -> None:
    uid = bench.create(timeout_s=1)
    if seen is not None:
        bench.see(uid, PENDING, **seen)
    here = node("n1", cpu=16)
    bench.step(ClusterSeen((type(here)("n1", here.total, node(cpu=free_cpus).total),)))
    bench.pass_time(2)
    bench.step(LaunchFailed(uid, 1, "killed"))
    error = bench.error_of(uid)
    assert isinstance(error, AgentStartTimeoutError)
    assert says in error.waiting_for


def test_an_agent_that_comes_up_while_it_is_being_ended_is_killed_again(bench: Bench) -> None:
    uid = bench.create(timeout_s=1)
    bench.pass_time(2)
    bench.step(LaunchReady(uid, 1, "abc"))
    assert [order.address.actor_id for order in bench.orders(KillActor)] == [None, "abc"]
    assert (bench.agent()["state"], bench.free()) == ("stopping", 3)
    bench.see(uid, DEAD, actor_id="abc")
    assert bench.free() == 4


def test_a_deadline_is_judged_once_however_often_it_was_set(bench: Bench) -> None:
    bench.create("sooner", timeout_s=5)  # keeps what is no longer due from being dropped early
    uid = bench.create(timeout_s=10)
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.see(uid, PENDING)
    bench.pass_time(11)
    assert bench.killed().count(uid) == 1
    assert not bench.orders(StopActor)


def test_a_lost_launch_is_looked_for_in_the_table(bench: Bench) -> None:
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    assert (bench.agent()["state"], bench.free()) == ("recovering", 3)
    assert len(bench.orders(ReadTable)) == 1
    assert len(bench.orders(Launch)) == 1


def test_a_lost_launch_whose_actor_exists_is_adopted(bench: Bench) -> None:
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table(bench.sight(uid, ALIVE))
    order = bench.launch(uid)
    assert (order.attempt, order.adopt) == (2, f"actor-{uid}")
    bench.come_up(uid)
    assert result(bench.answer(uid))["agent"]["cause"] is None


def test_a_lost_launch_that_made_no_actor_is_launched_again(bench: Bench) -> None:
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table()
    order = bench.launch(uid)
    assert (order.attempt, order.adopt) == (2, None)
    bench.see(uid, ALIVE, actor_id="second")
    assert not bench.killed()
    bench.step(LaunchReady(uid, 2, "second"))
    assert bench.agent()["actor_id"] == "second"


def test_a_lost_launch_whose_actor_came_and_went_has_failed(bench: Bench) -> None:
    uid = bench.create()
    bench.see(uid, PENDING)
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table()
    assert bench.agent()["state"] == "recovering", "this reading did not ask for it"
    bench.read_table(bench.sight(uid, DEAD))
    assert isinstance(bench.error_of(uid), AgentStartError)
    assert len(bench.orders(Launch)) == 1


def test_the_third_lost_launch_gives_up(bench: Bench) -> None:
    uid = bench.create()
    for attempt in (1, 2, 3):
        bench.step(LaunchLost(uid, attempt, "the launcher died"))
        bench.read_table()
    assert len(bench.orders(Launch)) == 3
    assert "the launcher died" in str(bench.error_of(uid))
    assert bench.free() == 4
    assert not bench.blobs()


def test_the_third_lost_launch_takes_its_actor_along(bench: Bench) -> None:
    uid = bench.create()
    for attempt in (1, 2):
        bench.step(LaunchLost(uid, attempt, "the launcher died"))
        bench.read_table()
    bench.step(LaunchLost(uid, 3, "the launcher died"))
    bench.see(uid, ALIVE)
    assert (bench.agent()["state"], bench.killed(), bench.free()) == ("stopping", [uid], 3)
    bench.see(uid, DEAD)
    assert isinstance(bench.error_of(uid), AgentStartError)
    assert bench.free() == 4


def test_a_launch_lost_while_stopping_is_settled_by_the_table(bench: Bench) -> None:
    uid = bench.create()
    request_id = bench.delete()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    assert bench.free() == 3
    bench.read_table()
    assert result(bench.answer(request_id))["agent"]["state"] == "stopped"
    assert isinstance(bench.error_of(uid), AgentStartError)


def test_a_relaunch_is_not_ended_by_the_death_of_the_first_launchs_actor(bench: Bench) -> None:
    """The first actor was made and died unseen; its news come when the second is under way."""
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table()
    bench.see(uid, DEAD, actor_id="first")
    assert (bench.agent()["state"], bench.free()) == ("starting", 3)
    bench.see(uid, PENDING, actor_id="first")
    bench.see(uid, ALIVE, actor_id="second", pid=2)
    assert not bench.killed(), "which of them counts is the launcher's to say"
    bench.step(LaunchReady(uid, 2, "second", "n2", 2))
    shown = bench.agent()
    assert (shown["state"], shown["actor_id"], shown["node_id"], shown["pid"]) == ("running", "second", "n2", 2)
    bench.see(uid, ALIVE, actor_id="first")
    assert [order.address.actor_id for order in bench.orders(KillActor)] == ["first"]


def test_a_relaunch_that_is_deleted_is_ended_whatever_late_news_said_of_the_first_launchs_actor(bench: Bench) -> None:
    """The order names no actor, so that it is for the one that is being made."""
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table()
    bench.see(uid, PENDING, actor_id="first")
    bench.see(uid, PENDING, actor_id="second")
    bench.delete(force=True)
    assert [order.address.actor_id for order in bench.orders(KillActor)] == [None]
    assert bench.free() == 3
    bench.step(LaunchFailed(uid, 2, "it was ended"))
    assert (bench.agent()["state"], bench.free()) == ("stopped", 4)


def test_a_relaunch_whose_actor_dies_is_ended_by_its_launcher(bench: Bench) -> None:
    uid = bench.create()
    bench.step(LaunchLost(uid, 1, "the launcher died"))
    bench.read_table(bench.sight(uid, PENDING))
    bench.see(uid, DEAD)
    assert bench.free() == 3
    bench.step(LaunchFailed(uid, 2, "worker.py, line 3: ValueError"))
    assert "worker.py, line 3" in str(bench.error_of(uid))
    assert bench.free() == 4
