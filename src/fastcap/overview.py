"""A picture's worth of a stream, gathered block by block in fixed memory: envelopes and a histogram.

No value is skipped: an envelope's column holds the least and the greatest of all its words, so a spike of one
word shows however many words a column stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._criteria import TRANSIENT_WORDS
from fastcap._shown import MIN_SEGMENT, Bars, Columns, Floats, Spectrum, Survey, power, spectrum_of

if TYPE_CHECKING:
    from fastcap.sidecar import Gap

MAX_COLUMNS = 4096
BARS = 240
_MAX_BINS = 4096
_SEGMENT_WORDS = 1 << 16
_MAX_SEGMENTS = 32


class Envelope:
    """Least and greatest value per column of equally many words; columns widen as the stream grows.

    Attributes
    ----------
    column_words : int
        Words of a column: a power of two.
    low, high : (n,) float64
        A column that no word fell into is NaN.
    """

    def __init__(self) -> None:
        self.column_words = 1
        self._low = np.full(MAX_COLUMNS, np.inf)
        self._high = np.full(MAX_COLUMNS, -np.inf)
        self._used = 0

    def add(self, index: int, values: Floats) -> None:
        """Take in consecutive values, the first of them at ``index`` (from 0; later than all before)."""
        if not values.size:
            return
        while index + values.size > MAX_COLUMNS * self.column_words:
            self._widen()
        first, last = index // self.column_words, (index + values.size - 1) // self.column_words
        starts = np.maximum(np.arange(first, last + 1) * self.column_words - index, 0)
        span = slice(first, last + 1)
        np.minimum(self._low[span], np.minimum.reduceat(values, starts), out=self._low[span])
        np.maximum(self._high[span], np.maximum.reduceat(values, starts), out=self._high[span])
        self._used = max(self._used, last + 1)

    def _widen(self) -> None:
        self.column_words *= 2
        self._used = -(-self._used // 2)
        half = MAX_COLUMNS // 2
        self._low[:half] = self._low.reshape(half, 2).min(axis=1)
        self._low[half:] = np.inf
        self._high[:half] = self._high.reshape(half, 2).max(axis=1)
        self._high[half:] = -np.inf

    @property
    def low(self) -> Floats:
        """The least value of each column."""
        low = self._low[: self._used]
        return np.where(np.isposinf(low), np.nan, low)

    @property
    def high(self) -> Floats:
        """The greatest value of each column."""
        high = self._high[: self._used]
        return np.where(np.isneginf(high), np.nan, high)


class RadiusHistogram:
    """Count values in bins of one width, at least 1; bins widen as the range grows.

    Attributes
    ----------
    bin_width : int
        A power of two.
    """

    def __init__(self) -> None:
        self.bin_width = 1
        self._first = 0  # index of the first bin: its values begin at first * bin_width
        self._counts = np.zeros(0, dtype=np.int64)

    def add(self, values: Floats) -> None:
        """Take in values, none of them negative."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        while self._span(low, high)[1] > _MAX_BINS:
            self._widen()
        first, n = self._span(low, high)
        if (first, n) != (self._first, self._counts.size):
            grown = np.zeros(n, dtype=np.int64)
            at = self._first - first
            grown[at : at + self._counts.size] = self._counts
            self._first, self._counts = first, grown
        bins = (values / self.bin_width).astype(np.int64) - first
        self._counts += np.bincount(bins, minlength=n)

    def _span(self, low: float, high: float) -> tuple[int, int]:
        """Return first bin and number of bins that hold what is counted and all from ``low`` to ``high``."""
        first, end = int(low // self.bin_width), int(high // self.bin_width) + 1
        if self._counts.size:
            first, end = min(first, self._first), max(end, self._first + self._counts.size)
        return first, end - first

    def _widen(self) -> None:
        self.bin_width *= 2
        if self._counts.size:
            odd = self._first % 2
            padded = np.pad(self._counts, (odd, (odd + self._counts.size) % 2))
            self._counts = padded.reshape(-1, 2).sum(axis=1)
            self._first //= 2

    def bars(self, most: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return edges and counts of at most ``most`` bars of equal width."""
        together = max(1, -(-self._counts.size // most))
        padded = np.pad(self._counts, (0, -self._counts.size % together))
        counts = padded.reshape(-1, together).sum(axis=1)
        edges = (self._first + np.arange(counts.size + 1) * together) * float(self.bin_width)
        return edges, counts


class SpectrumSample:
    """Periodograms of evenly spread segments of a stream whose length is not known: at most 32 are kept.

    When there are too many, every other one is dropped and from then on so many more are passed over.
    """

    def __init__(self) -> None:
        self._powers: list[Floats] = []
        self._stride = 1
        self._seen = 0
        self._begun: Floats = np.empty(_SEGMENT_WORDS)
        self._filled = 0
        self._next_index = 0

    def add(self, index: int, phase: Floats) -> None:
        """Take in consecutive values of the unwrapped phase; a gap before them ends the segment begun."""
        if index != self._next_index:
            self._filled = 0
        self._next_index = index + phase.size
        at = 0
        while at < phase.size:
            fits = min(phase.size - at, _SEGMENT_WORDS - self._filled)
            self._begun[self._filled : self._filled + fits] = phase[at : at + fits]
            self._filled += fits
            at += fits
            if self._filled == _SEGMENT_WORDS:
                self._filled = 0
                self._keep()

    def _keep(self) -> None:
        if self._seen % self._stride == 0:
            self._powers.append(power(self._begun))
        self._seen += 1
        if len(self._powers) > _MAX_SEGMENTS:
            self._powers = self._powers[::2]
            self._stride *= 2

    def spectrum(self, rate_hz: float) -> Spectrum | None:
        """Return the mean of them; of what is there, if that is less than a segment; None of next to nothing."""
        if self._powers:
            return spectrum_of(self._powers, _SEGMENT_WORDS, rate_hz)
        words = self._filled // 2 * 2
        return spectrum_of([power(self._begun[:words])], words, rate_hz) if words >= MIN_SEGMENT else None


class Overview:
    """Phase and radius of a stream, for a picture of it.

    Attributes
    ----------
    phase, radius : Envelope
        In turns, unwrapped, and in ADC counts.
    histogram, early : RadiusHistogram
        Of the radius behind the start-up transient, and of it.
    spectra : SpectrumSample
        Of the phase.
    words, early_words : int
        Words taken in, and how many of them are the transient's.
    """

    def __init__(self) -> None:
        self.phase, self.radius = Envelope(), Envelope()
        self.histogram, self.early = RadiusHistogram(), RadiusHistogram()
        self.early_words = 0
        self.spectra = SpectrumSample()
        self.words = 0
        self._carry = fw.Carry()

    def add(self, index: int, words: fw.Words) -> None:
        """Take in consecutive words, the first of them at ``index`` of the stream, lost ones counted."""
        phase = fw.phase(words, carry=self._carry)
        self.phase.add(index, phase)
        self.spectra.add(index, phase)
        radius = fw.radius(words)
        self.radius.add(index, radius)
        early = min(words.size, max(0, TRANSIENT_WORDS - index))
        if early:
            self.early.add(radius[:early])
        if early < words.size:
            self.histogram.add(radius[early:])
        self.early_words += early
        self.words += words.size

    def survey(self, rate_hz: float, gaps: Sequence[Gap]) -> Survey:
        """Return what was gathered, for a picture."""
        edges_s: Floats = np.arange(self.phase.low.size + 1, dtype=np.float64)
        edges_s *= self.phase.column_words / rate_hz
        columns = Columns(
            edges_s,
            self.phase.low,
            self.phase.high,
            self.radius.low,
            self.radius.high,
        )
        early = self.early_words if self.early_words < self.words else 0  # nothing else: then that is shown
        edges, counts = (self.histogram if early or not self.early_words else self.early).bars(BARS)
        return Survey(
            begin_s=0.0,
            end_s=(self.words + sum(gap.words_lost for gap in gaps)) / rate_hz,
            words=self.words,
            transient_words=early,
            settled_s=TRANSIENT_WORDS / rate_hz if early else 0.0,
            runs=(columns,),
            bars=Bars(edges, counts, self.words - early),
            spectrum=self.spectra.spectrum(rate_hz),
            gaps_s=tuple((g.word / rate_hz, (g.word + g.words_lost) / rate_hz) for g in gaps),
        )
