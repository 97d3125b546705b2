"""Statistics of a board's stream, taken in blocks of any size and mergeable.

Moments are in `fastcap.moments`, histograms and percentiles in `fastcap.histograms`, the spectrum in
`fastcap.spectrum`. All but the spectrum are the same however the stream is cut, and combine exactly across the
chunks of a stream that were taken by different processes: see `TraceStats.append`.
"""

from __future__ import annotations

import copy
import threading
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._criteria import SINGLE_MODE_TURNS, TRANSIENT_WORDS
from fastcap.histograms import Histogram
from fastcap.moments import RunningStats, finite
from fastcap.spectrum import SEGMENT_WORDS, Psd, Welch, live_step_words

__all__ = ["PERCENTILES", "SINGLE_MODE_TURNS", "TRANSIENT_WORDS", "RunningStats", "TraceStats"]

PERCENTILES = (50, 75, 90, 100)
PIECE_WORDS = 32_768  # that stay in cache
_PHASE_WIDTH = 2.0**-26  # turns, of the finest bins: below the board's own resolution
_PHASE_PAGES = 64
_M_PERIOD = 65_536  # turns


class _Scratch(threading.local):
    """Arrays for one piece's values: a thread's own, for allocating them costs more than filling them."""

    def __init__(self) -> None:
        self.outs = np.empty(PIECE_WORDS), np.empty(PIECE_WORDS)


_scratch = _Scratch()


class TraceStats:
    """Statistics of radius, phase, I and Q of a board's stream, without its start-up transient.

    Parameters
    ----------
    skip_words : int
        Words at the start of the stream that count for the phase's rollovers only.
    carry : Carry, optional
        Rollover state before the first word; advanced in place. Default: a file begins.
    rate : Fraction or float, optional
        Words per second; with it there is a spectrum.
    segment_words, step_words : int, optional
        Of the spectrum: see `fastcap.spectrum.Welch`. Default: five segments a second, which costs next to
        nothing; `fastcap.spectrum.psd` takes all.
    tolerance_turns : float
        Of `single_mode`.

    Attributes
    ----------
    radius, phase : RunningStats
        In ADC counts, and in turns, unwrapped.
    radius_histogram, i_histogram, q_histogram, phase_histogram : Histogram
    words, skipped_words : int
        All words, and how many of them were left out.
    tolerance_turns : float
    """

    def __init__(
        self,
        skip_words: int = TRANSIENT_WORDS,
        *,
        carry: fw.Carry | None = None,
        rate: Fraction | float | None = None,
        segment_words: int = SEGMENT_WORDS,
        step_words: int | None = None,
        tolerance_turns: float = SINGLE_MODE_TURNS,
    ) -> None:
        if skip_words < 0:
            raise ValueError(f"a start-up transient of {skip_words} words: give 0 or more")
        if not tolerance_turns >= 0:
            raise ValueError(f"a tolerance of {tolerance_turns} turns: give 0 or more")
        self.radius, self.phase = RunningStats(), RunningStats()
        self.radius_histogram, self.i_histogram, self.q_histogram = Histogram(), Histogram(), Histogram()
        self.phase_histogram = Histogram(_PHASE_WIDTH, _PHASE_PAGES)
        self.words = 0
        self.skipped_words = 0
        self.tolerance_turns = tolerance_turns
        self._to_skip = skip_words
        self._carry = fw.Carry() if carry is None else carry
        self._first_m: int | None = None
        self._welch: Welch | None = None
        if rate is not None:
            step_words = step_words or live_step_words(Fraction(rate), segment_words)
            self._welch = Welch(float(rate), segment_words, step_words)

    def __repr__(self) -> str:
        told = f"<TraceStats of {self.words:,} words, the first {self.skipped_words:,} left out"
        for name, values, unit in (("phase", self.phase, "turns"), ("radius", self.radius, "ADC counts")):
            if values.mean is not None:
                told += f"; {name} {values.mean:.10g}, std {values.std:.4g} {unit}"
        return f"{told}>"

    # -- results ---------------------------------------------------------------------------------

    @property
    def phase_range_turns(self) -> float | None:
        """Largest minus smallest phase, or None of no words."""
        return finite(self.phase.maximum - self.phase.minimum) if self.phase.count else None

    @property
    def single_mode(self) -> bool | None:
        """The phase's range is within `tolerance_turns`: the laser kept to one mode. None of no words."""
        found = self.phase_range_turns
        return None if found is None else found <= self.tolerance_turns

    @property
    def percentiles(self) -> dict[int, float | None]:
        """The phase, in turns, that 50, 75, 90 and 100 % of the words do not exceed.

        Off by at most `percentile_error_turns`; that of 100 % is exact.
        """
        return {percent: self._percentile(percent) for percent in PERCENTILES}

    def _percentile(self, percent: int) -> float | None:
        if percent == 100:
            return finite(self.phase.maximum)
        found = self.phase_histogram.quantile(percent / 100)
        return None if found is None else min(max(found, self.phase.minimum), self.phase.maximum)

    @property
    def percentile_error_turns(self) -> float:
        """Bound of the percentiles' error: half a bin. At most 2⁻¹⁵ of the phase's range, often far less."""
        return self.phase_histogram.width / 2

    @property
    def carry(self) -> fw.Carry:
        """The rollover state behind the last word; a copy."""
        return copy.copy(self._carry)

    @property
    def psd(self) -> Psd | None:
        """The spectrum of the phase; None where no rate was given."""
        return None if self._welch is None else self._welch.result()

    def to_dict(self) -> dict[str, Any]:
        """Return everything in JSON's own types: what the report's ``analysis`` begins with."""
        return {
            "words": self.words,
            "skipped_words": self.skipped_words,
            "radius": self.radius.to_dict(),
            "phase_turns": {
                **self.phase.to_dict(),
                "range": self.phase_range_turns,
                "percentiles": {str(percent): value for percent, value in self.percentiles.items()},
                "percentile_error": self.percentile_error_turns,
            },
            "single_mode": self.single_mode,
            "single_mode_tolerance_turns": self.tolerance_turns,
            "histograms": {
                "i": self.i_histogram.to_dict(),
                "q": self.q_histogram.to_dict(),
                "radius": self.radius_histogram.to_dict(),
            },
            "psd": None if self._welch is None else self._welch.result().to_dict(),
        }

    # -- taking in -------------------------------------------------------------------------------

    def update(self, words: NDArray[np.uint64]) -> None:
        """Take in the next block of the stream; it is not kept.

        Raises
        ------
        ValueError
            ``words`` is no one-dimensional array of uint64. Nothing was taken in.
        """
        for start in range(0, max(1, words.size), PIECE_WORDS):
            self._update_piece(words[start : start + PIECE_WORDS])

    def gap(self, words_lost: int) -> None:
        """Note that ``words_lost`` words are missing here: their time passes, the rollover state stays."""
        self._to_skip = max(0, self._to_skip - words_lost)
        if self._welch is not None:
            self._welch.gap()

    def _update_piece(self, words: NDArray[np.uint64]) -> None:
        phase, radius = (out[: words.size] for out in _scratch.outs)
        skip = min(self._to_skip, words.size)
        fw.phase_radius(words, phase, radius, self._carry)
        phase, radius = phase[skip:], radius[skip:]
        if self._first_m is None and words.size:
            self._first_m = int(words[0].view(np.int64) >> 48)
        self.phase.update(phase)
        self.phase_histogram.add(phase)
        if self._welch is not None:
            self._welch.update(phase)
        self.radius.update(radius)
        self.radius_histogram.add(radius)
        self.i_histogram.add_field(words[skip:], "i")
        self.q_histogram.add_field(words[skip:], "q")
        self._to_skip -= skip
        self.skipped_words += skip
        self.words += words.size

    # -- combining -------------------------------------------------------------------------------

    def merge(self, other: TraceStats) -> None:
        """Take in all words that ``other`` has seen, their phase as it is; ``other`` is unchanged.

        For streams of their own. For the next chunk of this stream see `append`.
        """
        if (self._welch is None) != (other._welch is None):
            raise ValueError("one of two statistics has a spectrum and the other has none: give both a rate")
        if self._welch is not None and other._welch is not None:
            self._welch.merge(other._welch)
        for name in ("radius", "phase"):
            getattr(self, name).merge(getattr(other, name))
        for name in ("radius_histogram", "i_histogram", "q_histogram", "phase_histogram"):
            getattr(self, name).merge(getattr(other, name))
        self.words += other.words
        self.skipped_words += other.skipped_words

    def append(self, other: TraceStats) -> None:
        """Take in the next chunk of this stream; ``other`` is unchanged.

        ``other`` began with a fresh `Carry`, not knowing what came before it. Its turns are moved to go on
        from this chunk's end; the result is that of one pass over both (segments of the spectrum that span
        the seam are missing).

        Parameters
        ----------
        other : TraceStats
            Made with ``skip_words=0``, unless the transient reaches into it.
        """
        if other._first_m is None:
            self.merge(other)
            return
        seam = copy.copy(self._carry)
        fw.phase(np.array([(other._first_m & 0xFFFF) << 48], np.uint64), None, seam)
        self.merge(other.shifted(_M_PERIOD * seam.wraps))
        if self._first_m is None:
            self._first_m = other._first_m
        self._carry = fw.Carry(other._carry.wraps + seam.wraps, other._carry.last_m)

    def shifted(self, turns: int) -> TraceStats:
        """Return a copy whose phase is ``turns`` higher: a whole multiple of M's period, 65,536.

        Raises
        ------
        ValueError
            It is none.
        """
        if turns % _M_PERIOD:
            raise ValueError(f"a shift by {turns} turns is no whole number of M's periods of {_M_PERIOD}")
        moved = copy.deepcopy(self)
        if turns:
            moved.phase.shift(float(turns))
            moved.phase_histogram.shift(float(turns))
            moved._carry = fw.Carry(self._carry.wraps + turns // _M_PERIOD, self._carry.last_m)
        return moved
