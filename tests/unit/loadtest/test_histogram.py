"""Histograms: never less than what was recorded, at most 0.8 % more, and merging loses nothing."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import Histogram, merged

VALUES = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


def of(values: list[int]) -> Histogram:
    """Record all."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, st.floats(0.01, 1))
def test_a_quantile_is_that_of_the_values_within_a_hundredth(values: list[int], share: float) -> None:
    """Whatever was recorded."""
    exact = next(value for number, value in enumerate(sorted(values), 1) if number >= share * len(values))
    assert exact <= of(values).quantile(share) <= max(exact * 1.008, exact)


@given(VALUES, VALUES)
def test_merging_is_recording_all_in_one(first: list[int], second: list[int]) -> None:
    """So that processes and machines add up."""
    assert merged([of(first), of(second)]) == of(first + second)


def test_the_highest_and_the_mean_are_exact() -> None:
    """They are no buckets."""
    histogram = of([1, 2, 1_000_003])
    assert (histogram.quantile(1), histogram.mean, histogram.count) == (1_000_003, 1_000_006 / 3, 3)


def test_nothing_recorded_is_zero_everywhere() -> None:
    """And a negative duration, of clocks that differ, is none."""
    assert (Histogram().quantile(0.5), Histogram().mean, list(Histogram().curve())) == (0, 0, [])
    assert of([-5]).quantiles([0.5, 1]) == [0, 0]


def test_the_curve_ends_with_all_at_the_highest() -> None:
    """It is drawn."""
    assert list(of([1, 1, 2, 300]).curve()) == [(0.5, 1), (0.75, 2), (1, 300)]


def test_it_survives_json() -> None:
    """Results are kept as JSON."""
    histogram = of([5, 700, 70_000])
    assert msgspec.json.decode(msgspec.json.encode(histogram), type=Histogram) == histogram
