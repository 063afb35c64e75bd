"""Estimates: medians of ratios, their intervals, and that the same samples always give the same."""

from __future__ import annotations

import pytest
from harness.estimates import (
    Estimate,
    bootstrap,
    exactly,
    mean,
    median,
    median_of_ratios,
    quantile,
    ratio_of_quantiles,
)


def test_a_round_is_compared_with_itself_so_that_a_slow_round_does_not_count() -> None:
    assert median_of_ratios([(1.0, 2.0), (10.0, 20.0), (500.0, 100.0)]) == 0.5


def test_a_quantile_lies_between_its_two_nearest_values_in_proportion() -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == median([4.0, 1.0, 3.0, 2.0]) == 2.5
    assert quantile([10.0, 20.0], 0.95) == 19.5
    assert quantile([7.0], 0.99) == 7.0


def test_tails_are_compared_over_all_rounds() -> None:
    pairs = [(1.0, 1.0)] * 9 + [(30.0, 3.0)]
    assert ratio_of_quantiles(1.0)(pairs) == 10.0


def test_the_same_samples_always_give_the_same_interval() -> None:
    pairs = [(float(ours), 10.0) for ours in range(8, 14)]
    first = bootstrap(pairs, median_of_ratios)
    assert first == bootstrap(pairs, median_of_ratios)
    assert first.low < first.value < first.high
    assert (first.low, first.high) == pytest.approx((0.85, 1.25))


def test_more_rounds_of_the_same_spread_give_a_narrower_interval() -> None:
    few, many = (bootstrap([1.0, 2.0, 3.0, 4.0] * times, mean) for times in (2, 30))
    assert many.high - many.low < few.high - few.low


def test_rounds_that_agree_leave_no_doubt() -> None:
    assert bootstrap([(2.0, 4.0)] * 5, median_of_ratios) == exactly(0.5) == Estimate(0.5, 0.5, 0.5)


def test_the_interval_always_holds_its_value() -> None:
    worst = bootstrap([1.0, 2.0, 50.0], max)
    assert worst.low <= worst.value == worst.high == 50.0


def test_without_a_sample_there_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="no sample"):
        bootstrap([], mean)
