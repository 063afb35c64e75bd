"""What Ray says of a running agent, in whatever order it comes: news, readings of the table, and the history kept."""

from __future__ import annotations

import pytest
from mesh_driver import ALIVE, DEAD, PENDING, RESTARTING, Bench

from schedulemesh.core.errors import AgentNotFoundError
from schedulemesh.core.messages import GetAgent
from schedulemesh.supervisor import books
from schedulemesh.supervisor.effects import KillActor
from schedulemesh.supervisor.events import ActorPhase, LaunchReady
from schedulemesh.supervisor.transitions import ImpossibleError


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.create_pool(cpu=4)


def test_a_running_agent_that_dies_has_failed_with_its_cause_and_gives_back_its_hold(bench: Bench) -> None:
    uid = bench.run()
    bench.see(uid, DEAD, cause="its process was killed by SIGKILL")
    shown = bench.agent()
    assert (shown["state"], shown["cause"]) == ("failed", "its process was killed by SIGKILL")
    assert bench.free() == 4


def test_what_has_failed_always_says_why(bench: Bench) -> None:
    uid = bench.run()
    bench.see(uid, DEAD, cause=None)
    assert bench.agent()["cause"]


def test_a_restart_is_counted_and_holds_throughout(bench: Bench) -> None:
    uid = bench.run()
    bench.see(uid, RESTARTING, restarts=1, cause="its process crashed")
    shown = bench.agent()
    assert (shown["state"], shown["restarts"], shown["cause"]) == ("restarting", 1, "its process crashed")
    assert bench.free() == 3
    bench.see(uid, ALIVE, restarts=1, pid=4712)
    shown = bench.agent()
    assert (shown["state"], shown["restarts"], shown["pid"]) == ("running", 1, 4712)
    assert bench.records()[uid].restarts == 1


@pytest.mark.parametrize(("phase", "restarts"), [(PENDING, 0), (ALIVE, 0), (RESTARTING, 1), (RESTARTING, 0)], ids=str)
def test_news_that_was_overtaken_changes_nothing(bench: Bench, phase: ActorPhase, restarts: int) -> None:
    uid = bench.run()
    bench.see(uid, ALIVE, restarts=1, pid=5000)
    before = bench.everything()
    bench.see(uid, phase, restarts=restarts, pid=4000, node_id="elsewhere")
    assert bench.everything() == before


@pytest.mark.parametrize("phase", list(ActorPhase))
def test_news_told_twice_changes_nothing_more(bench: Bench, phase: ActorPhase) -> None:
    uid = bench.run()
    bench.see(uid, phase, restarts=1)
    before = bench.everything()
    bench.see(uid, phase, restarts=1)
    assert bench.everything() == before


def test_news_about_an_earlier_actor_does_not_reach_the_agent_of_that_name(bench: Bench) -> None:
    first = bench.run()
    bench.see(first, DEAD)
    second = bench.run()
    before = bench.everything()
    for phase in (PENDING, ALIVE, RESTARTING, DEAD):
        bench.see(first, phase)
    assert bench.everything() == before
    assert bench.agent()["actor_id"] == f"actor-{second}"


def test_an_earlier_actor_that_still_lives_is_killed_and_the_agent_is_not(bench: Bench) -> None:
    first = bench.run()
    bench.see(first, DEAD)
    bench.run()
    bench.see(first, ALIVE)
    assert [(order.address.uid, order.address.actor_id) for order in bench.orders(KillActor)] == [
        (first, f"actor-{first}")
    ]


@pytest.mark.parametrize("phase", [PENDING, ALIVE, RESTARTING])
def test_an_actor_that_no_books_know_is_killed(bench: Bench, phase: ActorPhase) -> None:
    bench.see("unknown", phase, actor_id="stray", name="n", namespace="ns")
    (order,) = bench.orders(KillActor)
    address = order.address
    assert (address.uid, address.actor_id, address.actor_name, address.namespace) == ("unknown", "stray", "n", "ns")
    assert bench.notes[-1].event == "stray_actor_killed"


def test_a_second_actor_of_the_same_agent_is_killed(bench: Bench) -> None:
    uid = bench.run()
    bench.see(uid, ALIVE, actor_id="twin")
    assert [order.address.actor_id for order in bench.orders(KillActor)] == ["twin"]
    assert bench.agent()["actor_id"] == f"actor-{uid}"
    bench.see(uid, DEAD, actor_id="twin")
    assert bench.agent()["state"] == "running"


def test_a_dead_stray_is_left_alone(bench: Bench) -> None:
    bench.see("unknown", DEAD)
    assert not bench.orders(KillActor)


def test_an_agent_that_ray_no_longer_has_is_gone(bench: Bench) -> None:
    bench.run()
    bench.read_table()
    shown = bench.agent()
    assert (shown["state"], shown["cause"]) == ("failed", "its actor is gone from Ray's table")
    assert bench.free() == 4


def test_a_stopping_agent_that_ray_no_longer_has_has_stopped(bench: Bench) -> None:
    bench.run()
    bench.delete()
    bench.read_table()
    assert (bench.agent()["state"], bench.free()) == ("stopped", 4)


def test_a_reading_that_was_asked_for_before_it_came_up_does_not_end_an_agent(bench: Bench) -> None:
    bench.run()
    bench.read_table(asked_ago=1)
    assert bench.agent()["state"] == "running"


def test_a_reading_without_an_agent_that_is_being_launched_says_nothing(bench: Bench) -> None:
    uid = bench.create("starting")
    bench.create("stopping")
    bench.delete("stopping")
    bench.read_table()
    assert (bench.agent("starting")["state"], bench.agent("stopping")["state"]) == ("starting", "stopping")
    assert bench.free() == 2
    bench.come_up(uid)


def test_a_reading_brings_everything_up_to_date_at_once(bench: Bench) -> None:
    dead, restarted, fine = (bench.run(name) for name in ("dead", "restarted", "fine"))
    bench.read_table(bench.sight(dead, DEAD), bench.sight(restarted, RESTARTING, restarts=1), bench.sight(fine, ALIVE))
    assert [bench.agent(name)["state"] for name in ("dead", "restarted", "fine")] == ["failed", "restarting", "running"]


def test_history_is_capped_and_its_oldest_goes_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert books.HISTORY_MAX == 1000
    monkeypatch.setattr(books, "HISTORY_MAX", 20)
    for number in range(23):
        uid = bench.run(f"a{number}")
        bench.see(uid, DEAD)
    assert len(bench.records()) == 20
    bench.refusal(GetAgent("a2"), AgentNotFoundError)
    assert bench.agent("a3")["state"] == "failed"


def test_history_is_kept_for_an_hour(bench: Bench) -> None:
    bench.see(bench.run("old"), DEAD)
    bench.now += 3500
    bench.see(bench.run("new"), DEAD)
    assert bench.agent("old")["state"] == "failed"
    bench.now += 200
    bench.see(bench.run("newer"), DEAD)
    bench.refusal(GetAgent("old"), AgentNotFoundError)
    assert len(bench.records()) == 2


def test_an_impossible_event_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = bench.create()
    before = bench.everything()
    monkeypatch.setattr("schedulemesh.supervisor.transitions.TABLE", {})
    with pytest.raises(ImpossibleError, match="'ready' cannot happen to an agent that is 'starting'"):
        bench.step(LaunchReady(uid, 1, "a"))
    monkeypatch.undo()
    assert bench.everything() == before
    bench.step(LaunchReady(uid, 1, "a"))
    assert bench.agent()["state"] == "running"
