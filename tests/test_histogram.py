"""Latency histograms: error bound, addition, serialisation."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.histogram import LatencyHistogram

HOUR_NS = 3600 * 10**9
STATED_ERROR = 1 / 256
durations_ns = st.one_of(st.integers(0, 2000), st.integers(1000, 10**7), st.integers(0, HOUR_NS))


def of(values: list[int]) -> LatencyHistogram:
    made = LatencyHistogram()
    for value in values:
        made.record(value)
    return made


@given(durations_ns)
def test_one_value_is_found_within_the_stated_error_at_every_percentile(value: int) -> None:
    # a second, larger value keeps the maximum from correcting the bucket's middle
    histogram = of([value, 2 * HOUR_NS])

    assert histogram.percentile(50) == pytest.approx(value / 1e9, rel=STATED_ERROR, abs=0)


@given(st.lists(durations_ns, min_size=1, max_size=200), st.sampled_from([0.0, 1, 50, 99, 99.9, 100]))
def test_percentile_is_near_the_value_of_that_rank(values: list[int], percent: float) -> None:
    ranked = sorted(values)
    rank = next(k for k in range(1, len(ranked) + 1) if k * 100 >= percent * len(ranked))

    assert of(values).percentile(percent) == pytest.approx(ranked[rank - 1] / 1e9, rel=STATED_ERROR, abs=0)


@given(st.lists(durations_ns), st.lists(durations_ns))
def test_merged_is_the_histogram_of_both(first: list[int], second: list[int]) -> None:
    merged = of(first)
    merged.merge(of(second))

    assert merged.to_dict() == of(first + second).to_dict()
    assert merged.count == len(first) + len(second)


@given(st.lists(durations_ns))
def test_json_carries_it_whole(values: list[int]) -> None:
    histogram = of(values)

    carried = LatencyHistogram.from_json(json.loads(json.dumps(histogram.to_json())))

    assert carried.to_json() == histogram.to_json()
    assert carried.to_dict() == histogram.to_dict()


def test_merging_with_itself_counts_twice() -> None:
    histogram = of([5, 7000])
    histogram.merge(histogram)

    assert (histogram.count, histogram.max_ns) == (4, 7000)


def test_maximum_is_exact_and_no_percentile_exceeds_it() -> None:
    histogram = of([123_456_789])

    assert histogram.to_dict() == dict.fromkeys(["p50", "p99", "p999", "max"], pytest.approx(0.123456789)) | {
        "count": 1
    }
    assert histogram.to_dict()["max"] == 0.123456789
    assert all(histogram.percentile(p) <= 0.123456789 for p in (0, 50, 100))  # type: ignore[operator]


def test_what_was_not_measured_is_none() -> None:
    assert LatencyHistogram().to_dict() == {"p50": None, "p99": None, "p999": None, "max": None, "count": 0}


def test_negative_duration_is_refused_and_not_counted() -> None:
    histogram = LatencyHistogram()

    with pytest.raises(ValueError, match="-1 ns is negative"):
        histogram.record(-1)
    assert histogram.count == 0


@pytest.mark.parametrize("percent", [-1, 100.5])
def test_percentile_outside_its_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.100"):
        of([1]).percentile(percent)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"buckets": {}},
        {"buckets": [], "max_ns": None},
        {"buckets": {"x": 1}, "max_ns": 1},
        {"buckets": {"1": -1}, "max_ns": 1},
        {"buckets": {"1": 1}, "max_ns": None},
        {"buckets": {}, "max_ns": 3},
        None,
    ],
)
def test_what_is_no_histogram_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        LatencyHistogram.from_json(value)  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_number_of_records() -> None:
    histogram = LatencyHistogram()
    for k in range(200_000):
        histogram.record(1000 + k % 997)

    assert len(histogram.to_json()["buckets"]) <= 2 * 128
