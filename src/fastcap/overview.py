"""A picture's worth of a stream, gathered block by block in fixed memory: envelopes and a histogram.

No value is skipped: an envelope's column holds the least and the greatest of all its words, so a spike of one
word shows however many words a column stands for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw

Floats = NDArray[np.float64]

MAX_COLUMNS = 4096
_MAX_BINS = 4096


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


class Overview:
    """Phase and radius of a stream, for a picture of it.

    Attributes
    ----------
    phase, radius : Envelope
        In turns, unwrapped, and in ADC counts.
    histogram : RadiusHistogram
        Of the radius.
    words : int
        Words taken in.
    """

    def __init__(self) -> None:
        self.phase, self.radius = Envelope(), Envelope()
        self.histogram = RadiusHistogram()
        self.words = 0
        self._carry = fw.Carry()

    def skip(self, words: fw.Words) -> None:
        """Follow the rollovers of words that come before the picture."""
        fw.phase(words, carry=self._carry)

    def add(self, index: int, words: fw.Words) -> None:
        """Take in consecutive words, the first of them at ``index`` of the picture, lost ones counted."""
        self.phase.add(index, fw.phase(words, carry=self._carry))
        radius = fw.radius(words)
        self.radius.add(index, radius)
        self.histogram.add(radius)
        self.words += words.size
