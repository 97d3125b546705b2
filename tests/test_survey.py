"""What a picture of a trace shows: no spike is missed, gaps stay empty, samples are what they say."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.signal import periodogram

from fastcap import Trace, _survey
from fastcap._gaps import file_word, source_words
from fastcap._shown import power
from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap
from fastcap.words import encode

RATE = 2_000_000


def signal(n: int, turns_per_word: float = 1e-4) -> Any:
    return encode(np.arange(n) * turns_per_word, np.full(n, 30_000.0))


def trace_of(words: Any, *gaps: Gap, rate: Fraction | int | None = RATE) -> Trace:
    return Trace.from_words(words, sample_rate=rate, gaps=gaps)


@pytest.mark.parametrize("at", [0, 65_535, 65_536, 123_456, 199_999])
def test_a_spike_of_one_word_is_seen_in_its_column(at: int) -> None:
    words = signal(200_000)
    words[at] = encode(np.array([500.25]), 50_000.0)[0]

    (run,) = _survey.survey(trace_of(words), None, None).runs

    column = int(np.nanargmax(run.radius_max))
    assert run.radius_max[column] == pytest.approx(50_000)
    assert run.phase_max[column] == pytest.approx(500.25, abs=1e-3)
    assert run.edges_s[column] <= at / RATE < run.edges_s[column + 1]
    assert run.radius_max.size <= _survey.COLUMNS


def test_columns_are_least_and_greatest_of_their_words() -> None:
    words = signal(50_001, turns_per_word=0.4)  # rolls over
    (run,) = _survey.survey(trace_of(words), None, None).runs
    phase = trace_of(words).phase()

    edges = np.rint(run.edges_s * RATE).astype(int)
    assert (edges[0], edges[-1]) == (0, 50_001)
    for k, (a, b) in enumerate(pairwise(edges)):
        assert (run.phase_min[k], run.phase_max[k]) == (phase[a:b].min(), phase[a:b].max())


def test_gaps_are_left_empty_between_runs() -> None:
    words = signal(6000)
    kept = np.concatenate([words[:2500], words[3500:]])

    found = _survey.survey(trace_of(kept, Gap(2500, 2500, 1000, "ring")), None, None)

    first, second = found.runs
    assert (first.edges_s[0] * RATE, first.edges_s[-1] * RATE) == pytest.approx((0, 2500))
    assert (second.edges_s[0] * RATE, second.edges_s[-1] * RATE) == pytest.approx((3500, 6000))
    assert second.phase_min[0] == pytest.approx(0.35, abs=1e-4)
    assert (found.begin_s, found.end_s) == (0, 0.003)
    assert found.gaps_s == ((2500 / RATE, 3500 / RATE),)


def test_of_very_many_gaps_the_largest_break_the_columns() -> None:
    words = signal(40_000)
    sizes = [2 if k % 3 else 9 for k in range(999)]
    gaps, lost = [], 0
    for k, size in enumerate(sizes):
        at = 40 * (k + 1)
        gaps.append(Gap(at, at + lost, size, "ring"))
        lost += size

    found = _survey.survey(trace_of(words, *gaps), None, None)

    assert len(found.runs) == 201
    assert found.words == 40_000
    assert found.end_s == pytest.approx((40_000 + lost) / RATE)
    starts = {round(run.edges_s[0] * RATE) for run in found.runs[1:]}
    assert starts <= {gap.word + gap.words_lost for gap in gaps if gap.words_lost == 9}


def test_a_window_keeps_the_files_time_and_the_rollovers_before_it() -> None:
    trace = trace_of(signal(400_000, turns_per_word=0.4))

    found = _survey.survey(trace[100_000:], "50ms", "10ms")

    assert (found.begin_s, found.end_s, found.words) == (0.1, 0.11, 20_000)
    (run,) = found.runs
    assert run.phase_min[0] == pytest.approx(80_000, abs=1e-3)


def test_a_window_that_is_all_gap_is_refused_with_the_reason() -> None:
    words = signal(40_000)
    kept = np.concatenate([words[:10_000], words[30_000:]])

    with pytest.raises(ValueError, match=r"all 4,000 words of this window were lost \(ring\)"):
        _survey.survey(trace_of(kept, Gap(10_000, 10_000, 20_000, "ring")), 0.006, 0.002)


@pytest.mark.parametrize("size", [64, 65, 4096])
def test_power_is_scipys_periodogram(size: int) -> None:
    phase = np.cumsum(np.random.default_rng(3).normal(0.1, 1, size))

    _, expected = periodogram(2 * np.pi * phase, 1.0, window="hann", detrend="linear")

    np.testing.assert_allclose(power(phase), expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_a_spectrum_is_the_noise_that_is_there() -> None:
    noise = np.random.default_rng(5).normal(0, 0.01, 1 << 18)

    found = _survey.survey(trace_of(encode(1e-3 * np.arange(noise.size) + noise, 1e6)), None, None).spectrum

    assert found is not None
    assert (found.segments, found.segment_words) == (15, 1 << 15)
    assert np.median(found.mean) == pytest.approx(2 * (2 * np.pi * 0.01) ** 2 / RATE, rel=0.05)
    assert found.frequencies_hz[-1] == pytest.approx(RATE / 2, rel=0.05)


def test_a_line_in_the_spectrum_keeps_its_height() -> None:
    n, line_hz = 1 << 18, 250_000.0
    phase = 1e-3 * np.sin(2 * np.pi * line_hz * np.arange(n) / RATE)
    found = _survey.survey(trace_of(encode(phase, 4e6)), None, None).spectrum

    assert found is not None
    at = int(np.argmax(found.greatest))
    assert found.frequencies_hz[at] == pytest.approx(line_hz, rel=0.02)
    width_hz = 1.5 * RATE / found.segment_words  # of a Hann window
    assert found.greatest[at] == pytest.approx((2 * np.pi * 1e-3) ** 2 / 2 / width_hz, rel=0.01)


def test_a_spectrum_is_made_between_gaps() -> None:
    words = encode(np.random.default_rng(5).normal(0, 0.01, 40_000), 1e6)
    shaken = np.concatenate([words[:20_000], encode(np.random.default_rng(6).normal(500, 0.01, 20_000), 1e6)])

    found = _survey.survey(trace_of(shaken, Gap(20_000, 20_000, 777, "ring")), None, None).spectrum

    assert found is not None
    assert found.segments == 16  # of 18, for two lie across the gap
    assert found.mean.max() < 1e-5


def test_a_long_trace_is_sampled_evenly_and_the_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_survey, "_PIECE_WORDS", 1 << 10)
    monkeypatch.setattr(_survey, "_SAMPLE_WORDS", 16 << 10)
    loud = encode(np.zeros(100_000), np.repeat([10_000.0, 20_000.0], [56_000, 44_000]))

    bars = _survey.survey(trace_of(loud), None, None).bars

    assert bars.words == bars.counts.sum() == 16 << 10
    low = int(bars.counts[bars.edges[:-1] < 15_000].sum())
    assert low == 8 << 10


@pytest.mark.parametrize(
    ("low", "high", "size"), [(0, 100, 100), (5, 1000, 10), (0, 99, 100), (7, 1007, 100)]
)
def test_pieces_lie_inside(low: int, high: int, size: int) -> None:
    starts = _survey.spread(low, high, size)

    assert len(starts) <= 2 * (high - low) / size
    assert all(low <= at and at + size <= high for at in starts)
    assert not starts or (starts[0], starts[-1] + size) == (low, high)
    assert bool(starts) == (high - low >= size)


def test_what_cannot_be_drawn_is_refused_by_name() -> None:
    with pytest.raises(StreamFormatError, match="rate is not known"):
        _survey.survey(trace_of(signal(10), rate=None), None, None)
    with pytest.raises(StreamFormatError, match="holds no words"):
        _survey.survey(trace_of(signal(0)), None, None)
    with pytest.raises(ValueError, match="nothing to draw"):
        _survey.survey(trace_of(signal(10)), 0, 0)
    with pytest.raises(ValueError, match="not within this trace"):
        _survey.survey(trace_of(signal(10)), "1s", None)


def test_places_of_words_in_file_and_source() -> None:
    gaps = [Gap(0, 0, 5, "ring"), Gap(10, 15, 3, "ring")]

    assert [file_word(gaps, k) for k in (0, 4, 5, 14, 15, 17, 18, 20)] == [0, 0, 0, 9, 10, 10, 10, 12]
    assert source_words(gaps, np.array([0, 9, 10, 12])).tolist() == [5, 14, 18, 20]
    assert source_words(gaps, np.array([10]), behind_gap=False).tolist() == [15]
