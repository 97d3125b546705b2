import json
import pickle
from itertools import pairwise

import numpy as np
import pytest
from test_moments import check

from fastcap.stats import TRANSIENT_WORDS, TraceStats
from fastcap.words import Carry, encode, phase, radius, split_iqm


def trace(count, turns=150_000.0):
    rng = np.random.default_rng(5)
    return encode(np.linspace(0, turns, count), 1e6 + rng.normal(0, 100, count))


def wild(count, seed=6):
    """Return words whose M rolls over often, both ways."""
    return encode(np.cumsum(np.random.default_rng(seed).uniform(-9000, 9000, count)), 4e6)


def of(words, block=10_000, **options):
    stats = TraceStats(**{"skip_words": 0, **options})
    for start in range(0, len(words), block):
        stats.update(words[start : start + block])
    return stats


def assert_same(one, other):
    """Compare two results to twelve digits; counts and bins exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-12, abs=1e-12)
    else:
        assert one == other


@pytest.mark.parametrize("block", [977, 17_000, 100_000])
def test_trace_leaves_out_the_transient_but_not_its_rollovers(block):
    words = trace(30_000)
    stats = of(words, block, skip_words=TRANSIENT_WORDS)
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
    result = stats.to_dict()

    json.dumps(result, allow_nan=False)
    assert result["skipped_words"] == 500
    assert result["radius"]["mean"] is result["phase_turns"]["range"] is result["single_mode"] is None
    assert set(result["phase_turns"]["percentiles"].values()) == {None}


def test_what_a_notebook_shows_of_statistics():
    stats = TraceStats(2)
    assert repr(stats) == "<TraceStats of 0 words, the first 0 left out>"
    stats.update(np.array([5, 5, (-3 & 0xFFFF) << 48 | 4, (-5 & 0xFFFF) << 48 | 8], np.uint64))
    assert repr(stats) == (
        "<TraceStats of 4 words, the first 2 left out; phase 4, std 1 turns; radius 6, std 2 ADC counts>"
    )


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


@pytest.mark.parametrize("make", [trace, wild])
@pytest.mark.parametrize("block", [1013, 32_768, 100_000])
def test_how_the_stream_is_cut_changes_nothing(make, block):
    words = make(100_000)
    options = {"rate": 2e6, "segment_words": 4096, "step_words": 2048}

    assert_same(of(words, 7_777, **options).to_dict(), of(words, block, **options).to_dict())


@pytest.mark.parametrize("make", [trace, wild])
def test_percentiles_are_within_the_stated_bound(make):
    words = make(70_000)
    stats = of(words)

    turns = phase(words)
    for percent, found in stats.percentiles.items():
        exact = np.quantile(turns, percent / 100, method="inverted_cdf")
        assert abs(found - exact) <= stats.percentile_error_turns
    assert stats.percentiles[100] == turns.max()
    assert stats.percentile_error_turns <= np.ptp(turns) / 2**15


def test_histograms_count_every_word():
    words = trace(70_000)
    stats = of(words)

    i, q, _ = split_iqm(words)
    for histogram, values in (
        (stats.i_histogram, i),
        (stats.q_histogram, q),
        (stats.radius_histogram, radius(words)),
    ):
        edges, counts = histogram.bars(50)
        np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])
        assert counts.sum() == len(words)


@pytest.mark.parametrize(("tolerance", "expected"), [(100.0, True), (99.9, False)])
def test_single_mode_is_a_range_within_the_tolerance(tolerance, expected):
    words = encode(np.array([5.0, 105.0, 30.0]), 1e6)

    assert of(words, tolerance_turns=tolerance).single_mode is expected
    assert of(words, tolerance_turns=tolerance).to_dict()["single_mode_tolerance_turns"] == tolerance


def test_a_report_of_everything_is_strict_json_of_a_sensible_size():
    result = of(wild(100_000), rate=1e5).to_dict()

    text = json.dumps(result, allow_nan=False)
    assert len(text) < 30_000
    assert result["psd"]["segments"] == 2
    assert sum(result["histograms"]["radius"]["counts"]) == 100_000


@pytest.mark.parametrize("cuts", [[50_000], [1, 2, 3], [10_000, 10_000, 65_536], [99_999]])
def test_chunks_of_a_stream_taken_apart_and_appended_are_one_pass(cuts):
    words = wild(100_000)
    edges = [0, *cuts, len(words)]
    parts = [of(words[a:b], 7_000) for a, b in pairwise(edges)]
    total = parts[0]
    for part in parts[1:]:
        total.append(part)

    assert_same(of(words).to_dict(), total.to_dict())
    check(total.phase, phase(words))
    total.update(wild(1000, seed=9))  # the stream goes on as if there had been one pass
    whole = of(words)
    whole.update(wild(1000, seed=9))
    assert_same(whole.to_dict(), total.to_dict())


@pytest.mark.parametrize("turns", [4.1e6, 4.3e6, 2e7, 3e8])
def test_chunks_that_turn_by_millions_are_appended(turns):
    """Bins are then so wide that a period of M is no whole number of pages of them."""
    words = trace(40_000, turns)
    total = of(words[:13_000])
    total.append(of(words[13_000:30_001]))
    total.append(of(words[30_001:]))

    assert_same(of(words).to_dict(), total.to_dict())


def test_appending_groups_first_is_the_same():
    words = wild(60_000)
    a, b, c = (of(words[at : at + 20_000]) for at in range(0, 60_000, 20_000))
    b.append(c)
    a.append(b)

    assert_same(of(words).to_dict(), a.to_dict())


def test_appending_leaves_the_chunk_as_it_was():
    words = wild(20_000)
    first, second = of(words[:10_000]), of(words[10_000:])
    before = second.to_dict()
    first.append(second)

    assert second.to_dict() == before


def test_merged_streams_keep_their_own_turns():
    one, other = encode(np.array([5.0, 6.0]), 1e6), encode(np.array([40_000.0, -7.0]), 1e6)
    total = of(one)
    total.merge(of(other))

    check(total.phase, np.concatenate([phase(one), phase(other)]))
    assert total.words == 4


def test_a_carry_says_what_came_before():
    words = trace(30_000)
    carry = Carry()
    phase(words[:20_000], None, carry)
    stats = of(words[20_000:], carry=carry)

    check(stats.phase, phase(words)[20_000:])


def test_pickled_statistics_go_on():
    words = wild(40_000)
    stats = of(words[:20_000], rate=2e6, segment_words=1024, step_words=1500)
    copied = pickle.loads(pickle.dumps(stats))
    copied.update(words[20_000:])

    assert_same(of(words, rate=2e6, segment_words=1024, step_words=1500).to_dict(), copied.to_dict())


def test_shifts_are_whole_periods_of_m():
    stats = of(trace(1000))

    assert stats.shifted(65_536 * 3).phase.minimum == stats.phase.minimum + 65_536 * 3
    assert stats.shifted(0).to_dict() == stats.to_dict()
    with pytest.raises(ValueError, match="periods of 65536"):
        stats.shifted(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"skip_words": -1}, "transient"), ({"tolerance_turns": float("nan")}, "tolerance")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TraceStats(**options)


def test_the_spectrum_takes_five_segments_a_second_unless_told_otherwise():
    words = wild(40_000)

    assert of(words, rate=1e5, segment_words=1024).psd.segments == 2
    assert of(words, rate=1e5, segment_words=1024, step_words=512).psd.segments == 77
    assert of(words).psd is None


def test_a_spectrum_on_one_side_alone_cannot_be_merged():
    with pytest.raises(ValueError, match="give both a rate"):
        of(trace(100)).merge(of(trace(100), rate=1e6))
