"""Creating and listing agents: what an agent gets, and what is refused without a trace."""

from __future__ import annotations

from typing import Any

import pytest
from mesh_driver import ALIVE, DEAD, MESH_NAMESPACE, Bench, agent_body, refusal, result

from schedulemesh.core.amounts import MB
from schedulemesh.core.environments import Environment
from schedulemesh.core.errors import (
    AgentExistsError,
    AgentNotFoundError,
    InsufficientPoolCapacityError,
    InvalidRequestError,
    NoNodeFitsError,
    PoolNotFoundError,
)
from schedulemesh.core.messages import MAX_BLOB, CreatePool, DeleteAgent, GetAgent, ListAgents
from schedulemesh.core.options import DEFAULTS
from schedulemesh.supervisor.effects import Launch
from schedulemesh.supervisor.events import LaunchFailed, LaunchReady

SHARED: dict[str, Any] = {"options": {"get_if_exists": True}}


def test_an_agent_is_written_and_launched_before_it_is_answered(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.create("w1", labels={"role": "index"})
    assert bench.free() == 3
    assert bench.agent()["state"] == "starting"
    assert set(bench.records()) == {uid}
    order = bench.launch(uid)
    assert {f"blob/{order.class_blob}", f"blob/{order.args_blob}", f"blob/{order.environment_key}"} == bench.blobs()
    assert (order.agent, order.actor_name, order.namespace) == ("w1", "w1", MESH_NAMESPACE)
    assert order.labels == {"role": "index", "pool": "p"}
    assert uid not in bench.answers


def test_an_agent_that_is_ready_is_answered_and_needs_its_launch_kit_no_more(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.run()
    info = result(bench.answer(uid))
    assert info["created"] is True
    shown = info["agent"]
    assert (shown["name"], shown["state"], shown["actor_id"], shown["pid"]) == ("w1", "running", f"actor-{uid}", 4711)
    assert shown["started_at"] == bench.now
    assert not bench.blobs()


def test_a_launch_kit_is_shared_until_the_last_of_its_agents_is_up(bench: Bench) -> None:
    bench.create_pool()
    first, second = bench.create("a"), bench.create("b")
    assert len(bench.blobs()) == 3
    bench.come_up(first)
    assert len(bench.blobs()) == 3
    bench.come_up(second)
    assert not bench.blobs()


def test_options_have_their_defaults_and_an_agent_is_always_detached(bench: Bench) -> None:
    bench.create_pool()
    bench.create(options={"max_restarts": 2, "lifetime": "non_detached"})
    expected = {**DEFAULTS, "max_restarts": 2, "lifetime": "detached", "name": "w1", "namespace": MESH_NAMESPACE}
    assert bench.agent()["options"] == {**expected, "num_cpus": 1}


@pytest.mark.parametrize(
    ("resources", "options", "decorator", "needs"),
    [
        (None, {}, {}, {"cpu": 1, "memory": 512}),
        ({"cpu": 2}, {}, {}, {"cpu": 2}),
        ({"memory": 100}, {"num_cpus": 3}, {}, {"cpu": 3, "memory": 100}),
        ({"cpu": 2}, {"num_cpus": 3, "num_gpus": 1}, {}, {"cpu": 2, "gpu": 1}),
        (None, {"num_cpus": 3}, {}, {"cpu": 3, "memory": 512}),
        (None, {"num_cpus": 0}, {}, {"memory": 512}),
        (None, {"memory": 64 * MB}, {}, {"cpu": 1, "memory": 64}),
        (None, {"resources": {"fpga": 1}}, {}, {"cpu": 1, "memory": 512, "fpga": 1}),
        (None, {}, {"num_cpus": 3, "num_gpus": 1}, {"cpu": 1, "memory": 512, "gpu": 1}),
        (None, {"num_gpus": 2}, {"num_gpus": 1}, {"cpu": 1, "memory": 512, "gpu": 2}),
        ({"cpu": 0.5}, {}, {"num_gpus": 1}, {"cpu": 0.5, "gpu": 1}),
        ({}, {}, {}, {}),
    ],
)
def test_a_need_is_laid_over_layer_by_layer(
    bench: Bench,
    resources: dict[str, float] | None,
    options: dict[str, Any],
    decorator: dict[str, Any],
    needs: dict[str, float],
) -> None:
    bench.create_pool(target=4, cpu=1, memory=512)
    body = agent_body(resources=resources, options=options, decorator=decorator)
    if {"gpu", "fpga"} & set(needs):  # not in this pool
        error = bench.refusal(body, InsufficientPoolCapacityError)
        assert {kind: value for kind, value in error.asked.items() if value} == needs
        return
    assert bench.ask(body, "r") is None
    assert {kind: value for kind, value in bench.agent()["resources"].items() if value} == needs


def test_what_is_booked_is_what_ray_is_asked_for(bench: Bench) -> None:
    bench.create_pool(cpu=4, memory=1000, gpu=1, fpga=1)
    uid = bench.create(resources={"cpu": 0.5, "memory": 512, "gpu": 0.25, "fpga": 1})
    options = bench.launch(uid).options
    assert (options["num_cpus"], options["num_gpus"]) == (0.5, 0.25)
    assert options["memory"] == 512 * 1024 * 1024
    assert options["resources"] == {"fpga": 1}
    assert bench.pool()["used_resources"] == {"cpu": 0.5, "memory": 512, "gpu": 0.25, "fpga": 1}


def test_a_pool_without_a_default_refuses_an_agent_that_names_nothing(bench: Bench) -> None:
    bench.create_pool()
    error = bench.refusal(agent_body(resources=None), InvalidRequestError)
    assert error.field == "resources"
    assert "no default" in error.problem
    bench.create("by-option", resources=None, options={"num_cpus": 1})
    bench.create("by-decorator", resources=None, decorator={"num_cpus": 1})
    assert bench.free() == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "line\nbreak"},
        {"name": "x" * 256},
        {"class_name": ""},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"resources": {"cpu": -1}},
        {"resources": {"CPU": 1}},
        {"resources": {"gpu": 1.5}},
        {"options": {"num_gpus": 1.5}},
        {"options": {"num_cpus": "two"}},
        {"options": {"num_cpu": 1}},
        {"options": {"max_concurrency": 0}},
        {"options": {"memory": 0.5}},
        {"options": {"resources": {"cpu": 1}}},
        {"options": {"resources": {"fpga": True}}},
        {"options": {"name": "a/b"}},
        {"decorator": {"lifetime": "for ever"}},
        {"labels": {"a": "x" * 5000}},
        {"class_blob": b"x" * (MAX_BLOB + 1)},
        {"args_blob": b"x" * (MAX_BLOB + 1)},
        {"environment": Environment(runtime_env={"big": "x" * 300_000})},
        {"inherited_env": {"TOKEN": "x" * 300_000}},
        {"environment": Environment(runtime_env={"odd": {1: "x"}})},
    ],
    ids="-".join,
)
def test_a_bad_agent_leaves_no_trace(bench: Bench, changes: dict[str, Any]) -> None:
    bench.create_pool()
    bench.refusal(agent_body(**{"request_id": "bad", **changes}), InvalidRequestError)
    bench.refusal(GetAgent("w1"), AgentNotFoundError)


@pytest.mark.parametrize("request_id", ["", "a/b", "x" * 300, "bell\a"])
def test_a_bad_request_id_is_refused(bench: Bench, request_id: str) -> None:
    body = CreatePool("p", {}, {"cpu": 1}, 0, False)
    assert refusal(bench.ask(body, request_id), InvalidRequestError).field == "request_id"
    assert not bench.store


def test_an_unknown_option_is_refused_with_the_nearest_one(bench: Bench) -> None:
    bench.create_pool()
    error = bench.refusal(agent_body(options={"max_restart": 1}), InvalidRequestError)
    assert "did you mean 'max_restarts'" in str(error)


def test_an_agent_in_an_unknown_pool_is_refused_with_close_names(bench: Bench) -> None:
    bench.create_pool("ml-pool")
    assert bench.refusal(agent_body(pool="ml-poll"), PoolNotFoundError).close == ["ml-pool"]


def test_an_agent_that_fits_no_node_is_refused_at_once(bench: Bench) -> None:
    bench.create_pool(cpu=20)
    error = bench.refusal(agent_body(resources={"cpu": 17}), NoNodeFitsError)
    assert (error.asked["cpu"], error.nodes, error.largest["cpu"]) == (17, 2, 16)
    bench.create(resources={"cpu": 16})


def test_an_agent_has_to_fit_one_node_and_not_the_best_of_all(bench: Bench) -> None:
    bench.create_pool(cpu=24, gpu=4)
    bench.create("a", resources={"cpu": 16, "gpu": 4})
    bench.create_pool("o", overcommit=True, cpu=100, memory=200_000)
    bench.refusal(agent_body("b", resources={"cpu": 8, "gpu": 5}), InsufficientPoolCapacityError)
    bench.create("b", pool="o", resources={"cpu": 99})


def test_a_name_in_use_is_refused_with_what_differs(bench: Bench) -> None:
    bench.create_pool()
    bench.create_pool("q", cpu=4)
    bench.run()
    same = bench.refusal(agent_body(request_id="other"), AgentExistsError)
    assert (same.state, same.differs) == ("running", [])
    other = agent_body(
        request_id="other",
        pool="q",
        class_name="Other",
        args_blob=b"others",
        resources={"cpu": 2},
        labels={"a": "b"},
        options={"max_restarts": 0, "name": "x"},
    )
    differs = bench.refusal(other, AgentExistsError).differs
    assert [what.partition(" (")[0] for what in differs] == [
        "pool",
        "actor_class",
        "actor_args or actor_kwargs",
        "resources",
        "labels",
        "actor name",
        "ray_options['max_restarts']",
    ]


def test_an_actor_name_in_use_is_refused_in_its_namespace_only(bench: Bench) -> None:
    bench.create_pool()
    bench.run("a", options={"name": "shared", "namespace": "n"})
    error = bench.refusal(agent_body("b", options={"name": "shared", "namespace": "n"}), InvalidRequestError)
    assert "'shared'" in str(error)
    assert "'a'" in str(error)
    bench.run("b", options={"name": "shared", "namespace": "m"})


@pytest.mark.parametrize(
    ("options", "driver_namespace", "namespace", "actor_name"),
    [
        ({}, "driver-ns", MESH_NAMESPACE, "w1"),
        ({"name": "x"}, "driver-ns", "driver-ns", "x"),
        ({"name": "x"}, "", MESH_NAMESPACE, "x"),
        ({"name": "x", "namespace": "given"}, "driver-ns", "given", "x"),
        ({"namespace": "given"}, "driver-ns", "given", "w1"),
    ],
)
def test_where_the_actors_ray_name_is_found(
    bench: Bench, options: dict[str, Any], driver_namespace: str, namespace: str, actor_name: str
) -> None:
    bench.create_pool()
    bench.create(options=options, namespace=driver_namespace)
    assert (bench.agent()["namespace"], bench.agent()["actor_name"]) == (namespace, actor_name)


def test_get_if_exists_hands_out_the_living_agent(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.run(**SHARED)
    launches = len(bench.orders(Launch))
    reply = bench.result(agent_body(request_id="other", **SHARED))
    assert reply["created"] is False
    assert reply["agent"]["actor_id"] == f"actor-{uid}"
    assert (len(bench.orders(Launch)), bench.free()) == (launches, 3)


def test_get_if_exists_with_another_request_is_refused_with_what_differs(bench: Bench) -> None:
    bench.create_pool()
    bench.run(**SHARED)
    error = bench.refusal(agent_body(request_id="o", resources={"cpu": 2}, **SHARED), AgentExistsError)
    assert error.differs == ["resources"]


def test_get_if_exists_waits_with_the_one_that_created_it(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.create(**SHARED)
    assert bench.ask(agent_body(request_id="other", **SHARED), "other") is None
    bench.come_up(uid)
    assert result(bench.answer(uid))["created"] is True
    assert result(bench.answer("other"))["created"] is False


@pytest.mark.parametrize("recovering", [False, True])
def test_get_if_exists_does_not_hand_out_an_agent_that_is_leaving(bench: Bench, recovering: bool) -> None:
    bench.create_pool()
    uid = bench.run(**SHARED)
    bench.delete()
    if recovering:
        bench.restart()
    bench.refusal(agent_body(request_id="other", **SHARED), AgentExistsError)
    bench.see(uid, DEAD)
    bench.run(**SHARED)


def test_a_name_is_free_once_its_agent_has_ended(bench: Bench) -> None:
    bench.create_pool()
    first = bench.run()
    bench.see(first, DEAD)
    second = bench.run()
    assert bench.agent()["actor_id"] == f"actor-{second}"
    assert len(bench.result(ListAgents(None, {}))["agents"]) == 1


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), float("inf")])
def test_a_bad_grace_is_refused(bench: Bench, grace_s: float) -> None:
    bench.create_pool()
    bench.run()
    bench.refusal(DeleteAgent("w1", grace_s, False), InvalidRequestError)


def test_agents_are_listed_by_pool_and_labels(bench: Bench) -> None:
    bench.result(CreatePool("p", {"team": "ml"}, {"cpu": 4}, 0, False))
    bench.create_pool("q", cpu=4)
    bench.run("a", labels={"role": "x"})
    bench.run("b", labels={"role": "y"})
    bench.create("c", pool="q", labels={"role": "x"})

    def listed(pool: str | None, **labels: str) -> list[str]:
        return [info["name"] for info in bench.result(ListAgents(pool, labels))["agents"]]

    assert listed(None) == ["a", "b", "c"]
    assert listed("p") == ["a", "b"]
    assert listed(None, role="x") == ["a", "c"]
    assert listed(None, team="ml", role="x") == ["a"]
    assert [info["name"] for info in bench.result(ListAgents(None, {"pool": "q"}))["agents"]] == ["c"]
    bench.refusal(ListAgents("r", {}), PoolNotFoundError)


def test_failed_agents_stay_listed_and_deleted_ones_do_not(bench: Bench) -> None:
    bench.create_pool()
    bench.see(bench.run("failed"), DEAD)
    gone = bench.run("deleted")
    bench.delete("deleted")
    bench.see(gone, DEAD)
    assert [info["name"] for info in bench.result(ListAgents(None, {}))["agents"]] == ["failed"]
    assert bench.agent("deleted")["state"] == "stopped"


def test_an_agents_own_labels_lie_over_the_pools(bench: Bench) -> None:
    bench.result(CreatePool("p", {"team": "ml", "tier": "1"}, {"cpu": 4}, 0, False))
    bench.create(labels={"tier": "2", "pool": "mine"})
    assert bench.agent()["labels"] == {"team": "ml", "tier": "2", "pool": "p"}


def test_secrets_in_env_vars_are_never_shown(bench: Bench) -> None:
    bench.create_pool()
    runtime_env = {"env_vars": {"TOKEN": "s3cret"}, "pip": ["x"]}
    environment = Environment(runtime_env={"env_vars": {"TOKEN": "s3cret"}})
    options = {"runtime_env": runtime_env, "get_if_exists": True}
    uid = bench.create(options=options, environment=environment, decorator={"runtime_env": runtime_env})
    assert bench.launch(uid).options["runtime_env"] == runtime_env, "Ray has to be told"
    bench.come_up(uid)
    other = {**options, "runtime_env": {"env_vars": {"TOKEN": "s3cret-too"}}}
    error = bench.refusal(agent_body(request_id="o", options=other), AgentExistsError)
    assert error.differs == ["ray_options['runtime_env']"]
    bench.ask(agent_body(request_id="bad", options={"runtime_env": {"env_vars": {"TOKEN": ["s3cret"]}}}), "bad")
    bench.see(bench.create("late", options=options, timeout_s=1), ALIVE)
    bench.pass_time(2)
    bench.restart()
    bench.read_table()
    assert bench.agent()["options"]["runtime_env"] == {"env_vars": {"TOKEN": "<hidden>"}, "pip": ["x"]}
    shown = repr((bench.answers, bench.notes, bench.everything()["agents"], bench.everything()["status"]))
    assert "TOKEN" in shown
    assert "s3cret" not in shown


def test_a_launch_that_failed_shows_the_users_traceback(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.create()
    bench.step(LaunchFailed(uid, 1, "Traceback: worker.py, line 3: ValueError: no model"))
    assert "worker.py, line 3" in str(bench.error_of(uid))
    assert (bench.free(), bench.agent()["state"]) == (4, "failed")
    assert not bench.blobs()
    bench.run()


def test_a_ready_agent_takes_its_actor_from_the_launcher_when_the_table_is_slow(bench: Bench) -> None:
    bench.create_pool()
    uid = bench.create()
    bench.step(LaunchReady(uid, 1, "abc"))
    assert (bench.agent()["state"], bench.agent()["actor_id"], bench.agent()["pid"]) == ("running", "abc", None)
    bench.see(uid, ALIVE, actor_id="abc")
    assert bench.agent()["pid"] == 4711


def test_an_agent_has_its_name_whatever_the_clock_says(bench: Bench) -> None:
    bench.create_pool()
    first = bench.run("a")
    bench.delete("a")
    bench.see(first, DEAD)
    bench.now -= 60
    second = bench.run("a", request_id="second")
    for _ in range(2):
        assert bench.agent("a")["state"] in ("running", "recovering")
        assert len(bench.result(ListAgents(None, {}))["agents"]) == 1
        bench.refusal(agent_body("a", request_id="third"), AgentExistsError)
        bench.restart()
    assert second != first
