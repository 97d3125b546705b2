import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap._stats import count
from fastcap.histograms import PAGE_BINS, Histogram

FINE = 2.0**-26
RNG = np.random.default_rng
VALUES = {
    "walk": np.cumsum(RNG(1).normal(0, 0.3, 50_000)),
    "walk far out": 1e6 + np.cumsum(RNG(1).normal(0, 1e-3, 50_000)),
    "ramp": np.linspace(-3e6, 5e6, 50_001),
    "still with glitches": 0.01 * RNG(2).standard_normal(50_000) + 1e5 * (RNG(3).random(50_000) < 1e-3),
    "two places": np.where(RNG(4).random(50_000) < 0.5, -7.5, 1e6) + RNG(5).normal(0, 1e-2, 50_000),
    "everywhere": RNG(6).normal(0, 1, 50_000) * 10.0 ** RNG(7).integers(-6, 9, 50_000),
    "integers": RNG(8).integers(-(2**23), 2**23, 50_000).astype(float),
    "equal": np.full(50_000, 3.25),
}


def of(values, block=None, **options):
    histogram = Histogram(FINE, 64) if not options else Histogram(**options)
    for at in range(0, len(values), block or len(values)):
        histogram.add(values[at : at + (block or len(values))])
    return histogram


def state(histogram):
    histogram._flush()
    return histogram.width, {page: bins.tolist() for page, bins in histogram._pages.items()}


@pytest.mark.parametrize("name", VALUES)
def test_counts_are_those_of_numpy(name):
    values = VALUES[name]
    histogram = of(values, 1000)
    width, pages = state(histogram)

    keys, counts = np.unique(np.floor(values / width).astype(np.int64), return_counts=True)
    found = {page * PAGE_BINS + k: n for page, bins in pages.items() for k, n in enumerate(bins) if n}
    assert found == dict(zip(keys.tolist(), counts.tolist(), strict=True))
    assert histogram.count == len(values)
    assert len(pages) <= 64


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("block", [997, 20_000])
def test_blocks_order_and_merging_change_nothing(name, block):
    values = VALUES[name]
    whole = state(of(values))
    merged = of(values[30_000:], block)
    merged.merge(of(values[:30_000], block))

    assert state(of(values, block)) == whole
    assert state(of(values[::-1].copy(), block)) == whole
    assert state(merged) == whole


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 1.0, 1e-9])
def test_quantiles_are_within_half_a_bin_of_the_exact_ones(name, share):
    values = VALUES[name]
    histogram = of(values, 5000)
    exact = np.quantile(values, share, method="inverted_cdf")

    assert abs(histogram.quantile(share) - exact) <= histogram.width / 2
    assert histogram.width <= max(FINE, np.ptp(values) / 2**14)


def test_one_value_far_out_costs_the_others_no_resolution():
    values = RNG(1).normal(0, 1e-3, 50_000)
    alone = of(values).width
    values[777] = 1e6

    assert of(values, 1000).width <= 2 * alone


@given(st.lists(st.floats(-1e12, 1e12), max_size=60), st.integers(1, 9))
def test_any_values_are_all_counted(values, block):
    array = np.array(values)
    histogram = of(array, block, least_width=2.0**-8, most_pages=2)

    assert histogram.count == len(values)
    if values:
        exact = np.quantile(array, 0.5, method="inverted_cdf")
        assert abs(histogram.quantile(0.5) - exact) <= histogram.width / 2 + 1e-9 * abs(exact)


def test_what_is_not_finite_is_not_counted():
    histogram = of(np.array([1.0, np.nan, 2.0, np.inf, -np.inf] * 2000), 100)

    assert histogram.count == 4000
    assert histogram.bars(10)[1].sum() == 4000


def test_of_nothing_there_is_nothing():
    histogram = Histogram()
    histogram.add(np.zeros(0))

    assert histogram.count == 0
    assert histogram.quantile(0.5) is None
    assert histogram.to_dict() == {"first": 0.0, "width": 1.0, "counts": []}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("most", [1, 7, 256])
def test_bars_hold_every_value_and_are_few(name, most):
    if most == 1 and name not in ("equal", "integers"):
        most = 2  # no bin width joins what lies on both sides of 0
    values = np.abs(VALUES[name]) if most == 1 else VALUES[name]
    edges, counts = of(values, 5000).bars(most)

    assert len(counts) <= most
    assert len(edges) == len(counts) + 1
    np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])
    assert counts.sum() == len(values)


def test_the_report_holds_few_bars_in_strict_json():
    shown = of(VALUES["walk"]).to_dict()

    json.dumps(shown, allow_nan=False)
    assert len(shown["counts"]) <= 256
    assert sum(shown["counts"]) == 50_000
    assert shown["first"] <= VALUES["walk"].min() < shown["first"] + shown["width"]


@pytest.mark.parametrize("spread", [3.0, 1e5, 1e7, 1e8])  # a page is of 65,536 turns, or of many times that
@pytest.mark.parametrize("periods", [3, -5, 1000])
def test_a_shift_by_whole_bins_is_exact(spread, periods):
    values = np.round(RNG(1).normal(0, spread, 50_000) * 1024) / 1024  # that a sum holds exactly
    histogram = of(values, 1000)
    histogram.shift(65536.0 * periods)

    assert state(histogram) == state(of(values + 65536.0 * periods, 1000))
    with pytest.raises(ValueError, match="whole number of bins"):
        histogram.shift(0.1)


def test_a_pickled_histogram_goes_on():
    histogram = of(VALUES["walk"][:25_000], 1000)
    copied = pickle.loads(pickle.dumps(histogram))
    copied.add(VALUES["walk"][25_000:])

    assert state(copied) == state(of(VALUES["walk"]))


def test_merging_leaves_the_other_unchanged():
    one, other = of(np.array([1e6])), of(VALUES["equal"])
    before = state(other)
    one.merge(other)

    assert state(other) == before
    assert one.count == 50_001


def test_a_width_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        Histogram(0.1)


def test_the_kernel_writes_nothing_outside_the_bins():
    bins = np.zeros(6, np.int64)
    count(np.array([-1e300, -0.5, 0.0, 4.9, 5.0, 1e300, np.nan, np.inf] * 20), 1.0, 0.0, bins[:])

    assert bins.tolist() == [20, 0, 0, 0, 20, 120]
    with pytest.raises(ValueError, match="1 bins"):
        count(np.zeros(3), 1.0, 0.0, bins[:1])
