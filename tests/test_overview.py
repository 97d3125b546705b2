"""What is gathered of a stream as it comes: nothing is missed, however the blocks are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap import overview as ov
from fastcap.sidecar import Gap
from fastcap.words import encode

SEGMENT = 1 << 16


def signal(n: int, turns_per_word: float = 1e-4) -> Any:
    return encode(np.arange(n) * turns_per_word, np.full(n, 30_000.0))


pieces = st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 9000)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(pieces, st.integers(0, 2**32 - 1))
def test_envelope_is_that_of_all_values_however_they_come(runs: list[tuple[int, int]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    envelope, index = ov.Envelope(), 0
    everything: dict[int, float] = {}
    for skipped, size in runs:
        index += skipped
        values = chance.normal(size=size)
        envelope.add(index, values)
        everything |= dict(zip(range(index, index + size), values, strict=True))
        index += size

    width = envelope.column_words
    full = np.full(-(-index // width) * width, np.nan)
    full[list(everything)] = list(everything.values())
    columns = full.reshape(-1, width)
    none = np.isnan(columns).all(axis=1)
    low = np.where(none, np.nan, np.where(np.isnan(columns), np.inf, columns).min(axis=1))
    high = np.where(none, np.nan, np.where(np.isnan(columns), -np.inf, columns).max(axis=1))
    np.testing.assert_array_equal(envelope.low, low)
    np.testing.assert_array_equal(envelope.high, high)
    assert index <= ov.MAX_COLUMNS or envelope.low.size > ov.MAX_COLUMNS // 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 11_000_000), st.floats(0, 2e5), st.integers(1, 500)), min_size=1, max_size=6
    )
)
def test_histogram_counts_every_value_in_its_bin(groups: list[tuple[float, float, int]]) -> None:
    chance = np.random.default_rng(1)
    histogram, everything = ov.RadiusHistogram(), []
    for middle, spread, size in groups:
        values = np.abs(chance.normal(middle, spread, size))
        histogram.add(values)
        everything.append(values)

    edges, counts = histogram.bars(240)

    assert counts.size <= 240
    np.testing.assert_array_equal(counts, np.histogram(np.concatenate(everything), edges)[0])
    assert counts.sum() == sum(size for _, _, size in groups)


def test_segments_are_whole_and_evenly_spread() -> None:
    sample = ov.SpectrumSample()
    loud = 40  # segments at whose turn the phase shakes
    for k in range(100):
        phase = np.random.default_rng(k).normal(0, 1.0 if k == loud else 1e-6, SEGMENT)
        for part in (slice(0, 1000), slice(1000, SEGMENT)):
            sample.add(k * SEGMENT + part.start, phase[part])

    found = sample.spectrum(2e6)

    assert found is not None
    assert (found.segments, found.segment_words) == (25, SEGMENT)  # every fourth of 100
    # white noise of 1 turn: 2 (2 pi)^2 / rate, in one of 25 segments
    assert np.median(found.mean) == pytest.approx(2 * (2 * np.pi) ** 2 / 2e6 / 25, rel=0.1)


def test_a_segment_does_not_go_across_a_gap() -> None:
    sample = ov.SpectrumSample()
    sample.add(0, np.zeros(SEGMENT - 1))
    sample.add(SEGMENT + 5, np.full(SEGMENT - 1, 1e6))

    found = sample.spectrum(2e6)

    assert found is not None
    assert (found.segments, found.segment_words) == (1, SEGMENT - 2)
    assert found.greatest.max() < 1e-6


def test_next_to_nothing_has_no_spectrum() -> None:
    sample = ov.SpectrumSample()
    assert sample.spectrum(2e6) is None
    sample.add(0, np.zeros(63))
    assert sample.spectrum(2e6) is None


def test_survey_has_words_gaps_and_span() -> None:
    gathered = ov.Overview()
    words = signal(3000)
    gathered.add(0, words[:1000])
    gathered.add(2000, words[2000:])

    survey = gathered.survey(2e6, [Gap(1000, 1000, 1000, "ring")])

    assert (survey.begin_s, survey.end_s, survey.words) == (0.0, 0.0015, 2000)
    assert survey.gaps_s == ((0.0005, 0.001),)
    (run,) = survey.runs
    assert run.edges_s[-1] == 0.0015
    assert np.isnan(run.phase_min[1000:2000]).all()
    assert run.phase_max[2999] == pytest.approx(0.2999, abs=1e-4)
    assert survey.bars.counts.sum() == survey.bars.words == 2000


def test_a_live_picture_leaves_the_transient_out_of_its_bars():
    words = encode(np.zeros(30_000), np.minimum(20_000.0 + np.arange(30_000), 32_000.0))
    gathered = ov.Overview()
    gathered.add(0, words[:5_000])
    early = gathered.survey(2e6, [])
    gathered.add(5_000, words[5_000:])
    late = gathered.survey(2e6, [])

    assert (early.transient_words, early.bars.words, early.bars.counts.sum()) == (0, 5_000, 5_000)
    assert (late.transient_words, late.bars.words, late.bars.counts.sum()) == (12_000, 18_000, 18_000)
    assert late.bars.edges[0] > 31_000
