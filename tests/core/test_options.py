"""Ray options: which are taken, with what values, and what of them is shown."""

from __future__ import annotations

import math
from typing import Any

import pytest

from schedulemesh.core.amounts import MB, Amounts
from schedulemesh.core.errors import InvalidRequestError
from schedulemesh.core.options import (
    DEFAULTS,
    HIDDEN,
    KNOWN,
    MAX_BYTES,
    RESOURCE_OPTIONS,
    check_options,
    differing,
    named_amounts,
    opaque,
    opaque_bytes,
    shown,
    without_resources,
)

GOOD: dict[str, Any] = {
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 1,
    "max_pending_calls": -1,
    "lifetime": "detached",
    "name": "worker",
    "namespace": "team",
    "num_cpus": 0.5,
    "num_gpus": 1,
    "memory": 512 * MB,
    "resources": {"fpga": 1},
    "object_store_memory": 1e9,
    "accelerator_type": "A100",
    "runtime_env": {"env_vars": {"A": "1"}, "pip": ["x"]},
    "scheduling_strategy": "SPREAD",
    "label_selector": {"zone": "a"},
    "get_if_exists": True,
    "enable_task_events": False,
    "concurrency_groups": {"io": 2},
    "placement_group": "default",
}


def test_the_defaults_are_the_promised_ones() -> None:
    assert DEFAULTS == {
        "max_restarts": -1,
        "max_task_retries": 3,
        "max_concurrency": 1000,
        "lifetime": None,
        "name": None,
        "namespace": None,
        "runtime_env": {},
        "scheduling_strategy": "DEFAULT",
        "get_if_exists": False,
    }
    assert DEFAULTS.keys() <= KNOWN.keys()


@pytest.mark.parametrize("name", GOOD)
def test_an_option_is_taken_as_it_was_given(name: str) -> None:
    assert check_options({name: GOOD[name]}) == {name: GOOD[name]}


def test_none_means_unset_as_in_ray() -> None:
    assert check_options(None) == {}
    assert check_options(dict.fromkeys(KNOWN)) == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max_restarts", -2, "must be -1 or more"),
        ("max_restarts", 2**31, "below 2**31"),
        ("max_restarts", 1.0, "must be a whole number, not float"),
        ("max_restarts", True, "must be a whole number, not bool"),
        ("max_restarts", "3", "must be a whole number, not str"),
        ("max_task_retries", -2, "must be -1 or more"),
        ("max_concurrency", 0, "must be 1 or more"),
        ("lifetime", "for ever", "must be one of detached, non_detached"),
        ("lifetime", ["detached"], "must be one of"),
        ("name", "a/b", "contains '/'"),
        ("namespace", "", "must not be empty"),
        ("memory", -1, "must be a whole number of bytes"),
        ("memory", 0.5, "must be a whole number of bytes"),
        ("memory", math.nan, "must be a whole number of bytes"),
        ("memory", math.inf, "must be a whole number of bytes"),
        ("memory", "1GB", "must be a number of bytes, not str"),
        ("memory", True, "must be a number of bytes, not bool"),
        ("resources", ["fpga"], "must be a dict of custom resources"),
        ("accelerator_type", 7, "must be a string"),
        ("runtime_env", "env.yaml", "must be a dict, not str"),
        ("runtime_env", {"env_vars": ["A"]}, "'env_vars' as a dict of strings"),
        ("runtime_env", {"env_vars": {"A": 1}}, "'env_vars' as a dict of strings"),
        ("scheduling_strategy", "RANDOM", "must be one of DEFAULT, SPREAD, NODE_AFFINITY"),
        ("scheduling_strategy", 7, "or one of Ray's strategy objects"),
        ("label_selector", {"zone": 1}, "must be a string"),
        ("get_if_exists", 1, "must be True or False"),
    ],
)
def test_a_bad_value_is_refused_and_the_option_named(name: str, value: object, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_options({name: value})
    assert name in caught.value.field
    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("max_restart", "max_restarts"),
        ("num_cpu", "num_cpus"),
        ("name_space", "namespace"),
        ("runtime-env", "runtime_env"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_name(unknown: str, nearest: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"has no option '{unknown}'; did you mean '{nearest}'"):
        check_options({unknown: 1})


@pytest.mark.parametrize("unknown", ["zzz", "", 7, ("a",), "x" * 100_000])
def test_an_option_like_no_other_is_refused_with_some_that_are_known(unknown: object) -> None:
    with pytest.raises(InvalidRequestError, match="known are get_if_exists") as caught:
        check_options({unknown: 1})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("given_options", ["max_restarts", 7, [("max_restarts", 1)]])
def test_options_come_as_a_dict(given_options: object) -> None:
    with pytest.raises(InvalidRequestError, match="must be a dict"):
        check_options(given_options)


def _itself() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["itself"] = loop
    return loop


@pytest.mark.parametrize(
    "value", [{"x": object()}, {"x": 2**70}, _itself()], ids=["an object", "a huge number", "a loop"]
)
def test_what_is_not_plain_data_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="must be plain data"):
        check_options({"runtime_env": value})


def test_options_have_a_limit_of_size() -> None:
    with pytest.raises(InvalidRequestError, match="the limit is 262,144"):
        check_options({"runtime_env": {"env_vars": {"A": "x" * MAX_BYTES}}})


def test_amounts_are_read_with_the_kinds_that_were_named() -> None:
    options = {"num_cpus": 0, "num_gpus": 2, "memory": 512 * MB, "resources": {"fpga": 0.5}}
    amounts, kinds = named_amounts(options, "ray_options")
    assert amounts == Amounts.parse({"gpu": 2, "memory": 512, "fpga": 0.5}, "test")
    assert kinds == {"cpu", "gpu", "memory", "fpga"}
    assert named_amounts({"max_restarts": 1}, "ray_options") == (Amounts(), frozenset())


@pytest.mark.parametrize("kind", ["cpu", "gpu", "memory"])
def test_custom_resources_are_not_the_base_kinds(kind: str) -> None:
    with pytest.raises(InvalidRequestError, match="goes into resources="):
        named_amounts({"resources": {kind: 1}}, "ray_options")


@pytest.mark.parametrize("options", [{"num_cpus": "two"}, {"num_gpus": -1}, {"resources": {"CPU": 1}}])
def test_amounts_among_options_are_checked_as_any_other(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        named_amounts(options, "ray_options")


def test_options_that_are_amounts_are_told_apart() -> None:
    assert set(without_resources(GOOD)) == set(GOOD) - set(RESOURCE_OPTIONS)


def test_values_of_variables_and_pickled_bytes_are_not_shown() -> None:
    options = {
        "runtime_env": {"env_vars": {"TOKEN": "s3cret"}, "pip": ["x"]},
        "scheduling_strategy": opaque(b"pickled", "PlacementGroup(7)"),
        "max_restarts": 1,
    }
    assert shown(options) == {
        "runtime_env": {"env_vars": {"TOKEN": HIDDEN}, "pip": ["x"]},
        "scheduling_strategy": "PlacementGroup(7)",
        "max_restarts": 1,
    }
    assert options["runtime_env"] == {"env_vars": {"TOKEN": "s3cret"}, "pip": ["x"]}


def test_a_ray_object_travels_as_bytes_and_is_accepted_as_a_strategy() -> None:
    strategy = opaque(b"pickled", "PlacementGroup(7)")
    assert opaque_bytes(strategy) == b"pickled"
    assert opaque_bytes("SPREAD") is None
    assert opaque_bytes({"$pickled": "text"}) is None
    assert check_options({"scheduling_strategy": strategy}) == {"scheduling_strategy": strategy}


def test_two_agents_differ_in_options_by_what_users_see_of_them() -> None:
    one = {"max_restarts": 1, "scheduling_strategy": opaque(b"a", "same"), "get_if_exists": True}
    other = {"max_restarts": 2, "scheduling_strategy": opaque(b"b", "same"), "runtime_env": {}}
    assert differing(one, other) == ["max_restarts", "runtime_env"]
    assert differing(one, {**one, "get_if_exists": False}) == []
    secret, changed = ({"runtime_env": {"env_vars": {"T": value}}} for value in "ab")
    assert differing(secret, changed) == ["runtime_env"]
