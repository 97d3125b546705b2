"""Running statistics that take a stream in blocks of any size and can be merged.

Sums are taken about each block's own mean and merged by the formula of Chan, Golub and LeVeque (1983), with
mean and second moment carried as an unevaluated sum of two floats. A phase of a million turns thus costs no
digit of its spread, and the result does not depend on how the stream was cut.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcap import words as fw

TRANSIENT_WORDS = 12_000  # the board's start-up transient
_PIECE = 16_384


class RunningStats:
    """Count, mean, standard deviation (ddof 0), minimum and maximum of all values so far.

    A value that is not finite makes the results it touches None.
    """

    __slots__ = ("_m2", "_mean", "count", "maximum", "minimum")

    def __init__(self) -> None:
        self.count = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self._mean = (0.0, 0.0)
        self._m2 = (0.0, 0.0)

    @property
    def mean(self) -> float | None:
        """The mean, or None of no values."""
        return _finite(sum(self._mean)) if self.count else None

    @property
    def std(self) -> float | None:
        """The standard deviation of the values taken as the whole population, or None of no values."""
        return _finite(math.sqrt(sum(self._m2) / self.count)) if self.count else None

    def update(self, values: ArrayLike) -> None:
        """Take in a block of values; it is not kept.

        Parameters
        ----------
        values : (n,) array_like
            Converted to float64.
        """
        array = np.asarray(values, dtype=np.float64).ravel()
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, array.size, _PIECE):
                self.merge(_of_block(array[start : start + _PIECE]))

    def merge(self, other: RunningStats) -> None:
        """Take in all values that ``other`` has seen; ``other`` is unchanged."""
        if not other.count:
            return
        count = self.count + other.count
        delta_high, delta_low = _two_sum(other._mean[0], -self._mean[0])
        delta = delta_high + (delta_low + other._mean[1] - self._mean[1])
        between = delta * delta * (self.count / count) * other.count
        self._m2 = _add(_add(self._m2, other._m2), (between, 0.0))
        self._mean = _add(self._mean, (delta * (other.count / count), 0.0)) if self.count else other._mean
        self.count = count
        self.minimum = float(np.minimum(self.minimum, other.minimum))  # unlike min(), tells of NaN
        self.maximum = float(np.maximum(self.maximum, other.maximum))

    def to_dict(self) -> dict[str, Any]:
        """Return count, mean, std, min and max; what is unknown or not finite is None."""
        return {
            "count": self.count,
            "mean": self.mean,
            "std": self.std,
            "min": _finite(self.minimum),
            "max": _finite(self.maximum),
        }


class TraceStats:
    """Statistics of radius and phase of a board's stream, without its start-up transient.

    Parameters
    ----------
    skip_words : int
        Words at the start of the stream that count for the phase's rollovers only.
    """

    def __init__(self, skip_words: int = TRANSIENT_WORDS) -> None:
        self.radius = RunningStats()
        self.phase = RunningStats()
        self.words = 0
        self.skipped_words = 0
        self._to_skip = skip_words
        self._carry = fw.Carry()
        self._scratch = np.empty(_PIECE, dtype=np.float64)

    @property
    def phase_range_turns(self) -> float | None:
        """Largest minus smallest phase, or None of no words."""
        return _finite(self.phase.maximum - self.phase.minimum) if self.phase.count else None

    def update(self, words: NDArray[np.uint64]) -> None:
        """Take in the next block of the stream; it is not kept.

        Raises
        ------
        ValueError
            ``words`` is no one-dimensional array of uint64. Nothing was taken in.
        """
        for start in range(0, max(1, words.size), _PIECE):
            self._update_piece(words[start : start + _PIECE])

    def gap(self, words_lost: int) -> None:
        """Note that ``words_lost`` words are missing here: their time passes, the rollover state stays."""
        self._to_skip = max(0, self._to_skip - words_lost)

    def to_dict(self) -> dict[str, Any]:
        """Return ``words``, ``skipped_words``, and the statistics of ``radius`` and ``phase_turns``."""
        return {
            "words": self.words,
            "skipped_words": self.skipped_words,
            "radius": self.radius.to_dict(),
            "phase_turns": {**self.phase.to_dict(), "range": self.phase_range_turns},
        }

    def _update_piece(self, words: NDArray[np.uint64]) -> None:
        out = self._scratch[: words.size]
        skip = min(self._to_skip, words.size)
        self.phase.update(fw.phase(words, out, self._carry)[skip:])
        self.radius.update(fw.radius(words, out)[skip:])
        self._to_skip -= skip
        self.skipped_words += skip
        self.words += words.size


def _of_block(block: NDArray[np.float64]) -> RunningStats:
    """Return the statistics of one block of at least one value."""
    stats = RunningStats()
    stats.count = block.size
    stats.minimum, stats.maximum = float(block.min()), float(block.max())
    center = float(block.mean())
    off = block - center
    rest = float(off.sum()) / block.size
    stats._mean = _two_sum(center, rest)
    stats._m2 = (max(0.0, float(np.dot(off, off)) - rest * rest * block.size), 0.0)
    return stats


def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Return a + b rounded, and what the rounding left out (Knuth)."""
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


def _add(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Add two unevaluated sums."""
    high, low = _two_sum(a[0], b[0])
    return _two_sum(high, low + a[1] + b[1])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
