"""Amounts: what may be asked for, and that sums never drift."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulemesh.core.amounts import (
    GRAIN,
    MAX_AMOUNT,
    MAX_KINDS,
    MB,
    Amounts,
    check_one_agent,
    memory_from_bytes,
)
from schedulemesh.core.errors import InvalidRequestError

units = st.dictionaries(
    st.sampled_from(["cpu", "memory", "gpu", "fpga"]), st.integers(1, MAX_AMOUNT * GRAIN), max_size=4
)
amounts = units.map(Amounts)


def of(**given_amounts: Any) -> Amounts:
    return Amounts.parse(given_amounts, "resources")


@given(whole=st.integers(0, MAX_AMOUNT * GRAIN))
def test_every_amount_of_whole_grains_is_read_exactly(whole: int) -> None:
    assert of(cpu=whole / GRAIN)["cpu"] == whole


@given(whole=st.integers(1, 10**9), part=st.floats(0.01, 0.99))
def test_nothing_between_two_grains_is_accepted(whole: int, part: float) -> None:
    with pytest.raises(InvalidRequestError, match="finest grain is 1/10000"):
        of(cpu=(whole + part) / GRAIN)


@pytest.mark.parametrize("tiny", [0.00001, 1e-11, 1e-300, 5e-324])
def test_an_amount_too_small_to_book_is_refused_and_not_taken_for_zero(tiny: float) -> None:
    with pytest.raises(InvalidRequestError, match="finest grain"):
        of(cpu=tiny)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (-1, "must not be negative, got -1"),
        (-0.0001, "must not be negative"),
        (math.nan, "must be finite, not nan"),
        (math.inf, "must be finite, not inf"),
        (-math.inf, "must be finite, not -inf"),
        (True, "must be a number, not bool True"),
        ("2", "must be a number, not str '2'"),
        (None, "must be a number, not NoneType None"),
        ([1], "must be a number, not list [1]"),
        (1j, "must be a number, not complex 1j"),
        (Decimal(1), "must be a number, not Decimal"),
        (MAX_AMOUNT + 1, "the limit is 1,000,000,000"),
        (10**400, "is too large, the limit is 1,000,000,000"),
        (1 / 3, "the finest grain is 1/10000"),
    ],
    ids=str,
)
def test_a_bad_amount_is_refused_and_named(bad: object, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        of(fpga=bad)
    assert caught.value.field == "resources['fpga']"
    assert says in caught.value.problem


@pytest.mark.parametrize("number", [0.1 + 0.2, 3 * 0.1, Fraction(3, 10)], ids=str)
def test_the_rounding_of_floats_is_forgiven(number: float) -> None:
    assert of(cpu=number)["cpu"] == 3000


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("num_cpus", "'cpu'"),
        ("CPU", "'cpu'"),
        ("cpus", "'cpu'"),
        ("Cpu", "'cpu'"),
        ("num_gpus", "'gpu'"),
        ("GPU", "'gpu'"),
        ("mem", "'memory'"),
        ("memory_mb", "'memory'"),
        ("MEMORY", "'memory'"),
        ("object_store_memory", "ray_options"),
    ],
)
def test_a_misnamed_kind_is_refused_with_the_right_name(kind: str, hint: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"has '{kind}'") as caught:
        of(**{kind: 1})
    assert hint in caught.value.problem


@pytest.mark.parametrize("kind", ["", " ", "a/b", "a\nb", "x" * 256, 7, None])
def test_a_kind_has_to_be_a_name(kind: object) -> None:
    with pytest.raises(InvalidRequestError):
        Amounts.parse({kind: 1}, "resources")  # type: ignore[dict-item]


@pytest.mark.parametrize("given_amounts", [None, 4, "cpu", [("cpu", 1)]])
def test_amounts_come_as_a_dict(given_amounts: Any) -> None:
    with pytest.raises(InvalidRequestError, match="must be a dict like"):
        Amounts.parse(given_amounts, "resources")


def test_there_may_be_only_so_many_kinds() -> None:
    most = {f"kind{number}": 1 for number in range(MAX_KINDS)}
    assert len(Amounts.parse(most, "resources").units) == MAX_KINDS
    with pytest.raises(InvalidRequestError, match=f"names {MAX_KINDS + 1} kinds"):
        Amounts.parse({**most, "more": 1}, "resources")


def test_zero_is_the_same_as_not_named() -> None:
    assert of(cpu=0, gpu=0.0) == Amounts()
    assert not of(cpu=0)
    assert of(cpu=0.0001)


@given(left=amounts, right=amounts)
def test_what_was_added_can_be_taken_away_exactly(left: Amounts, right: Amounts) -> None:
    assert left.plus(right).minus(right) == left
    assert left.plus(right) == right.plus(left)
    assert left.minus(left) == Amounts()
    assert 0 not in left.minus(right).units.values()


@given(count=st.integers(0, 200), tenth=st.sampled_from([0.1, 0.3, 0.7, 1.1]))
def test_many_small_amounts_are_exactly_as_much_as_one_large(count: int, tenth: float) -> None:
    total = Amounts()
    for _ in range(count):
        total = total.plus(of(cpu=tenth))
    assert total == of(cpu=tenth).times(count)
    assert total["cpu"] == count * round(tenth * 10) * 1000


@given(need=amounts, room=amounts)
def test_it_fits_when_no_kind_is_short(need: Amounts, room: Amounts) -> None:
    short = need.short_of(room)
    assert need.fits_in(room) == (not short)
    assert set(short) == {kind for kind in need.units if need[kind] > room[kind]}
    assert need.fits_in(room.plus(need))


def test_no_need_fits_in_what_is_owed() -> None:
    owed = of(cpu=1).minus(of(cpu=2))
    assert Amounts().fits_in(owed)
    assert of(cpu=0.0001).short_of(owed) == ("cpu",)


def test_overlaying_takes_named_kinds_even_when_they_are_zero() -> None:
    lower, upper = of(cpu=1, gpu=1, memory=8), of(cpu=2)
    assert lower.overlaid(upper, ["cpu", "gpu"]) == of(cpu=2, memory=8)
    assert lower.overlaid(upper, []) == lower


@pytest.mark.parametrize(("fraction", "left"), [(0.0, 10), (0.1, 9), (0.25, 7.5), (1.0, 0)])
def test_a_fraction_is_set_aside(fraction: float, left: float) -> None:
    assert of(cpu=10).less(fraction) == of(cpu=left)


def test_what_is_left_is_rounded_down() -> None:
    assert of(cpu=0.0003).less(0.5) == of(cpu=0.0001)


def test_a_reply_always_names_the_base_kinds_and_those_in_play() -> None:
    assert of(fpga=0.5).as_dict(of(tpu=1, cpu=3)) == {"cpu": 0, "memory": 0, "gpu": 0, "fpga": 0.5, "tpu": 0}


def test_ray_is_always_asked_for_cpus_and_for_nothing_that_is_zero() -> None:
    assert Amounts().as_ray_options() == {"num_cpus": 0}
    assert of(cpu=0.5, gpu=2, memory=512, fpga=0.25).as_ray_options() == {
        "num_cpus": 0.5,
        "num_gpus": 2,
        "memory": 512 * MB,
        "resources": {"fpga": 0.25},
    }


@given(count=st.integers(0, 2**49))
def test_no_byte_is_asked_for_that_was_not_booked(count: int) -> None:
    booked = of(memory=memory_from_bytes(count))
    asked = booked.as_ray_options().get("memory", 0)
    assert count <= asked
    assert asked * GRAIN <= (booked["memory"] + 1) * MB
    assert asked - count <= MB / GRAIN + 1


@given(megabytes=st.integers(0, MAX_AMOUNT))
def test_whole_megabytes_arrive_at_ray_exactly(megabytes: int) -> None:
    assert of(memory=megabytes).as_ray_options().get("memory", 0) == megabytes * MB
    assert memory_from_bytes(megabytes * MB) == megabytes


@pytest.mark.parametrize("gpu", [0, 0.5, 1, 2, 8])
def test_gpus_come_in_fractions_of_one_or_as_whole_ones(gpu: float) -> None:
    check_one_agent(of(gpu=gpu), "resources")


@pytest.mark.parametrize("gpu", [1.5, 1.0001, 7.25])
def test_more_than_one_gpu_is_not_given_in_fractions(gpu: float) -> None:
    with pytest.raises(InvalidRequestError, match="above 1 Ray gives only whole GPUs") as caught:
        check_one_agent(of(gpu=gpu), "resources")
    assert caught.value.field == "resources['gpu']"


def test_amounts_read_well() -> None:
    assert str(of(cpu=1.5, memory=512)) == "cpu=1.5, memory=512"
    assert str(Amounts()) == "nothing"
