"""Coming back from the store: whatever the supervisor was doing when it died is adopted, finished or undone."""

from __future__ import annotations

import msgspec
import pytest
from mesh_driver import ALIVE, DEAD, PENDING, RESTARTING, Bench, agent_body, result

from schedulemesh.core.errors import (
    AgentStartError,
    InsufficientPoolCapacityError,
    InvalidRequestError,
    PoolNotFoundError,
)
from schedulemesh.core.messages import CreatePool, DeletePool, GetPool, Request, Status, Stop
from schedulemesh.core.records import SCHEMA, RecordError
from schedulemesh.supervisor.effects import EndMesh, KillActor, Launch, ReadTable, StopActor
from schedulemesh.supervisor.events import ActorPhase, Asked, LaunchLost, LaunchReady, TableRead


@pytest.fixture(autouse=True)
def _pool(bench: Bench) -> None:
    bench.create_pool(cpu=4)


def test_an_empty_store_is_an_empty_mesh(bench: Bench) -> None:
    bench.store.clear()
    bench.restart()
    assert (bench.everything()["pools"], bench.everything()["agents"]) == ([], [])


def test_pools_come_back_as_they_were(bench: Bench) -> None:
    bench.result(CreatePool("q", {"team": "ml"}, {"cpu": 0.1, "fpga": 0.5}, 3, False))
    bench.create_pool("o", overcommit=True, cpu=500)
    before = bench.everything()
    bench.restart()
    assert bench.everything() == before


def test_what_holds_is_recovering_and_holds_until_the_table_is_read(bench: Bench) -> None:
    uid = bench.run("a")
    bench.create("b")
    bench.restart()
    (order,) = bench.orders(ReadTable)
    assert order.expected == {f"actor-{uid}": uid}
    assert [bench.agent(name)["state"] for name in "ab"] == ["recovering", "recovering"]
    assert bench.free() == 2
    bench.refusal(agent_body("c", resources={"cpu": 3}), InsufficientPoolCapacityError)


def test_a_running_agent_is_adopted_without_being_touched(bench: Bench) -> None:
    uid = bench.run()
    before = bench.agent()
    bench.restart()
    orders = len(bench.effects)
    bench.read_table(bench.sight(uid, ALIVE))
    assert bench.agent() == before
    assert len(bench.effects) == orders


def test_an_agent_that_restarted_meanwhile_is_seen_as_such(bench: Bench) -> None:
    uid = bench.run()
    bench.restart()
    bench.read_table(bench.sight(uid, RESTARTING, restarts=3))
    assert (bench.agent()["state"], bench.agent()["restarts"]) == ("restarting", 3)
    bench.see(uid, ALIVE, restarts=3)
    assert bench.agent()["state"] == "running"


@pytest.mark.parametrize("in_table", [True, False])
def test_an_agent_that_ended_meanwhile_has_failed(bench: Bench, in_table: bool) -> None:
    uid = bench.run()
    bench.restart()
    bench.read_table(*([bench.sight(uid, DEAD)] if in_table else []))
    assert (bench.agent()["state"], bench.free()) == ("failed", 4)


def test_a_start_without_an_actor_is_launched_again(bench: Bench) -> None:
    uid = bench.create()
    bench.restart()
    bench.read_table()
    order = bench.launch(uid)
    assert len(bench.orders(Launch)) == 2
    assert order.adopt is None
    assert {f"blob/{order.class_blob}", f"blob/{order.args_blob}", f"blob/{order.environment_key}"} <= bench.blobs()
    bench.come_up(uid)
    assert (bench.agent()["state"], bench.blobs()) == ("running", set())


@pytest.mark.parametrize("phase", [PENDING, ALIVE, RESTARTING])
def test_a_start_with_an_actor_is_adopted_and_seen_through(bench: Bench, phase: ActorPhase) -> None:
    uid = bench.create()
    bench.restart()
    bench.read_table(bench.sight(uid, phase))
    order = bench.launch(uid)
    assert order.adopt == f"actor-{uid}"
    assert order.attempt > 1, "a launcher has to reckon with an actor that is there"
    assert bench.agent()["state"] == "starting"
    bench.step(LaunchReady(uid, order.attempt, f"actor-{uid}"))
    assert bench.agent()["state"] == "running"


def test_a_start_with_a_dead_actor_and_a_living_one_is_the_living_ones(bench: Bench) -> None:
    uid = bench.create()
    bench.restart()
    bench.read_table(bench.sight(uid, DEAD, actor_id="first"), bench.sight(uid, PENDING, actor_id="second"))
    assert (bench.launch(uid).adopt, bench.free()) == ("second", 3)


def test_a_start_that_ray_dropped_with_its_launcher_is_launched_again(bench: Bench) -> None:
    """The launcher had only begun to ask Ray for the actor when it went, with its supervisor or the GCS."""
    uid = bench.create()
    bench.restart()
    bench.read_table(bench.sight(uid, PENDING, actor_id="first"))
    order = bench.launch(uid)
    assert order.adopt == "first"
    bench.see(uid, DEAD, actor_id="first", unmade=True, cause="its owner has died")
    assert bench.agent()["state"] == "starting", "whoever adopts it will say how it went"
    bench.step(LaunchLost(uid, order.attempt, "its owner has died"))
    bench.read_table(bench.sight(uid, DEAD, actor_id="first", unmade=True, cause="its owner has died"))
    order = bench.launch(uid)
    assert (order.adopt, bench.agent()["state"], bench.agent()["actor_id"]) == (None, "starting", None)
    bench.step(LaunchReady(uid, order.attempt, "second"))
    assert (bench.agent()["state"], bench.agent()["actor_id"], bench.agent()["cause"]) == ("running", "second", None)
    bench.see(uid, DEAD, actor_id="first", unmade=True)
    assert (bench.agent()["state"], bench.free()) == ("running", 3)


def test_a_start_that_ray_dropped_without_a_trace_is_launched_again(bench: Bench) -> None:
    """A GCS that came back knows of it; when its launcher goes then, nothing of it is kept."""
    uid = bench.create()
    bench.see(uid, PENDING, actor_id="first")
    bench.restart()
    launches = len(bench.orders(Launch))
    bench.read_table()
    assert (bench.agent()["state"], len(bench.orders(Launch))) == ("recovering", launches), "it was not asked for"
    bench.read_table(traceless=["first"])
    order = bench.launch(uid)
    assert (order.adopt, bench.agent()["state"], bench.agent()["actor_id"]) == (None, "starting", None)
    bench.step(LaunchReady(uid, order.attempt, "second"))
    assert (bench.agent()["state"], bench.agent()["actor_id"], bench.agent()["cause"]) == ("running", "second", None)


def test_a_start_that_ray_drops_again_and_again_is_given_up(bench: Bench) -> None:
    uid = bench.create()
    bench.restart()
    bench.read_table(bench.sight(uid, DEAD, unmade=True, cause="its owner has died"))
    for _ in range(2):
        if bench.agent()["state"] == "starting":
            bench.step(LaunchLost(uid, bench.launch(uid).attempt, "its launcher ended"))
            bench.read_table(bench.sight(uid, DEAD, unmade=True, cause="its owner has died"))
    assert (bench.agent()["state"], bench.agent()["cause"]) == ("failed", "its owner has died")
    assert bench.free() == 4


def test_a_stop_of_a_start_that_ray_dropped_has_ended(bench: Bench) -> None:
    uid = bench.create()
    bench.see(uid, PENDING)
    bench.delete()
    bench.restart()
    bench.read_table(bench.sight(uid, DEAD, unmade=True))
    assert (bench.agent()["state"], bench.free()) == ("stopped", 4)


def test_a_start_that_failed_meanwhile_is_told_to_the_creator_who_asks_again(bench: Bench) -> None:
    uid = bench.create()
    bench.restart()
    assert bench.ask(agent_body(request_id=uid), uid) is None
    bench.read_table(bench.sight(uid, DEAD, cause="ValueError in the constructor"))
    assert "ValueError in the constructor" in str(bench.error_of(uid))
    assert bench.free() == 4


def test_a_start_whose_time_is_over_after_the_restart_is_ended(bench: Bench) -> None:
    uid = bench.create(timeout_s=10)
    bench.restart()
    bench.now += 60
    bench.read_table(bench.sight(uid, PENDING))
    bench.pass_time(0)
    assert (bench.agent()["state"], bench.killed()) == ("stopping", [uid])


def test_a_stop_goes_on_with_what_is_left_of_its_grace(bench: Bench) -> None:
    uid = bench.run()
    bench.delete(grace_s=20)
    bench.now += 5
    bench.restart()
    bench.read_table(bench.sight(uid, ALIVE))
    assert bench.orders(StopActor)[-1].grace_s == pytest.approx(15, abs=0.1)
    bench.now += 20
    bench.pass_time(0)
    assert bench.killed() == [uid]
    bench.see(uid, DEAD)
    assert (bench.agent()["state"], bench.free()) == ("stopped", 4)


def test_a_stop_that_was_over_meanwhile_is_over(bench: Bench) -> None:
    bench.run()
    bench.delete()
    bench.restart()
    bench.read_table()
    assert (bench.agent()["state"], bench.free()) == ("stopped", 4)


def test_a_delete_before_the_table_was_read_is_carried_out_after_it(bench: Bench) -> None:
    uid = bench.run()
    bench.restart()
    request_id = bench.delete(grace_s=7)
    assert not bench.orders(StopActor)
    bench.read_table(bench.sight(uid, ALIVE))
    assert len(bench.orders(StopActor)) == 1
    bench.see(uid, DEAD)
    assert result(bench.answer(request_id))["agent"]["state"] == "stopped"


def test_a_delete_of_a_start_before_the_table_was_read_does_not_launch_it(bench: Bench) -> None:
    uid = bench.create()
    bench.restart()
    bench.delete()
    assert not bench.blobs()
    bench.read_table()
    assert len(bench.orders(Launch)) == 1
    assert (bench.agent()["state"], bench.free()) == ("stopped", 4)
    bench.ask(agent_body(request_id=uid), uid)
    assert isinstance(bench.error_of(uid), AgentStartError)


def test_a_late_start_is_given_up_after_the_restart_too(bench: Bench) -> None:
    uid = bench.create(timeout_s=1)
    bench.pass_time(2)
    bench.restart()
    bench.now += 10
    bench.read_table(bench.sight(uid, ALIVE))
    assert bench.killed()[-1] == uid
    bench.see(uid, DEAD)
    assert bench.agent()["state"] == "failed"
    bench.ask(agent_body(request_id=uid), uid)
    assert type(bench.error_of(uid)).__name__ == "AgentStartTimeoutError"


def test_an_actor_the_old_supervisors_launcher_made_too_late_is_killed(bench: Bench) -> None:
    uid = bench.create()
    bench.delete()
    bench.restart()
    bench.read_table()
    assert bench.agent()["state"] == "stopped"
    bench.see(uid, PENDING)
    assert bench.orders(KillActor)[-1].address.actor_id == f"actor-{uid}"


def test_a_reading_asked_for_before_the_restart_is_not_the_truth(bench: Bench) -> None:
    bench.run()
    bench.restart()
    bench.read_table(asked_ago=1)
    assert bench.agent()["state"] == "recovering"


def test_a_forced_pool_delete_goes_on(bench: Bench) -> None:
    uid = bench.run()
    bench.ask(DeletePool("p", True), "delete-p")
    bench.restart()
    assert bench.pool()["state"] == "deleting"
    assert bench.ask(DeletePool("p", True), "delete-p") is None
    bench.read_table(bench.sight(uid, ALIVE))
    assert len(bench.orders(StopActor)) == 2
    bench.see(uid, DEAD)
    assert result(bench.answer("delete-p"))["pool"]["state"] == "deleted"
    bench.create_pool(cpu=1)


def test_a_pool_whose_last_agent_ended_meanwhile_is_deleted_by_the_table(bench: Bench) -> None:
    bench.run()
    bench.ask(DeletePool("p", True), "delete-p")
    bench.restart()
    bench.read_table()
    assert not bench.everything()["pools"]


def test_a_stop_of_the_mesh_goes_on(bench: Bench) -> None:
    uid = bench.run()
    bench.ask(Stop(True), "stop")
    bench.restart()
    bench.refusal(agent_body("b"), InvalidRequestError)
    bench.read_table(bench.sight(uid, ALIVE))
    assert not bench.orders(EndMesh)
    bench.see(uid, DEAD)
    assert len(bench.orders(EndMesh)) == 1


def test_a_stop_that_had_only_to_end_ends_at_once(bench: Bench) -> None:
    bench.result(Stop(False))
    bench.restart()
    assert len(bench.orders(EndMesh)) == 2


def test_a_crash_while_a_stop_is_written_leaves_no_stopping_mesh_with_running_agents(bench: Bench) -> None:
    for name in "ab":
        bench.run(name)
    stored = dict(bench.store)
    decision = bench.step(Asked(Request("stop", Stop(True))))
    for written in range(len(decision.writes)):
        torn = Bench()
        torn.store = dict(stored)
        for write in decision.writes[:written]:
            torn.store[write.key] = write.value or b""
        torn.restart()
        torn.ask(Stop(True), "again")
        torn.read_table()
        assert torn.result(Status())["state"] == "stopping"
        assert len(torn.orders(EndMesh)) == 1


def test_ended_agents_come_back_as_they_were_and_in_their_order(bench: Bench) -> None:
    bench.see(bench.run("failed"), DEAD, cause="crashed")
    gone = bench.run("deleted")
    bench.delete("deleted")
    bench.see(gone, DEAD)
    bench.see(bench.run("twice"), DEAD)
    bench.run("twice")
    before = (bench.agent("failed"), bench.agent("deleted"), bench.everything()["status"]["agents"]["failed"])
    bench.restart()
    assert (bench.agent("failed"), bench.agent("deleted"), bench.everything()["status"]["agents"]["failed"]) == before
    assert sorted(agent["name"] for agent in bench.everything()["agents"]) == ["failed", "twice"]
    assert bench.agent("twice")["state"] == "recovering"


def test_an_actor_name_is_still_taken_after_a_restart(bench: Bench) -> None:
    bench.run("a", options={"name": "shared", "namespace": "n"})
    bench.restart()
    bench.refusal(agent_body("b", options={"name": "shared", "namespace": "n"}), InvalidRequestError)


def test_blobs_that_nobody_needs_are_dropped(bench: Bench) -> None:
    bench.create()
    needed = bench.blobs()
    bench.store["blob/orphan"] = b"x"
    bench.restart()
    assert bench.blobs() == needed


def test_a_record_of_a_later_version_is_refused_and_names_both(bench: Bench) -> None:
    uid = bench.create()
    record = msgspec.structs.replace(bench.records()[uid], schema=SCHEMA + 1)
    bench.store[f"agent/{uid}"] = msgspec.msgpack.encode(record)
    with pytest.raises(RecordError, match=f"schema {SCHEMA + 1}, this version reads up to {SCHEMA}"):
        bench.restart()


def test_a_record_that_cannot_be_read_is_refused_and_named(bench: Bench) -> None:
    bench.store["agent/broken"] = b"\x00"
    with pytest.raises(RecordError, match="agent/broken"):
        bench.restart()


def test_a_deleted_pool_is_still_gone(bench: Bench) -> None:
    bench.result(DeletePool("p", False))
    bench.restart()
    bench.refusal(GetPool("p"), PoolNotFoundError)
    assert not bench.everything()["pools"]
    bench.create_pool(cpu=24)


def test_a_reading_in_parts_says_the_same_as_a_whole_one(bench: Bench) -> None:
    bench.create_pool()
    uids = [bench.run(f"w{number}", resources={"cpu": 0.1}) for number in range(5)]
    bench.restart()
    dead = bench.sight(uids[1], DEAD)
    living = [bench.sight(uid, ALIVE) for uid in (uids[0], uids[2], uids[4])]
    bench.now += 1
    table = TableRead((dead, *living), bench.now, frozenset())
    bench.now += 1
    *parts, last = table.in_parts(2)
    assert [len(part.actors) for part in (*parts, last)] == [2, 2]
    for part in (*parts, last):
        bench.step(part)
    assert [bench.agent(f"w{n}")["state"] for n in range(5)] == ["running", "failed", "running", "failed", "running"]


def test_an_empty_table_is_one_part() -> None:
    assert list(TableRead((), 1.0).in_parts(2)) == [TableRead((), 1.0)]


def test_that_an_actor_was_dropped_is_written_before_another_is_made(bench: Bench) -> None:
    """Or after a crash the next one would be taken for a stray."""
    bench.create_pool()
    uid = bench.create("w1")
    bench.see(uid, PENDING)
    assert bench.records()[uid].actor_id is not None
    bench.step(LaunchLost(uid, bench.launch(uid).attempt, "its launcher ended"))
    bench.see(uid, DEAD, unmade=True)
    assert bench.agent()["state"] == "starting"
    assert bench.records()[uid].actor_id is None
