"""Pools: what may be created, resized and deleted, and how refusals say what to do."""

from __future__ import annotations

import pytest
from mesh_driver import ALIVE, DEAD, Bench, agent_body, node, result

from schedulemesh.core.errors import (
    InsufficientClusterCapacityError,
    InsufficientPoolCapacityError,
    InvalidRequestError,
    PoolExistsError,
    PoolNotEmptyError,
    PoolNotFoundError,
)
from schedulemesh.core.messages import CreatePool, DeletePool, GetPool, ListPools, ResizePool, Status
from schedulemesh.core.states import PoolState
from schedulemesh.supervisor import books
from schedulemesh.supervisor.effects import StopActor
from schedulemesh.supervisor.events import ClusterSeen, LaunchFailed


def pool(name: str = "p", *, cpu: float = 4, target: int = 0, overcommit: bool = False, **more: float) -> CreatePool:
    return CreatePool(name, {}, {"cpu": cpu, **more}, target, overcommit)


def test_a_pool_without_a_target_has_its_resources_as_capacity(bench: Bench) -> None:
    reply = bench.result(CreatePool("p", {"team": "ml"}, {"cpu": 2, "fpga": 1}, 0, False))
    assert reply == {
        "pool": {
            "name": "p",
            "labels": {"team": "ml"},
            "state": "active",
            "target_agents": 0,
            "default_agent_resources": None,
            "capacity": {"cpu": 2, "memory": 0, "gpu": 0, "fpga": 1},
            "used_resources": {"cpu": 0, "memory": 0, "gpu": 0, "fpga": 0},
            "available_resources": {"cpu": 2, "memory": 0, "gpu": 0, "fpga": 1},
            "agents": 0,
            "warm_agents": 0,
            "warm_ready": 0,
            "created_at": bench.now,
        },
        "created": True,
    }


def test_a_pool_with_a_target_has_the_default_for_eachagent_body(bench: Bench) -> None:
    bench.create_pool(target=4, cpu=1.5, memory=512)
    assert bench.pool()["capacity"] == {"cpu": 6, "memory": 2048, "gpu": 0}
    assert bench.pool()["default_agent_resources"] == {"cpu": 1.5, "memory": 512, "gpu": 0}


def test_the_same_pool_again_is_returned_and_not_created(bench: Bench) -> None:
    first = bench.result(pool())
    again = bench.result(pool())
    assert (first["created"], again["created"]) == (True, False)
    assert again["pool"] == first["pool"]
    assert len(bench.result(ListPools())["pools"]) == 1


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (CreatePool("p", {"a": "b"}, {"cpu": 4}, 0, False), ["labels is {}, asked {'a': 'b'}"]),
        (pool(cpu=5), ["resources is cpu=4, asked cpu=5"]),
        (pool(cpu=4, target=1), ["target_agents is 0, asked 1"]),
        (
            CreatePool("p", {}, {"cpu": 1}, 3, True),
            ["resources is cpu=4, asked cpu=1", "target_agents is 0, asked 3", "overcommit is False, asked True"],
        ),
    ],
)
def test_another_pool_of_the_same_name_is_refused_with_what_differs(
    bench: Bench, other: CreatePool, differs: list[str]
) -> None:
    bench.result(pool())
    assert bench.refusal(other, PoolExistsError).differs == differs


def test_pools_may_not_promise_more_than_the_cluster_has(bench: Bench) -> None:
    bench.result(pool("p", cpu=20))
    error = bench.refusal(pool("q", cpu=4.5), InsufficientClusterCapacityError)
    assert (error.short, error.asked["cpu"], error.available["cpu"], error.cluster["cpu"]) == (["cpu"], 4.5, 4, 24)
    bench.result(pool("q", cpu=4))


def test_a_kind_the_cluster_does_not_have_is_refused(bench: Bench) -> None:
    error = bench.refusal(pool(tpu=1), InsufficientClusterCapacityError)
    assert (error.short, error.available["tpu"]) == (["tpu"], 0)


def test_headroom_is_kept_from_pools() -> None:
    bench = Bench(headroom=0.25)
    error = bench.refusal(pool(cpu=18.1), InsufficientClusterCapacityError)
    assert (error.available["cpu"], error.headroom) == (18, 0.25)
    assert "25% kept as headroom" in str(error)
    bench.result(pool(cpu=18))


def test_overcommit_skips_the_clusters_limit_and_takes_nothing_from_it(bench: Bench) -> None:
    bench.result(pool("big", cpu=1000, overcommit=True))
    assert bench.result(Status())["committed"]["cpu"] == 0
    bench.result(pool("p", cpu=24))
    assert bench.result(Status())["committed"]["cpu"] == 24


def test_a_refused_pool_is_not_there(bench: Bench) -> None:
    bench.refusal(pool(cpu=100), InsufficientClusterCapacityError)
    bench.refusal(GetPool("p"), PoolNotFoundError)


@pytest.mark.parametrize(
    "bad",
    [
        pool(""),
        pool("a/b"),
        pool("x" * 256),
        pool("bell\a"),
        pool(cpu=-1),
        pool(cpu=float("nan")),
        pool(cpu=float("inf")),
        pool(cpu=0.00001),
        pool(CPU=1),
        pool(num_gpus=1),
        pool(target=-1),
        pool(target=1_000_001),
        pool(gpu=1.5, target=1),
        CreatePool("p", {"": "x"}, {"cpu": 1}, 0, False),
    ],
    ids=str,
)
def test_bad_pools_are_refused(bench: Bench, bad: CreatePool) -> None:
    bench.refusal(bad, InvalidRequestError)


def test_a_pools_capacity_may_be_a_fraction_of_gpus(bench: Bench) -> None:
    bench.result(pool(gpu=1.5))
    assert bench.free("gpu") == 1.5


def test_an_unknown_pool_is_refused_with_close_names(bench: Bench) -> None:
    bench.create_pool("training")
    error = bench.refusal(GetPool("trainin"), PoolNotFoundError)
    assert error.close == ["training"]
    assert "did you mean 'training'" in str(error)


def test_a_pool_grows_and_shrinks_within_the_cluster(bench: Bench) -> None:
    bench.create_pool(cpu=4)
    assert bench.result(ResizePool("p", {"cpu": 24}, None, False))["pool"]["capacity"]["cpu"] == 24
    bench.refusal(ResizePool("p", {"cpu": 24.5}, None, False), InsufficientClusterCapacityError)
    bench.result(ResizePool("p", {"cpu": 2}, None, False))
    assert bench.result(Status())["committed"]["cpu"] == 2


def test_a_resize_changes_only_what_it_names(bench: Bench) -> None:
    bench.create_pool(target=2, cpu=1, memory=100)
    bench.result(ResizePool("p", None, 3, False))
    assert bench.pool()["capacity"] == {"cpu": 3, "memory": 300, "gpu": 0}
    bench.result(ResizePool("p", {"cpu": 2}, None, False))
    assert bench.pool()["capacity"] == {"cpu": 6, "memory": 0, "gpu": 0}


def test_a_resize_does_not_silently_change_what_resources_mean(bench: Bench) -> None:
    bench.create_pool(target=4, cpu=0.2)
    assert "the whole pool" in bench.refusal(ResizePool("p", None, 0, False), InvalidRequestError).problem
    bench.result(ResizePool("p", {"cpu": 2}, 0, False))
    assert bench.pool()["capacity"]["cpu"] == 2
    assert "one agent" in bench.refusal(ResizePool("p", None, 4, False), InvalidRequestError).problem


def test_a_pool_is_not_shrunk_below_what_its_agents_hold(bench: Bench) -> None:
    bench.create_pool(cpu=4)
    bench.run("a", resources={"cpu": 3})
    error = bench.refusal(ResizePool("p", {"cpu": 2}, None, False), PoolNotEmptyError)
    assert (error.agents, error.used["cpu"], error.capacity["cpu"]) == (1, 3, 2)
    bench.result(ResizePool("p", {"cpu": 3}, None, False))


def test_a_forced_resize_owes_until_agents_end(bench: Bench) -> None:
    bench.create_pool(cpu=4)
    uid = bench.run("a", resources={"cpu": 3})
    reply = bench.result(ResizePool("p", {"cpu": 2}, None, True))
    assert reply["pool"]["available_resources"]["cpu"] == -1
    assert bench.agent("a")["state"] == "running"
    bench.see(uid, DEAD)
    assert bench.free() == 2


def test_a_pool_may_shrink_in_a_cluster_that_has_lost_a_node(bench: Bench) -> None:
    bench.create_pool(cpu=20)
    bench.step(ClusterSeen((node("n1", cpu=8),)))
    bench.result(ResizePool("p", {"cpu": 19}, None, False))
    bench.refusal(ResizePool("p", {"cpu": 19.5}, None, False), InsufficientClusterCapacityError)


def test_a_resize_of_an_overcommitted_pool_is_not_limited_by_the_cluster(bench: Bench) -> None:
    bench.create_pool(overcommit=True, cpu=1)
    bench.result(ResizePool("p", {"cpu": 1000}, None, False))
    assert bench.result(Status())["committed"]["cpu"] == 0


def test_an_empty_pool_is_deleted_at_once_and_its_name_is_free(bench: Bench) -> None:
    bench.create_pool(cpu=24)
    reply = bench.result(DeletePool("p", False))
    assert (reply["pool"]["state"], reply["pool"]["agents"]) == ("deleted", 0)
    bench.refusal(GetPool("p"), PoolNotFoundError)
    bench.create_pool(cpu=24)


def test_a_pool_with_agents_is_not_deleted(bench: Bench) -> None:
    bench.create_pool()
    bench.run("a")
    error = bench.refusal(DeletePool("p", False), PoolNotEmptyError)
    assert (error.agents, error.used["cpu"]) == (1, 1)
    assert "force=True" in str(error)


def test_a_forced_delete_ends_the_agents_and_returns_when_the_last_has_ended(bench: Bench) -> None:
    bench.create_pool()
    first, second = bench.run("a"), bench.run("b")
    request_id = bench.new_id()
    assert bench.ask(DeletePool("p", True), request_id) is None
    assert {order.address.uid for order in bench.orders(StopActor)} == {first, second}
    assert bench.pool()["state"] == "deleting"
    bench.see(first, DEAD)
    assert request_id not in bench.answers
    bench.see(second, DEAD)
    assert result(bench.answer(request_id))["pool"]["state"] == "deleted"
    assert bench.result(Status())["committed"]["cpu"] == 0


def test_a_pool_that_is_being_deleted_takes_nothing_new(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.run("a")
    bench.ask(DeletePool("p", True))
    bench.refusal(agent_body("b"), PoolNotFoundError)
    bench.refusal(ResizePool("p", {"cpu": 1}, None, False), PoolNotFoundError)
    assert bench.refusal(pool(), PoolExistsError).differs == ["it is being deleted"]
    bench.see(uid, DEAD)
    bench.create_pool()


def test_a_second_delete_waits_with_the_first(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.run("a")
    assert bench.ask(DeletePool("p", True), "first") is None
    assert bench.ask(DeletePool("p", False), "second") is None
    stops = len(bench.orders(StopActor))
    bench.see(uid, DEAD)
    assert stops == 1
    assert bench.answer("first") == bench.answer("second")


@pytest.mark.parametrize("restarted", [False, True])
def test_the_failed_agents_of_a_deleted_pool_are_listed_no_more_and_still_remembered(
    bench: Bench, restarted: bool
) -> None:
    bench.create_pool()
    uid = bench.create("a")
    bench.step(LaunchFailed(uid, 1, "ValueError: no model"))
    bench.result(DeletePool("p", False))
    bench.create_pool()
    if restarted:
        bench.restart()
    assert not bench.everything()["agents"]
    assert bench.agent("a")["state"] == "failed"
    assert bench.ask(agent_body("a", request_id=uid), uid) == bench.answers[uid][0]
    assert [record.state for record in bench.pool_records().values()] == [PoolState.DELETED, PoolState.ACTIVE]


def test_deleted_pools_are_kept_in_bounded_number(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "HISTORY_MAX", 20)
    for _ in range(25):
        bench.create_pool()
        bench.result(DeletePool("p", False))
    assert len(bench.pool_records()) == 20


def test_a_pool_reports_what_its_agents_hold(bench: Bench) -> None:
    bench.create_pool(cpu=4, memory=1000, fpga=1)
    bench.run("a", resources={"cpu": 0.5, "memory": 250, "fpga": 1})
    shown = bench.pool()
    assert shown["used_resources"] == {"cpu": 0.5, "memory": 250, "gpu": 0, "fpga": 1}
    assert shown["available_resources"] == {"cpu": 3.5, "memory": 750, "gpu": 0, "fpga": 0}
    assert shown["agents"] == 1


def test_ten_agents_of_a_tenth_fit_exactly_and_ten_deletes_give_everything_back(bench: Bench) -> None:
    bench.create_pool(cpu=1)
    uids = [bench.run(f"a{number}", resources={"cpu": 0.1}) for number in range(10)]
    assert bench.free() == 0
    error = bench.refusal(agent_body("a10", resources={"cpu": 0.1}), InsufficientPoolCapacityError)
    assert (error.asked["cpu"], error.available["cpu"], error.capacity["cpu"]) == (0.1, 0, 1)
    for number, uid in enumerate(uids):
        bench.delete(f"a{number}")
        bench.see(uid, DEAD)
    assert bench.free() == 1


def test_a_freed_place_fits_anotheragent_body(bench: Bench) -> None:
    bench.create_pool(target=2, cpu=1, fpga=1)
    first, _ = bench.run("a", resources=None), bench.run("b", resources=None)
    error = bench.refusal(agent_body("c", resources=None), InsufficientPoolCapacityError)
    assert list(error.short) == ["cpu", "fpga"]
    assert error.could_ever_fit
    bench.delete("a")
    bench.see(first, DEAD)
    bench.run("c", resources=None)


def test_a_need_beyond_the_whole_pool_could_never_fit(bench: Bench) -> None:
    bench.create_pool(cpu=2)
    error = bench.refusal(agent_body("a", resources={"cpu": 3}), InsufficientPoolCapacityError)
    assert not error.could_ever_fit
    assert str(error).startswith("Insufficient pool capacity: agent 'a' asks cpu=3, pool 'p' has cpu=2 of 2 available")
    assert "would not fit into the empty pool either" in str(error)


def test_a_retried_resize_is_not_carried_out_twice(bench: Bench) -> None:
    bench.create_pool(cpu=1)
    bench.result(ResizePool("p", {"cpu": 2}, None, False), "resize-1")
    bench.result(ResizePool("p", {"cpu": 3}, None, False), "resize-2")
    bench.result(ResizePool("p", {"cpu": 2}, None, False), "resize-1")
    assert bench.pool()["capacity"]["cpu"] == 3


def test_an_agent_comes_up_in_a_pool_that_was_filled_by_others(bench: Bench) -> None:
    bench.create_pool("full", cpu=1)
    bench.create_pool("p", cpu=1)
    bench.run("a", pool="full")
    uid = bench.create("b", pool="p")
    bench.see(uid, ALIVE)
    assert bench.free(pool="p") == 0
    assert bench.refusal(agent_body("c", pool="full"), InsufficientPoolCapacityError).pool == "full"
