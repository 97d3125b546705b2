import json
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap._stats import Moments
from fastcap.moments import RunningStats


def exact(values):
    """Return mean, standard deviation and standardised moments by exact sums, and each one's scale.

    A moment of odd order is a difference of two sums; their size, not the difference's, is what counts.
    """
    values = np.asarray(values, dtype=np.float64)
    mean = math.fsum(values) / len(values)
    off = values - mean
    off -= math.fsum(off) / len(values)  # what rounding the mean left
    std = math.sqrt(math.fsum(off**2) / len(values))
    found = {"mean": (mean, abs(mean)), "std": (std, std)}
    for name, p in (("skewness", 3), ("kurtosis", 4), ("moment5", 5), ("moment6", 6)):
        found[name] = tuple(math.fsum(part) / len(values) / std**p for part in (off**p, abs(off) ** p))
    return found


def check(stats, values, reference=None):
    result = stats.to_dict()
    assert result["count"] == len(values)
    for name, (value, scale) in (reference or exact(values)).items():
        assert abs(result[name] - value) <= 1e-12 * scale, name
    assert (result["min"], result["max"]) == (min(values), max(values))


VALUES = {
    "large mean, tiny spread": 1e6 + 1e-3 * np.random.default_rng(1).standard_normal(2000),
    "outlier first": np.concatenate([[1e6], np.random.default_rng(2).standard_normal(2000)]),
    "ramp": np.linspace(-1e9, 2e9, 2001),
    "step": np.repeat([1e7, 1e7 + 1e-4, -3.0], 700),
    "skewed": np.random.default_rng(4).exponential(1.0, 2000) + 5e5,
}
EXACT = {name: exact(values) for name, values in VALUES.items()}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("block", [1, 7, 500, 5000])
def test_any_blocks_give_twelve_digits(name, block):
    values = VALUES[name]
    stats = RunningStats()
    for start in range(0, len(values), block):
        stats.update(values[start : start + block])

    check(stats, values, EXACT[name])


@pytest.mark.parametrize("name", VALUES)
def test_merging_in_any_order_gives_twelve_digits(name):
    parts = [RunningStats() for _ in range(5)]
    for part, values in zip(parts, np.array_split(VALUES[name], 5), strict=True):
        part.update(values)
    total = RunningStats()
    for part in (parts[3], parts[0], RunningStats(), parts[4], parts[1], parts[2]):
        total.merge(part)

    check(total, VALUES[name], EXACT[name])


def test_a_block_of_several_pieces_gives_twelve_digits():
    values = 5e5 + np.random.default_rng(3).standard_normal(20_011)
    stats = RunningStats()
    stats.update(values)

    check(stats, values)


def test_a_phase_of_a_million_turns_keeps_its_shape():
    values = 1e6 + np.cumsum(np.random.default_rng(6).normal(0, 1e-4, 20_000))
    stats = RunningStats()
    for block in np.array_split(values, 13):
        stats.update(block)

    check(stats, values)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40), st.integers(1, 9))
def test_even_moments_are_never_negative(values, block):
    stats = RunningStats()
    for start in range(0, len(values), block):
        stats.update(values[start : start + block])

    assert stats.std >= 0
    assert stats.kurtosis is None or stats.kurtosis >= 1 - 1e-9
    assert stats.moment6 is None or stats.moment6 >= 1 - 1e-9
    assert stats.mean == pytest.approx(exact_mean(values), rel=1e-12, abs=1e-12 * max(map(abs, values)))


def exact_mean(values):
    return float(sum(map(Fraction, values)) / len(values))


def test_equal_values_have_no_spread_and_no_shape():
    stats = RunningStats()
    stats.update([0.1] * 12_345)
    result = stats.to_dict()

    assert (result["count"], result["mean"], result["std"], result["min"]) == (12_345, 0.1, 0.0, 0.1)
    assert [result[name] for name in ("skewness", "kurtosis", "moment5", "moment6")] == [None] * 4


def test_moments_of_a_normal_distribution_are_the_textbooks():
    stats = RunningStats()
    stats.update(np.random.default_rng(7).normal(3.0, 2.0, 1_000_000))

    assert stats.skewness == pytest.approx(0, abs=0.02)
    assert stats.kurtosis == pytest.approx(3, abs=0.03)
    assert stats.moment5 == pytest.approx(0, abs=0.2)
    assert stats.moment6 == pytest.approx(15, abs=0.5)


def test_merging_leaves_the_other_unchanged():
    one, other = RunningStats(), RunningStats()
    one.update([1.0, 2.0])
    other.update([4.0])
    before = other.to_dict()
    one.merge(other)

    assert other.to_dict() == before
    assert one.count == 3


def test_merging_with_itself_counts_everything_twice():
    stats = RunningStats()
    stats.update([1.0, 2.0, 4.0])
    stats.merge(stats)

    check(stats, [1.0, 2.0, 4.0] * 2)


def test_a_shift_moves_where_the_values_are_and_not_their_shape():
    values = np.random.default_rng(8).exponential(1.0, 1000)
    stats = RunningStats()
    stats.update(values)
    before = stats.to_dict()
    stats.shift(65536.0 * 20)
    after = stats.to_dict()

    assert after["mean"] == pytest.approx(before["mean"] + 65536 * 20, rel=1e-15)
    assert after["min"] == values.min() + 65536 * 20
    assert [after[k] for k in ("std", "skewness", "moment6")] == [
        before[k] for k in ("std", "skewness", "moment6")
    ]


def test_pickled_statistics_go_on_bit_for_bit():
    values = np.random.default_rng(9).normal(1e6, 1e-3, 3000)
    stats = RunningStats()
    stats.update(values[:1000])
    copied = pickle.loads(pickle.dumps(stats))
    for one in (stats, copied):
        one.update(values[1000:])

    assert copied.to_dict() == stats.to_dict()
    check(copied, values)


def test_no_values_give_none_and_strict_json():
    result = RunningStats().to_dict()

    json.dumps(result, allow_nan=False)
    assert result.pop("count") == 0
    assert set(result.values()) == {None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_value_that_is_not_finite_never_reaches_the_result(value):
    stats = RunningStats()
    stats.update([1.0, value, 2.0])
    stats.update([3.0])
    result = stats.to_dict()

    json.dumps(result, allow_nan=False)
    assert result["count"] == 4
    assert {result[name] for name in result if name != "count"} == {None}


def test_an_order_that_is_not_kept_is_refused():
    with pytest.raises(ValueError, match="order 7"):
        Moments().central(7)
