"""The spectrum of the phase by Welch's method, streamed: segments are taken from blocks of any size.

What is computed for a stretch without a gap is ``scipy.signal.welch`` of its phase in radians with the same
window, segment length and overlap: one-sided density in rad²/Hz, each segment without its mean. A segment never
spans a gap: behind one the next begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap.errors import ConfigError
from fastcap.units import whole_number

if TYPE_CHECKING:
    from fastcap.trace import Trace

Floats = NDArray[np.float64]

SEGMENT_WORDS = 1 << 16
REPORT_POINTS = 512
LIVE_SEGMENTS_PER_S = 5  # of 65,536 words each: about half a percent of a core
_PIECE_WORDS = 1 << 15


class Psd(msgspec.Struct, frozen=True):
    """One-sided power spectral density of the phase. ``f, density = psd`` unpacks it.

    Attributes
    ----------
    frequency_hz, density_rad2_per_hz : (n,) float64
        Evenly spaced from 0.
    segments : int
        How many were averaged; 0: everything is NaN, no stretch was as long as a segment.
    segment_words, step_words : int
        Length of a segment, and from the start of one to the start of the next.
    window : str
    """

    frequency_hz: Floats
    density_rad2_per_hz: Floats
    segments: int
    segment_words: int
    step_words: int
    window: str

    def __iter__(self) -> Iterator[Floats]:
        return iter((self.frequency_hz, self.density_rad2_per_hz))

    def coarse(self, most: int = REPORT_POINTS) -> tuple[Floats, Floats]:
        """Return at most ``most`` points, evenly spaced on a logarithmic axis: means of frequency and density.

        The first of them, 0 Hz, is left out: each segment's mean was removed.
        """
        edges = np.unique(np.geomspace(1, self.frequency_hz.size, most + 1).astype(np.int64))
        sizes = np.diff(edges)
        if not sizes.size:
            return np.empty(0), np.empty(0)
        frequencies, densities = (np.add.reduceat(values, edges[:-1]) / sizes for values in self)
        return frequencies, densities

    def to_dict(self) -> dict[str, Any]:
        """Return the `coarse` spectrum to six digits, and how it was made."""
        points = self.coarse() if self.segments else ((), ())
        frequencies, densities = ([float(f"{x:.6g}") for x in values] for values in points)
        return {
            "frequency_hz": frequencies,
            "rad2_per_hz": densities,
            "segments": self.segments,
            "segment_words": self.segment_words,
            "step_words": self.step_words,
            "window": self.window,
        }


class Welch:
    """Average of the periodograms of a stream's segments.

    Parameters
    ----------
    rate_hz : float
        Words per second.
    segment_words : int
        Length of a segment.
    step_words : int, optional
        From the start of one segment to the start of the next; default: half a segment. More than a segment
        leaves words out: what a live spectrum at 10 MHz does to stay cheap.
    window : str or tuple
        As ``scipy.signal.get_window`` takes it; "hann" works without scipy.
    detrend : {"constant", "linear"}
        What to remove from each segment.
    """

    def __init__(
        self,
        rate_hz: float,
        segment_words: int = SEGMENT_WORDS,
        step_words: int | None = None,
        window: str | tuple[Any, ...] = "hann",
        detrend: str = "constant",
    ) -> None:
        step_words = segment_words - segment_words // 2 if step_words is None else step_words
        _check(rate_hz, segment_words, step_words, detrend)
        self.rate_hz = rate_hz
        self.segment_words = segment_words
        self.step_words = step_words
        self.segments = 0
        self._name = window if isinstance(window, str) else repr(window)
        self._window = _window(window, segment_words)
        self._detrend = detrend
        self._power = np.zeros(segment_words // 2 + 1)
        self._segment = np.empty(segment_words)
        self._radians = np.empty(segment_words)  # kept, as fresh pages would take as long as the arithmetic
        self._squares = np.empty((2, self._power.size))
        self._filled = 0
        self._to_skip = 0  # words before the next segment begins

    def update(self, phase_turns: Floats) -> None:
        """Take in the phase of the next words; it is not kept."""
        at = 0
        while at < phase_turns.size:
            if self._to_skip:
                skipped = min(self._to_skip, phase_turns.size - at)
                self._to_skip -= skipped
                at += skipped
                continue
            part = phase_turns[at : at + self.segment_words - self._filled]
            self._segment[self._filled : self._filled + part.size] = part
            self._filled += part.size
            at += part.size
            if self._filled == self.segment_words:
                self._transform()

    def gap(self) -> None:
        """Begin a new segment: words are missing here, or nothing follows."""
        self._filled = self._to_skip = 0

    def _transform(self) -> None:
        """Add the segment's power, and keep what it shares with the next one."""
        radians = self._radians
        np.subtract(self._segment, self._segment[0], out=radians)  # first of all the million turns go
        radians *= 2 * np.pi
        if self._detrend == "constant":
            radians -= radians.mean()
        else:
            radians[:] = _scipy_signal().detrend(radians)
        radians *= self._window
        transform = np.fft.rfft(radians)
        power, imaginary = self._squares
        np.square(transform.real, out=power)
        np.square(transform.imag, out=imaginary)
        power += imaginary
        self._power += power
        self.segments += 1
        kept = max(0, self.segment_words - self.step_words)
        self._segment[:kept] = self._segment[self.segment_words - kept :]
        self._filled = kept
        self._to_skip = max(0, self.step_words - self.segment_words)

    def merge(self, other: Welch) -> None:
        """Take in all segments of ``other``; begun ones are dropped, a segment never spans two streams.

        Raises
        ------
        ValueError
            Rate, segment length or window differ.
        """
        mine, theirs = ((w.rate_hz, w.segment_words, w._name, w._detrend) for w in (self, other))
        if mine != theirs:
            raise ValueError(
                f"spectra of (rate, segment, window, detrend) {mine} and {theirs} cannot be merged"
            )
        self._power += other._power
        self.segments += other.segments
        self.gap()

    def result(self) -> Psd:
        """Return the average so far."""
        scale = self.rate_hz * float(np.sum(self._window**2)) * self.segments
        density = self._power / scale if self.segments else np.full(self._power.size, np.nan)
        density[1 : -1 if self.segment_words % 2 == 0 else None] *= 2  # the negative frequencies' part
        return Psd(
            frequency_hz=np.arange(density.size, dtype=np.float64) * (self.rate_hz / self.segment_words),
            density_rad2_per_hz=density,
            segments=self.segments,
            segment_words=self.segment_words,
            step_words=self.step_words,
            window=self._name,
        )


def psd(
    trace: Trace,
    *,
    segment_words: int | None = None,
    overlap_words: int | None = None,
    window: str | tuple[Any, ...] = "hann",
    detrend: str = "constant",
) -> Psd:
    """Return the spectrum of a trace's phase, in constant memory.

    Parameters
    ----------
    trace : Trace
    segment_words : int, optional
        Default: 65,536, or as many as the longest stretch without a gap has, which is the most.
    overlap_words : int, optional
        Default: half a segment.
    window, detrend
        See `Welch`.

    Raises
    ------
    ValueError
        The trace's rate is unknown, it holds no words or all were lost, or an option is invalid.
    ConfigError
        The window, or ``detrend="linear"``, needs scipy, which is not installed.
    """
    rate = trace.sample_rate
    if rate is None:
        raise ValueError(f"sample rate of {trace.path or 'these words'} is unknown: it has no spectrum in Hz")
    trace._refuse_lost()
    edges = [0, *(gap.file_word for gap in trace.gaps), len(trace)]
    runs = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
    if not runs:
        raise ValueError(f"{trace.path or 'this trace'} holds no words: it has no spectrum")
    longest = max(b - a for a, b in runs)
    segment = min(SEGMENT_WORDS, longest)
    if segment_words is not None:
        segment = whole_number(segment_words, "segment_words")
    if segment > longest:
        raise ValueError(
            f"segments of {segment} words: the longest stretch without a gap has {longest}; give at most that"
        )
    overlap = segment // 2 if overlap_words is None else whole_number(overlap_words, "overlap_words")
    from fastcap._stretches import pieces_of

    welch = Welch(float(rate), segment, segment - overlap, window, detrend)
    scratch = np.empty(_PIECE_WORDS)
    for begin, end in runs:
        carry = fw.Carry()  # whole turns more or less: a constant of the stretch
        for words in pieces_of(trace[begin:end]):
            for at in range(0, words.size, _PIECE_WORDS):
                part = words[at : at + _PIECE_WORDS]
                welch.update(fw.phase(part, scratch[: part.size], carry))
        welch.gap()
    return welch.result()


def live_step_words(
    rate: Fraction, segment_words: int = SEGMENT_WORDS, segments_per_s: int = LIVE_SEGMENTS_PER_S
) -> int:
    """Return the step of a live spectrum: half a segment, or more where that would be too many a second."""
    return max(segment_words - segment_words // 2, -(-rate.numerator // (rate.denominator * segments_per_s)))


def _check(rate_hz: float, segment_words: int, step_words: int, detrend: str) -> None:
    if not rate_hz > 0:
        raise ValueError(f"rate of {rate_hz} Hz: must be above 0")
    if segment_words < 1:
        raise ValueError(f"segments of {segment_words} words: give at least 1")
    if step_words < 1:
        raise ValueError(f"segments of {segment_words} words cannot overlap by {segment_words - step_words}")
    if detrend not in ("constant", "linear"):
        raise ValueError(f"detrend {detrend!r} is neither 'constant' nor 'linear'")


def _window(window: str | tuple[Any, ...], size: int) -> Floats:
    if window == "hann":
        return np.ones(1) if size == 1 else np.hanning(size + 1)[:-1]
    return np.asarray(_scipy_signal().get_window(window, size), dtype=np.float64)


def _scipy_signal() -> Any:
    try:
        import scipy.signal
    except ImportError as error:
        what = "windows other than 'hann' and linear detrending need scipy"
        raise ConfigError(f"{what}, which is not installed: pip install 'fastcap[plot]'") from error
    return scipy.signal
