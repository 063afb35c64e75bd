"""Rows: judged by the worse end of the interval; what cannot be a result is refused."""

from __future__ import annotations

import math

import msgspec
import pytest
from harness.estimates import Estimate, exactly, quantile, ratio_of_quantiles
from harness.rows import Row, absurd, at_least, at_most, count_row, ratio_row, shown, value_row
from harness.subject import failed, numbers

PAIRS = [(1.0, 2.0), (1.1, 2.0), (1.2, 2.0)]


def test_a_target_is_judged_by_the_worse_end_of_the_interval() -> None:
    assert at_most(1.05).met(Estimate(1.0, 0.9, 1.05))
    assert not at_most(1.05).met(Estimate(1.0, 0.9, 1.06))
    assert at_least(0.99).met(Estimate(1.0, 0.99, 1.2))
    assert not at_least(0.99).met(Estimate(1.0, 0.98, 1.2))


def test_a_ratio_is_ours_over_the_rivals() -> None:
    row = ratio_row(1, "create", PAIRS, unit="s", rival="raw", target=at_most(0.6))
    assert row.judged is not None
    assert row.judged.value == 0.55
    assert (row.ours, row.rival, row.rounds, row.met) == ("1.1 s", "raw: 2 s", 3, True)


def test_a_row_of_tails_shows_tails() -> None:
    row = ratio_row(
        1,
        "create",
        PAIRS,
        unit="s",
        rival="raw",
        target=None,
        statistic=ratio_of_quantiles(1.0),
        shows=lambda values: quantile(values, 1.0),
    )
    assert row.ours == "1.2 s"
    assert row.met is None


def test_a_value_is_judged_against_a_bound_of_its_own() -> None:
    row = value_row(13, "stall", [0.001, 0.002, 0.02], unit="s", target=at_most(0.01), statistic=max)
    assert row.met is False
    assert row.ours == "20 ms"


def test_a_count_has_no_interval() -> None:
    assert count_row(5, "calls", 0, target=at_most(0)).judged == exactly(0.0)
    assert count_row(5, "calls", 1, target=at_most(0)).met is False


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_measurement_is_refused(value: float) -> None:
    row = Row(number=1, subject="create", judged=exactly(value))
    assert "no measurements" in absurd(row)


@pytest.mark.parametrize("ratio", [0.0, 1e-4, 5000.0])
def test_an_absurd_ratio_is_refused(ratio: float) -> None:
    assert "absurd" in absurd(Row(number=1, subject="create", judged=exactly(ratio)))


def test_a_missed_target_is_not_absurd() -> None:
    assert absurd(ratio_row(1, "create", PAIRS, unit="s", rival="raw", target=at_most(0.1))) == ""


def test_zero_is_a_count_but_no_ratio() -> None:
    assert absurd(count_row(5, "calls", 0, target=at_most(0))) == ""


def test_a_row_that_could_not_be_measured_says_why() -> None:
    assert absurd(failed(2, "warm", "no warm pools")) == "no warm pools"
    assert absurd(Row(number=2, subject="warm")) == "there is no result"


def test_rows_survive_their_way_through_a_file() -> None:
    rows = [
        ratio_row(1, "create", PAIRS, unit="s", rival="raw", target=at_most(0.6), note="cold"),
        value_row(13, "memory", [1.0, 2.0], unit="B", target=at_most(4096)),
        failed(2, "warm", "no warm pools"),
    ]
    assert msgspec.json.decode(msgspec.json.encode(rows), type=list[Row]) == rows


def test_numbers_are_shown_as_people_read_them() -> None:
    assert [shown(value, "s") for value in (1.5, 0.0123, 0.0000042)] == ["1.5 s", "12.3 ms", "4.2 µs"]
    assert [shown(value, "/s") for value in (12345.6, 1.234)] == ["12,346/s", "1.23/s"]
    assert shown(4096.0, "B") == "4,096 B"
    assert shown(0.0, "s") == "0 µs"


def test_row_numbers_are_read_as_people_write_them() -> None:
    assert numbers("1, 5") == {1, 5}
    assert numbers("") == set()
