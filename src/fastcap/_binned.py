"""One spectrum for each window of a set: the mean of its segments', and their spread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastcap._schedule import Scheduler
from fastcap.spectrogram import Detrend, Floats, Spectrogram, spectrogram
from fastcap.units import format_duration

if TYPE_CHECKING:
    from fastcap.windows import Window, Windows


def binned_spectrogram(
    windows: Windows,
    window_s: str | float | Fraction,
    band_hz: tuple[float, float],
    *,
    overlap: float,
    detrend: Detrend,
    results: str | os.PathLike[str] | None,
    scheduler: Scheduler,
    progress: Callable[[int, int], object] | None,
) -> Spectrogram:
    """See `fastcap.windows.Windows.spectrogram`."""
    length = format_duration(windows.length.total_seconds())
    if not windows:
        raise ValueError(
            f"no window of {length} is filled to {windows.min_fill:.3g} or more; give a shorter one, or a smaller share"
        )
    one = windows[0].spectrogram(window_s, overlap, band_hz, detrend)
    function = partial(_spectra, window_s=window_s, overlap=overlap, band_hz=band_hz, detrend=detrend)
    found = windows.map(function, results=results, scheduler=scheduler, progress=progress)
    length_s = windows.length.total_seconds()
    steps = np.rint((found.time - found.time[0]) / np.timedelta64(1, "ns") / (length_s * 1e9)).astype(
        np.int64
    )
    density = np.full((int(steps[-1]) + 1, one.frequency_hz.size), np.nan)
    spread = density.copy()
    density[steps], spread[steps] = found.mean, found.spread
    return Spectrogram(
        time_s=np.arange(0.5, density.shape[0], dtype=np.float64) * length_s,
        frequency_hz=one.frequency_hz,
        density=density,
        start=windows[0].start,
        window_s=one.window_s,
        hop_s=length_s,
        rate_hz=one.rate_hz,
        detrend=detrend,
        name=windows.path,
        spread=spread,
    )


def _spectra(window: Window, **settings: object) -> Iterator[Floats]:
    """Yield the densities of a window's segments; those that are not all there are NaN, and do not count."""
    yield from spectrogram(window, **settings).density  # type: ignore[arg-type]
