"""The phase's spectrum over time: zoom FFTs of overlapping segments of the decimated phase.

The phase is decimated as far as the band allows (`fastcap.decimate`) and cut into segments. Of each, detrended
and under a Hann window, the spectrum is taken in the band alone (chirp z-transform, `scipy.signal.ZoomFFT`).
Density is one-sided: its integral over frequency is the variance of the phase, in rad².
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap._stretches import Source, Stretch, source_of
from fastcap.decimate import absolute_times, factor_of, phase_blocks, stages
from fastcap.errors import ConfigError
from fastcap.units import parse_duration_s, parse_rate_hz

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

    from fastcap.trace import Trace

__all__ = ["Spectrogram", "spectrogram"]

Floats = NDArray[np.float64]
Detrend = Literal["linear", "constant"] | None

_USABLE = Fraction(2, 5)  # of the decimated rate: up to here the filter's gain is 1
_BATCH_VALUES = 1 << 18


class Spectrogram(msgspec.Struct, frozen=True):
    """Spectra of consecutive segments of a phase.

    Attributes
    ----------
    time_s : (n,) float64
        The segments' middles, in seconds after ``start``.
    frequency_hz : (m,) float64
    density : (n, m) float64
        rad²/Hz, one-sided. NaN where a segment is not all there.
    start : datetime or None
        When the first word was sampled; None if nothing says it.
    window_s, hop_s : float
        Length of a segment, and from one to the next: as asked for, to the next whole sample.
    rate_hz : float
        Rate to which the phase was decimated.
    detrend : str or None
        What was taken off each segment.
    name : str
        The file, for a picture's title.
    spread : (n, m) float64 or None
        Standard deviation (ddof 0) of the spectra that a row of ``density`` is the mean of; None if of one.
    """

    time_s: Floats
    frequency_hz: Floats
    density: Floats
    start: datetime | None
    window_s: float
    hop_s: float
    rate_hz: float
    detrend: Detrend
    name: str
    spread: Floats | None = None

    @property
    def time(self) -> NDArray[np.datetime64]:
        """The segments' middles, ``(n,) datetime64[ns]``, UTC.

        Raises
        ------
        ValueError
            The trace's start is not known.
        """
        if self.start is None:
            raise ValueError("when the trace was recorded is not known; use time_s")
        return absolute_times(self.start, np.rint(self.time_s * 1e9).astype(np.int64), Fraction(1, 10**9))

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw it; see `fastcap.spectrogram_plot.plot_spectrogram`."""
        from fastcap.spectrogram_plot import plot_spectrogram

        return plot_spectrogram(self, path)


def spectrogram(
    trace: Trace | Source,
    window_s: str | float | Fraction,
    overlap: float = 0.5,
    band_hz: tuple[float, float] | None = None,
    detrend: Detrend = "linear",
    rate: str | float | Fraction | None = None,
) -> Spectrogram:
    """Return the spectrum of the phase over time. Memory grows with the result alone.

    Parameters
    ----------
    trace : Trace, Window or TraceSet
        Words outside of it do not count.
    window_s : number or str
        Length of a segment: seconds, or ``"20s"``. Frequencies are 1/``window_s`` apart.
    overlap : float
        Share of a segment that is also in the next: 0 <= overlap < 1.
    band_hz : (float, float), optional
        Lowest and highest frequency; default: all that ``rate`` allows.
    detrend : {"linear", "constant", None}
        What to take off each segment first.
    rate : str or number, optional
        Decimate to this rate. Default: the lowest whole part of the word rate, from 2.5 times the band's upper
        end on, by which segments are whole samples; the filter leaves 0.4 of it flat.

    Raises
    ------
    ValueError
        The word rate is not known, a segment is longer than the trace or has less than 8 samples, the band is
        empty or reaches beyond 0.4 times ``rate`` (half the word rate, if that is not decimated).
    ConfigError
        scipy is not installed.
    """
    source = source_of(trace)
    plan = _plan(source, window_s, overlap, band_hz, rate)
    if detrend not in ("linear", "constant", None):
        raise ValueError(f"detrend {detrend!r} is not 'linear', 'constant' or None")
    values = -(-source.span_words // plan.factor)
    if values < plan.size:
        raise ValueError(
            f"window of {float(parse_duration_s(window_s)):.6g} s is longer than the trace's "
            f"{float(source.span_words / (plan.rate * plan.factor)):.6g} s; give a shorter one"
        )
    count = (values - plan.size) // plan.hop + 1
    spectra = _Spectra(plan, detrend)
    density = np.full((count, plan.bins), np.nan)
    for stretch in source.stretches():
        for first, segments in _segments(stretch, plan):
            density[first : first + len(segments)] = spectra.of(segments)
    middles = np.arange(count) * plan.hop + plan.size / 2
    return Spectrogram(
        time_s=np.asarray(middles / float(plan.rate), dtype=np.float64),
        frequency_hz=plan.frequencies,
        density=density,
        start=source.start,
        window_s=float(plan.size / plan.rate),
        hop_s=float(plan.hop / plan.rate),
        rate_hz=float(plan.rate),
        detrend=detrend,
        name=str(getattr(trace, "path", None) or "words in memory"),
    )


class _Plan(msgspec.Struct, frozen=True):
    """Decimation, length and distance of segments in decimated samples, and the band."""

    factor: int
    rate: Fraction
    size: int
    hop: int
    low_hz: float
    bins: int

    @property
    def frequencies(self) -> Floats:
        return np.asarray(self.low_hz + np.arange(self.bins) * float(self.rate / self.size), dtype=np.float64)


def _plan(
    source: Source,
    window_s: str | float | Fraction,
    overlap: float,
    band_hz: tuple[float, float] | None,
    rate: str | float | Fraction | None,
) -> _Plan:
    window = parse_duration_s(window_s)
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap {overlap} is not a share of a segment from 0 to below 1, such as 0.5")
    if source.sample_rate is None:
        raise ValueError("the word rate is not known, so there is no frequency axis")
    if band_hz is None and rate is None:
        raise ValueError(
            "neither band_hz nor rate is given; say which frequencies are wanted: band_hz=(1.5, 50)"
        )
    word_rate = source.sample_rate
    step = window * (1 - Fraction(str(overlap)))
    low, high = _band(band_hz, word_rate if rate is None else parse_rate_hz(rate), word_rate)
    factor = factor_of(source, rate) if rate is not None else _factor(word_rate, high, window, step)
    rate_now = word_rate / factor
    _check_usable(rate_now, high, decimated=factor > 1)
    size = round(window * rate_now)
    if size < 8:
        raise ValueError(
            f"window of {float(window):.6g} s is {size} samples of {float(rate_now):.6g} Hz; "
            "give a longer one, of at least 8"
        )
    return _Plan(
        factor=factor,
        rate=rate_now,
        size=size,
        hop=max(1, round(step * rate_now)),
        low_hz=float(low),
        bins=int((high - low) * size / rate_now) + 1,
    )


def _check_usable(rate: Fraction, high: Fraction, *, decimated: bool) -> None:
    usable = rate * (_USABLE if decimated else Fraction(1, 2))
    if high > usable:
        raise ValueError(
            f"band up to {float(high):.6g} Hz reaches beyond the {float(usable):.6g} Hz that "
            f"{float(rate):.6g} samples/s hold; give a higher rate or a lower band"
        )


def _band(
    band_hz: tuple[float, float] | None, rate: Fraction, word_rate: Fraction
) -> tuple[Fraction, Fraction]:
    if band_hz is None:
        return Fraction(0), rate * (Fraction(1, 2) if rate == word_rate else _USABLE)
    try:
        low, high = (Fraction(str(float(edge))) for edge in band_hz)
    except (TypeError, ValueError) as error:
        raise ValueError(f"band {band_hz!r} is not two frequencies in Hz, such as (1.5, 50)") from error
    if not 0 <= low < high:
        raise ValueError(f"band {band_hz!r}: needs 0 <= lower < upper frequency")
    return low, high


def _factor(word_rate: Fraction, high: Fraction, window: Fraction, step: Fraction) -> int:
    """Return by how much to decimate: by what leaves segments whole samples, if there is such a factor."""
    most = int(word_rate * _USABLE / high)
    if most <= 1:
        return 1
    words = [length * word_rate for length in (window, step)]
    for factor in range(most, most // 2, -1):
        if all((length / factor).denominator == 1 for length in words) and _has_stages(factor):
            return factor
    return next(factor for factor in range(most, 0, -1) if _has_stages(factor))


def _has_stages(factor: int) -> bool:
    try:
        return bool(stages(factor))
    except ValueError:
        return False


def _segments(stretch: Stretch, plan: _Plan) -> Iterator[tuple[int, Floats]]:
    """Yield batches of segments, ``(k, size)``, views that are valid until the next, with the first's index."""
    kept, begin, first = np.empty(0), 0, -1  # decimated samples from begin on
    batch = max(1, _BATCH_VALUES // plan.size)
    for at, block in phase_blocks(stretch, plan.factor):
        if first < 0:
            begin, first = at, -(-at // plan.hop)
        kept = np.concatenate([kept, block])
        while first * plan.hop + plan.size <= begin + kept.size:
            views = np.lib.stride_tricks.sliding_window_view(kept[first * plan.hop - begin :], plan.size)
            segments = views[:: plan.hop][:batch]
            yield first, segments
            first += len(segments)
        cut = min(max(0, first * plan.hop - begin), kept.size)
        kept, begin = kept[cut:], begin + cut


class _Spectra:
    """Turns segments into densities."""

    def __init__(self, plan: _Plan, detrend: Detrend) -> None:
        try:
            from scipy import signal
        except ImportError as error:
            raise ConfigError(
                "spectra need scipy, which is not installed: pip install 'fastcap[plot]'"
            ) from error
        self._signal: Any = signal
        self._detrend = detrend
        self._window = signal.get_window("hann", plan.size)
        rate_hz = float(plan.rate)
        last = float(plan.frequencies[-1])
        band = [plan.low_hz, last if plan.bins > 1 else plan.low_hz + 1.0]
        self._zoom = signal.ZoomFFT(plan.size, band, plan.bins, fs=rate_hz, endpoint=True)
        self._scale = np.full(plan.bins, 2.0)
        self._scale[(plan.frequencies == 0) | (plan.frequencies == rate_hz / 2)] = (
            1.0  # they have no other side
        )
        self._scale *= (2 * np.pi) ** 2 / (rate_hz * float(np.sum(self._window**2)))

    def of(self, segments: Floats) -> Floats:
        """Return the densities of segments of phase in turns, ``(k, m)`` of ``(k, size)``, in rad²/Hz."""
        if self._detrend is not None:
            segments = self._signal.detrend(segments, axis=-1, type=self._detrend)
        amplitudes = self._zoom(segments * self._window, axis=-1)
        return np.asarray(self._scale * (amplitudes.real**2 + amplitudes.imag**2), dtype=np.float64)
