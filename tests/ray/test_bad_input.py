"""Wrong and hostile input on a real cluster: refused with an error of ours, and nothing is changed by it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from drivers import MESH
from raycluster import RealCluster
from rayview import books_of, living_actors

import schedulemesh
from schedulemesh import AgentActor, InvalidRequestError, Scheduler


class Plain(AgentActor):
    def __init__(self, name: str, labels: dict[str, str], supervisor: Any = None, *rest: Any) -> None:
        super().__init__(name, labels, supervisor)


@pytest.fixture
def pool(scheduler: Scheduler) -> str:
    scheduler.create_pool("strict", resources={"cpu": 2, "gpu": 2})
    return "strict"


BAD_AMOUNTS: list[Any] = [
    {"cpu": -1},
    {"cpu": float("nan")},
    {"cpu": float("inf")},
    {"cpu": True},
    {"cpu": "1"},
    {"cpu": None},
    {"num_cpus": 1},
    {"CPU": 1},
    {"GPU": 1},
    {"cpu": 0.00001},
    {"gpu": 1.5},
    {"cpu": 10**12},
    {1: 1},
    {"": 1},
    ["cpu", 1],
    "cpu=1",
]


@pytest.mark.parametrize("resources", BAD_AMOUNTS, ids=repr)
def test_a_bad_amount_is_refused(scheduler: Scheduler, pool: str, resources: Any) -> None:
    unchanged(scheduler, lambda: scheduler.create_agent("bad", pool, Plain, resources=resources))
    unchanged(scheduler, lambda: scheduler.create_pool("bad", resources=resources, target_agents=1))
    unchanged(scheduler, lambda: scheduler.resize_pool(pool, resources=resources, target_agents=1))


BAD_NAMES: list[Any] = ["", " ", "a/b", "a\nb", "\x00", "x" * 256, " lead", None, 7, b"bytes", "\ud800"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:12])
def test_a_bad_name_is_refused(scheduler: Scheduler, pool: str, name: Any) -> None:
    unchanged(scheduler, lambda: scheduler.create_agent(name, pool, Plain, resources={"cpu": 0.1}))
    unchanged(scheduler, lambda: scheduler.create_pool(name, resources={"cpu": 0.1}))


def test_a_name_in_any_script_is_fine_and_is_offered_to_who_mistypes_it(scheduler: Scheduler, pool: str) -> None:
    name = "模型-Ω 🚀"
    agent = scheduler.create_agent(name, pool, Plain, resources={"cpu": 0.1})["agent"]
    assert scheduler.get_agent(name)["agent"]["actor_id"] == agent["actor_id"]
    with pytest.raises(LookupError, match=f"did you mean '{name}'"):
        scheduler.get_agent("模型-Ω 🚁")
    with pytest.raises(schedulemesh.PoolNotFoundError, match="did you mean 'strict'"):
        scheduler.create_agent("a", "strikt", Plain, resources={"cpu": 0.1})
    with pytest.raises(InvalidRequestError, match=f"'{name}' in namespace 'schedulemesh' is an actor, but no superv"):
        schedulemesh.connect(name)


BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "a function as class": {"actor_class": print},
    "an instance as class": {"actor_class": object()},
    "a class without a constructor": {"actor_class": type("Empty", (), {})},
    "arguments that cannot be pickled": {"actor_args": [threading.Lock()]},
    "too large arguments": {"actor_args": [b"x" * (8 * 1024 * 1024 + 1)]},
    "a string as arguments": {"actor_args": "abc"},
    "keywords that are none": {"actor_kwargs": {1: 2}},
    "labels that are no strings": {"labels": {"a": 1}},
    "a huge label": {"labels": {"a": "x" * 50_000}},
    "a timeout of zero": {"timeout_s": 0},
    "a timeout that is no number": {"timeout_s": "soon"},
    "an unknown option": {"ray_options": {"max_restart": 1}},
    "an option of the wrong type": {"ray_options": {"max_restarts": "5"}},
    "restarts below -1": {"ray_options": {"max_restarts": -2}},
    "no concurrency": {"ray_options": {"max_concurrency": 0}},
    "an unknown strategy": {"ray_options": {"scheduling_strategy": "PACK"}},
    "an unknown lifetime": {"ray_options": {"lifetime": "forever"}},
    "a cpu among custom resources": {"ray_options": {"resources": {"CPU": 1}}},
    "options that are no dict": {"ray_options": [1]},
    "an object of the user's as option": {"ray_options": {"runtime_env": {"env_vars": {"A": 1}}}},
}


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_a_bad_request_is_refused(scheduler: Scheduler, pool: str, what: str) -> None:
    given: dict[str, Any] = {"actor_class": Plain, "resources": {"cpu": 0.1}, **BAD_REQUESTS[what]}
    unchanged(scheduler, lambda: scheduler.create_agent("bad", pool, **given))


def test_an_object_reference_is_refused_with_the_reason(scheduler: Scheduler, pool: str) -> None:
    nested = {"data": [ray.put(1)]}
    with pytest.raises(InvalidRequestError, match="could not be started again from it"):
        scheduler.create_agent("bad", pool, Plain, resources={"cpu": 0.1}, actor_args=[nested])
    assert living_actors() == []


def test_a_pool_without_default_wants_to_know_what_an_agent_needs(scheduler: Scheduler, pool: str) -> None:
    unchanged(scheduler, lambda: scheduler.create_agent("bad", pool, Plain))


class Impostor:
    def call(self, _: bytes) -> str:
        return "hello"


def test_an_answer_that_is_none_of_a_supervisors_is_told_in_one_line(cluster: RealCluster) -> None:
    actor_class: Any = ray.remote(Impostor)
    impostor = actor_class.options(name="impostor", namespace="schedulemesh", num_cpus=0).remote()
    with pytest.raises(schedulemesh.SupervisorUnavailableError, match="answers what this version cannot read"):
        schedulemesh.connect("impostor")
    ray.kill(impostor)


@pytest.mark.parametrize("requests", [None, "w1", 7, {"name": "w1"}, [None] * 1001], ids=lambda one: str(one)[:12])
def test_a_batch_that_is_none_is_refused(scheduler: Scheduler, requests: Any) -> None:
    unchanged(scheduler, lambda: scheduler.create_agents(requests))


def test_an_entry_that_is_no_request_is_refused_at_its_place(scheduler: Scheduler, pool: str) -> None:
    odd: Any = ["w1", None, schedulemesh.AgentRequest("w1", "no-such-pool", Plain, resources={"cpu": 0.1})]
    replies = scheduler.create_agents(odd)
    assert [type(reply).__name__ for reply in replies] == ["InvalidRequestError"] * 2 + ["PoolNotFoundError"]
    assert "must hold AgentRequests, not 'w1'" in str(replies[0])


# Ray itself has to refuse these: they are nothing that the supervisor could judge.
ODD_FOR_RAY: dict[str, dict[str, Any]] = {
    "a fallback that is a number": {"fallback_strategy": [7]},
    "a group of no threads": {"concurrency_groups": {"a": -5}},
    "a placement group of nobody's": {"placement_group": 7},
    "a selector that is none": {"label_selector": {"!!": "in()"}},
}


@pytest.mark.parametrize("what", ODD_FOR_RAY)
def test_what_only_ray_can_judge_fails_with_its_reason_and_holds_nothing(
    scheduler: Scheduler, pool: str, what: str
) -> None:
    pid = scheduler.status()["pid"]
    options = {"max_concurrency": 1, "max_restarts": 0, **ODD_FOR_RAY[what]}
    with pytest.raises(schedulemesh.AgentStartError) as caught:
        scheduler.create_agent("odd", pool, Plain, resources={"cpu": 0.1}, ray_options=options)
    assert caught.value.cause.strip()
    assert scheduler.status()["pid"] == pid
    assert not any(scheduler.get_pool(pool)["pool"]["used_resources"].values())
    assert living_actors() == []
    scheduler.delete_agent("odd")


@pytest.mark.parametrize(
    "env", [{"working_dir": 7}, {"working_dir": "/nowhere/to/be/found"}, {"pip": "no-such-file.txt"}], ids=str
)
def test_an_environment_that_ray_does_not_take_is_refused_in_the_driver(
    scheduler: Scheduler, pool: str, env: dict[str, Any]
) -> None:
    unchanged(
        scheduler,
        lambda: scheduler.create_agent("odd", pool, Plain, resources={"cpu": 0.1}, ray_options={"runtime_env": env}),
    )


def test_without_the_token_nobody_gets_in(scheduler: Scheduler, cluster: RealCluster, tmp_path: Path) -> None:
    """A driver with a wrong token, and one with none. Ray would try for 20 s if it were not told otherwise."""
    code = f"import schedulemesh; schedulemesh.connect({MESH!r}, start=False); print('got in')"
    wrong = {**cluster.env, "RAY_AUTH_TOKEN": "f" * 64}
    none = {name: value for name, value in cluster.env.items() if not name.startswith("RAY_AUTH")}
    strangers = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**env, "RAY_NUM_REDIS_GET_RETRIES": "2", "HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for env in (wrong, none)
    ]
    for stranger in strangers:
        out, _ = stranger.communicate(timeout=120)
        assert stranger.returncode != 0
        assert "got in" not in out
        assert "auth" in out.lower(), out
    assert scheduler.list_pools() == {"pools": []}, "it is there, for who has the token"


def unchanged(scheduler: Scheduler, refused: Callable[[], Any]) -> None:
    """The call is refused with one of our errors, and neither the books nor Ray have changed."""
    before = books_of(scheduler)
    with pytest.raises(schedulemesh.ScheduleMeshError) as refusal:
        refused()
    assert isinstance(refusal.value, (ValueError, TypeError))
    assert len(str(refusal.value)) < 1000
    assert books_of(scheduler) == before
    assert living_actors() == []
