"""The numbers of a picture, and the spectrum among them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_SEGMENT = 64  # words; fewer give no spectrum worth drawing
_SPECTRUM_POINTS = 400


class Columns(msgspec.Struct, frozen=True):
    """Least and greatest of consecutive columns; ``edges_s`` has one more. NaN where there are no words."""

    edges_s: Floats
    phase_min: Floats
    phase_max: Floats
    radius_min: Floats
    radius_max: Floats


class Bars(msgspec.Struct, frozen=True):
    """Counts of the radius in bins of equal width, of ``words`` words."""

    edges: Floats
    counts: NDArray[np.int64]
    words: int


class Spectrum(msgspec.Struct, frozen=True):
    """One-sided density of the phase, rad²/Hz: mean and greatest around each frequency."""

    frequencies_hz: Floats
    mean: Floats
    greatest: Floats
    segments: int
    segment_words: int


class Survey(msgspec.Struct, frozen=True):
    """All of a picture; times are in seconds from the file's first word.

    The radius' scale and bars leave out the start-up transient: what is before ``settled_s``, of ``words`` that many
    ``transient_words``.
    """

    begin_s: float
    end_s: float
    words: int
    transient_words: int
    settled_s: float
    runs: tuple[Columns, ...]
    bars: Bars
    spectrum: Spectrum | None
    gaps_s: tuple[tuple[float, float], ...]


def power(phase: Floats) -> Floats:
    """Return the periodogram of one segment of unwrapped phase in turns: rad² per cycle per word.

    The values are those of `scipy.signal.periodogram` with a Hann window and linear detrending; for long
    segments that spends most of its time on making the window anew and summing it up in Python.
    """
    window, weight = _hann(phase.size)
    place = np.arange(phase.size) - (phase.size - 1) / 2
    slope = np.dot(place, phase) / np.dot(place, place)
    flat = phase - phase.mean() - slope * place
    flat *= window
    found = np.fft.rfft(flat)
    density: Floats = found.real**2 + found.imag**2
    density *= 2 * (2 * np.pi) ** 2 / weight
    density[0] /= 2
    if phase.size % 2 == 0:
        density[-1] /= 2
    return density


@lru_cache(maxsize=4)
def _hann(size: int) -> tuple[Floats, float]:
    """Return a periodic Hann window and the sum of its squares."""
    window: Floats = 0.5 - 0.5 * np.cos(2 * np.pi / size * np.arange(size))
    return window, float(np.dot(window, window))


def spectrum_of(powers: Iterable[Floats], segment_words: int, rate_hz: float) -> Spectrum | None:
    """Average periodograms (Welch, 1967) and gather them at frequencies that are evenly spaced in a log plot."""
    total, count = np.zeros(segment_words // 2 + 1), 0
    for one in powers:
        total += one
        count += 1
    if not count:
        return None
    mean = total / (count * rate_hz)
    edges = np.unique(np.geomspace(1, mean.size, _SPECTRUM_POINTS).astype(np.int64))  # not the constant
    starts, sizes = edges[:-1], np.diff(edges)
    return Spectrum(
        frequencies_hz=np.add.reduceat(np.arange(mean.size, dtype=np.float64), starts)
        / sizes
        * (rate_hz / segment_words),
        mean=np.add.reduceat(mean, starts) / sizes,
        greatest=np.maximum.reduceat(mean, starts),
        segments=count,
        segment_words=segment_words,
    )
