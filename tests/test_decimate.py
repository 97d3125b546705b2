"""The phase at a lower rate is scipy's, however the words were cut, and never smeared over a gap."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
from fibre_files import NIGHT, RATE, decimated_at_once, fibre_words
from scipy import signal

from fastcap import _stored, decimate
from fastcap.decimate import phase_at, stages, times_at
from fastcap.sidecar import Gap
from fastcap.trace import Trace
from fastcap.words import encode


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.from_words(fibre_words(0, 100_000), sample_rate=RATE, start=NIGHT)


@pytest.mark.parametrize("rate", ["5kHz", "400Hz", "16Hz"])
def test_decimated_phase_is_scipy_s_in_one_piece(trace, rate):
    factor = round(RATE / {"5kHz": 5000, "400Hz": 400, "16Hz": 16}[rate])
    found = phase_at(trace, rate)

    np.testing.assert_allclose(found, decimated_at_once(trace.phase(), factor), rtol=0, atol=1e-9)
    plain = signal.decimate(trace.phase(), factor, ftype="fir")
    np.testing.assert_allclose(found[11:-11], plain[11:-11], rtol=0, atol=1e-9)


def test_the_trace_s_own_method_is_the_same(trace):
    np.testing.assert_array_equal(trace.phase(rate="400Hz"), phase_at(trace, 400))


def test_the_same_rate_is_the_phase_itself(trace):
    np.testing.assert_array_equal(phase_at(trace, RATE), trace.phase())


@pytest.mark.parametrize(("piece", "batch"), [(1, 1), (7, 1), (1000, 50), (4096, 1 << 18), (1 << 18, 130)])
def test_any_piece_size_gives_the_same(trace, monkeypatch, piece, batch):
    window = trace[300:12_345]
    whole = phase_at(window, "400Hz")
    monkeypatch.setattr(_stored, "PIECE_WORDS", piece)
    monkeypatch.setattr(decimate, "_BATCH_WORDS", batch)

    np.testing.assert_allclose(phase_at(window, "400Hz"), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("begin", [1, 24, 25, 70_001])
def test_a_window_is_filtered_by_itself_and_unwrapped_from_the_file_s_first_word(trace, begin):
    found = phase_at(trace[begin : begin + 20_003], "400Hz")

    expected = decimated_at_once(trace.phase()[begin : begin + 20_003], 25)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_nothing_is_filtered_over_a_gap(trace):
    words = trace.words
    kept = np.concatenate([words[:40_010], words[50_007:]])
    torn = Trace.from_words(kept, sample_rate=RATE, gaps=[Gap(40_010, 40_010, 9_997, "ring")])

    found = phase_at(torn, "400Hz")

    before, behind = torn.phase()[:40_010], torn.phase()[40_010:]
    inside = np.arange(4000) * 25
    np.testing.assert_array_equal(np.isnan(found), (inside >= 40_010) & (inside < 50_007))
    np.testing.assert_allclose(found[:1601], decimated_at_once(before, 25), rtol=0, atol=1e-9)
    # word 50,007 is 18 words before a multiple of 25
    taps = signal.firwin(501, 1 / 25, window="hamming")
    extended = np.pad(behind, 250, mode="reflect", reflect_type="odd")
    expected = np.convolve(extended, taps, "valid")[18::25]
    np.testing.assert_allclose(found[2001:], expected, rtol=0, atol=1e-9)


def test_what_is_too_short_to_be_filtered_is_missing(trace):
    kept = np.concatenate([trace.words[:10_000], trace.words[20_000:20_200], trace.words[30_000:]])
    gaps = [Gap(10_000, 10_000, 10_000, "ring"), Gap(10_200, 20_200, 9_800, "ring")]
    found = phase_at(Trace.from_words(kept, sample_rate=RATE, gaps=gaps), "400Hz")

    assert np.isnan(found[400:1200]).all()
    assert not np.isnan(found[:400]).any()
    assert not np.isnan(found[1200:]).any()


def test_two_stages_are_two_decimations_of_scipy_s(trace, monkeypatch):
    monkeypatch.setattr(decimate, "_MAX_STAGE", 30)
    assert stages(100) == (25, 4)

    found = phase_at(trace[7:], "100Hz")

    once = decimated_at_once(trace.phase()[7:], 25)
    np.testing.assert_allclose(found, decimated_at_once(once, 4), rtol=0, atol=1e-9)


def test_a_large_factor_without_two_that_are_small_enough_is_refused():
    with pytest.raises(ValueError, match="not a product of two factors up to 32768; give a rounder rate"):
        stages(32_771 * 2)


@pytest.mark.parametrize(("share", "gain"), [(0.1, 1.0), (0.41, 1.0), (0.59, 0.0), (0.9, 0.0)])
def test_the_filter_keeps_what_the_new_rate_holds_and_damps_the_rest(share, gain):
    t = np.arange(200_000)
    tone = np.sin(2 * np.pi * share / 50 * t)
    found = phase_at(Trace.from_words(encode(tone, 8e6), sample_rate=RATE), 200)[20:-20]

    wanted = gain * tone[::50][20:-20]  # in step with it: no delay
    assert np.abs(found - wanted).max() < 10 ** (-50 / 20)


def test_a_drift_stays_a_drift_up_to_the_last_value():
    drift = np.arange(50_000) * 0.25
    found = phase_at(Trace.from_words(encode(drift, 1e6), sample_rate=RATE), 100)

    np.testing.assert_allclose(found, drift[::100], atol=1e-5)


def test_memory_does_not_grow_with_the_trace():
    def peak(words):
        trace = Trace.from_words(words, sample_rate=2_000_000)
        tracemalloc.start()
        phase_at(trace, "400Hz")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    words = np.zeros(1 << 20, np.uint64)
    phase_at(Trace.from_words(words, sample_rate=2_000_000), "400Hz")  # scipy's import, the taps
    assert peak(np.zeros(1 << 22, np.uint64)) < 1.1 * peak(words)


def test_a_rate_that_does_not_divide_is_refused_with_the_nearest_that_do(trace):
    with pytest.raises(
        ValueError, match=r"rate 333 Hz .*: Fraction\(1000, 3\) = 333.3.*, Fraction\(10000, 31\)"
    ):
        phase_at(trace, 333)

    assert phase_at(trace, Fraction(1000, 3)).size == -(-100_000 // 30)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), "20kHz", "fast"])
def test_a_rate_that_is_none_is_refused(trace, rate):
    with pytest.raises(ValueError, match="rate"):
        phase_at(trace, rate)


def test_an_unknown_word_rate_or_a_trace_that_is_too_short_is_refused(trace):
    with pytest.raises(ValueError, match="word rate is not known"):
        phase_at(Trace.from_words(trace.words), 400)
    with pytest.raises(
        ValueError, match=r"longer than 0\.025 s, half the filter's length for 400 Hz; give a higher"
    ):
        phase_at(trace[:250], 400)


def test_times_are_exact_to_the_nanosecond():
    start = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
    trace = Trace.from_words(np.zeros(90_000, np.uint64), sample_rate=Fraction(10_000_000, 3), start=start)

    times = times_at(trace, Fraction(10_000_000, 3 * 7))

    assert times.size == -(-90_000 // 7)
    whole = np.datetime64("2026-11-22T10:00:00.123456", "ns").astype(np.int64)
    expected = [int(whole) + k * 7 * 300 for k in (0, 1, 12_857)]
    assert times[[0, 1, 12_857]].astype(np.int64).tolist() == expected
    third = times_at(Trace.from_words(np.zeros(99, np.uint64), sample_rate=3, start=start), 3)
    assert [int(t) - int(whole) for t in third[1:4].astype(np.int64)] == [
        333_333_333,
        666_666_666,
        1_000_000_000,
    ]


def test_times_need_a_start(trace):
    with pytest.raises(ValueError, match="is not known; count k/rate"):
        times_at(Trace.from_words(trace.words, sample_rate=RATE), 400)
