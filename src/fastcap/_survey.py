"""What a picture of a trace shows, gathered in fixed memory and, where there is an index, in fixed time.

Envelopes look at every word: least and greatest of each column come from the index where a column is wider
than its blocks. The radius' histogram and the spectrum are of every word while that is quick, else of pieces
spread evenly over the window; the picture says of how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._criteria import TRANSIENT_WORDS
from fastcap._gaps import file_word, source_words
from fastcap._shown import MIN_SEGMENT, Bars, Columns, Floats, Spectrum, Survey, power, spectrum_of
from fastcap.errors import StreamFormatError
from fastcap.overview import BARS, RadiusHistogram

if TYPE_CHECKING:
    from fastcap.sidecar import Gap
    from fastcap.trace import Trace
    from fastcap.units import Duration

COLUMNS = 2000
_BREAKS = 200  # gaps at which columns are cut; smaller ones lie inside a column
_SAMPLE_WORDS = 1 << 22
_PIECE_WORDS = 1 << 19
_STEP_WORDS = 1 << 20


def survey(trace: Trace, start: Duration | None, duration: Duration | None) -> Survey:
    """Look at a trace, or at a window of it.

    Raises
    ------
    StreamFormatError
        The rate is not known, or the trace holds no words.
    ValueError
        The window is empty, all of it was lost, or it reaches beyond the trace.
    """
    rate, name = trace.sample_rate, trace.path or "words in memory"
    if rate is None:
        raise StreamFormatError(f"{name}: the word rate is not known, so there is no time axis to draw")
    if not len(trace) + trace.words_lost:
        raise StreamFormatError(f"{name}: holds no words, so there is nothing to draw")
    part = trace.window(start or 0, duration)
    if not len(part) + part.words_lost:
        lasts_s = float((len(trace) + trace.words_lost) / rate)
        raise ValueError(f"nothing to draw from {start or 0} for {duration}: {name} lasts {lasts_s:.6g} s")
    part._refuse_lost()
    gaps, words = part.gaps, len(part)
    clock = Clock(gaps, rate, part._first)
    transient = max(0, TRANSIENT_WORDS - trace._origin.facts.first_word - part._first)
    skipped = min(words, file_word(gaps, transient))
    if skipped == words:  # nothing but the transient: then that is what is to be seen
        transient = skipped = 0
    return Survey(
        begin_s=clock.of_source(0),
        end_s=clock.of_source(words + part.words_lost),
        words=words,
        transient_words=skipped,
        settled_s=clock.of_source(transient),
        runs=tuple(columns_of(part, clock, COLUMNS)),
        bars=_bars(part, skipped, words),
        spectrum=_spectrum(part, gaps, 0, words, float(rate)),
        gaps_s=tuple((clock.of_source(g.word), clock.of_source(g.word + g.words_lost)) for g in gaps),
    )


class Clock:
    """Seconds from the file's first word, of words of a trace."""

    def __init__(self, gaps: Sequence[Gap], rate: Fraction, first: int) -> None:
        self._gaps, self._rate_hz, self._first = gaps, float(rate), first

    def of_source(self, word: int) -> float:
        return (self._first + word) / self._rate_hz

    def edges(self, words: NDArray[np.int64]) -> Floats:
        """Return the times of a run's edges; the last is where its last word ends, not where a gap does."""
        source = source_words(self._gaps, words)
        source[-1:] = source_words(self._gaps, words[-1:], behind_gap=False)
        return (self._first + source) / self._rate_hz


def _runs(gaps: Sequence[Gap], low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield segments of words between the largest gaps."""
    inside = [gap for gap in gaps if low < gap.file_word < high]
    largest = sorted(inside, key=lambda gap: gap.words_lost)[-_BREAKS:]
    edges = [low, *sorted({gap.file_word for gap in largest}), high]
    yield from ((a, b) for a, b in pairwise(edges) if b > a)


def columns_of(trace: Trace, clock: Clock, columns: int) -> Iterator[Columns]:
    """Yield the envelope of each segment between the largest gaps: about ``columns`` columns in all."""
    for begin, end in _runs(trace.gaps, 0, len(trace)):
        share = max(1, min(end - begin, round(columns * (end - begin) / len(trace))))
        found = trace[begin:end].envelope(share)
        yield Columns(
            edges_s=clock.edges(begin + np.asarray(found.edges, dtype=np.int64)),
            phase_min=found.phase_min,
            phase_max=found.phase_max,
            radius_min=found.radius_min,
            radius_max=found.radius_max,
        )


def spread(low: int, high: int, size: int) -> list[int]:
    """Return where pieces of ``size`` words begin, evenly spread from end to end; they overlap by half at most."""
    if high - low < size:
        return []
    count = min(max(1, _SAMPLE_WORDS // size), max(1, 2 * (high - low) // size - 1))
    return sorted({int(at) for at in np.linspace(low, high - size, count)})


def _bars(trace: Trace, low: int, high: int) -> Bars:
    """Count the radius of every word, or of evenly spread pieces of a long trace."""
    histogram, counted = RadiusHistogram(), 0
    pieces = [(low, high)]
    if high - low > _SAMPLE_WORDS:
        pieces = [(at, at + _PIECE_WORDS) for at in spread(low, high, _PIECE_WORDS)]
    for begin, end in pieces:
        for at in range(begin, end, _STEP_WORDS):
            radius = trace[at : min(end, at + _STEP_WORDS)].radius()
            histogram.add(radius)
            counted += radius.size
    edges, counts = histogram.bars(BARS)
    return Bars(edges, counts, counted)


def _spectrum(trace: Trace, gaps: Sequence[Gap], low: int, high: int, rate_hz: float) -> Spectrum | None:
    """Average periodograms of evenly spread segments, none of them across a gap (Welch, 1967)."""
    size = 1 << max(0, min(_PIECE_WORDS, (high - low) // 8).bit_length() - 1)
    while size >= MIN_SEGMENT:
        starts = [at for at in spread(low, high, size) if not _broken(gaps, at, at + size)]
        if starts:
            return spectrum_of((power(fw.phase(trace[at : at + size].words)) for at in starts), size, rate_hz)
        size //= 4
    return None


def _broken(gaps: Sequence[Gap], begin: int, end: int) -> bool:
    return any(begin < gap.file_word < end for gap in gaps)
