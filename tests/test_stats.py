import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.stats import RunningStats, TraceStats
from fastcap.words import encode, phase, radius


def exact(values):
    """Mean and standard deviation by exact rational sums."""
    fractions = [Fraction(float(value)) for value in values]
    mean = sum(fractions) / len(fractions)
    variance = sum((value - mean) ** 2 for value in fractions) / len(fractions)
    return float(mean), math.sqrt(variance)


def check(stats, values):
    mean, std = exact(values)
    result = stats.to_dict()
    assert result["count"] == len(values)
    assert result["mean"] == pytest.approx(mean, rel=1e-12, abs=0)
    assert result["std"] == pytest.approx(std, rel=1e-12, abs=0)
    assert (result["min"], result["max"]) == (min(values), max(values))


VALUES = {
    "large mean, tiny spread": 1e6 + 1e-3 * np.random.default_rng(1).standard_normal(2000),
    "outlier first": np.concatenate([[1e6], np.random.default_rng(2).standard_normal(2000)]),
    "ramp": np.linspace(-1e9, 2e9, 2001),
    "step": np.repeat([1e7, 1e7 + 1e-4, -3.0], 700),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("block", [1, 7, 500, 5000])
def test_any_blocks_give_twelve_digits(name, block):
    values = VALUES[name]
    stats = RunningStats()
    for start in range(0, len(values), block):
        stats.update(values[start : start + block])

    check(stats, values)


@pytest.mark.parametrize("name", VALUES)
def test_merging_in_any_order_gives_twelve_digits(name):
    parts = [RunningStats() for _ in range(5)]
    for part, values in zip(parts, np.array_split(VALUES[name], 5), strict=True):
        part.update(values)
    total = RunningStats()
    for part in (parts[3], parts[0], RunningStats(), parts[4], parts[1], parts[2]):
        total.merge(part)

    check(total, VALUES[name])


def test_more_than_one_piece_in_a_block_gives_twelve_digits():
    values = 5e5 + np.random.default_rng(3).standard_normal(40_000)
    stats = RunningStats()
    stats.update(values)

    check(stats, values)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40), st.integers(1, 9))
def test_spread_is_never_imaginary(values, block):
    stats = RunningStats()
    for start in range(0, len(values), block):
        stats.update(values[start : start + block])

    assert stats.std >= 0
    assert stats.mean == pytest.approx(exact(values)[0], rel=1e-12, abs=1e-12 * max(map(abs, values)))


def test_equal_values_have_no_spread():
    stats = RunningStats()
    stats.update([0.1] * 12_345)

    assert stats.to_dict() == {"count": 12_345, "mean": 0.1, "std": 0.0, "min": 0.1, "max": 0.1}


def test_merging_leaves_the_other_unchanged():
    one, other = RunningStats(), RunningStats()
    one.update([1.0, 2.0])
    other.update([4.0])
    before = other.to_dict()
    one.merge(other)

    assert other.to_dict() == before
    assert one.count == 3


def test_no_values_give_none_and_strict_json():
    result = TraceStats().to_dict()

    json.dumps(result, allow_nan=False)
    assert result["radius"] == {"count": 0, "mean": None, "std": None, "min": None, "max": None}
    assert result["phase_turns"]["range"] is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_never_reaches_the_result(value):
    stats = RunningStats()
    stats.update([1.0, value, 2.0])
    stats.update([3.0])
    result = stats.to_dict()

    json.dumps(result, allow_nan=False)
    assert result["count"] == 4
    assert result["mean"] is None
    assert result["max" if value > 0 or math.isnan(value) else "min"] is None


def trace(count, turns=150_000.0):
    rng = np.random.default_rng(5)
    return encode(np.linspace(0, turns, count), 1e6 + rng.normal(0, 100, count))


@pytest.mark.parametrize("block", [977, 17_000, 100_000])
def test_trace_leaves_out_the_transient_but_not_its_rollovers(block):
    words = trace(30_000)
    stats = TraceStats()
    for start in range(0, len(words), block):
        stats.update(words[start : start + block])
    result = stats.to_dict()

    kept = phase(words)[12_000:]
    assert (result["words"], result["skipped_words"]) == (30_000, 12_000)
    check(stats.radius, radius(words)[12_000:])
    check(stats.phase, kept)
    assert result["phase_turns"]["range"] == kept.max() - kept.min() == stats.phase_range_turns
    assert kept.min() > 59_000


def test_trace_shorter_than_the_transient_has_no_statistics():
    stats = TraceStats()
    stats.update(trace(500))

    assert stats.to_dict()["skipped_words"] == 500
    assert stats.to_dict()["radius"]["mean"] is None


def test_gap_counts_as_time_of_the_transient_and_keeps_the_turns():
    words = trace(30_000)
    stats = TraceStats(skip_words=10_000)
    stats.update(words[:4_000])
    stats.gap(5_500)
    stats.update(words[9_500:])
    result = stats.to_dict()

    assert (result["words"], result["skipped_words"]) == (24_500, 4_500)
    assert result["phase_turns"]["max"] == pytest.approx(phase(words).max(), rel=1e-12)
    assert result["phase_turns"]["count"] == 20_000


def test_what_is_not_words_is_refused_and_not_counted():
    stats = TraceStats(skip_words=0)
    for wrong in (np.zeros(5), np.zeros(0)):
        with pytest.raises(ValueError, match="uint64"):
            stats.update(wrong)

    assert stats.to_dict()["words"] == stats.to_dict()["radius"]["count"] == 0
