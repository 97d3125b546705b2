"""Pictures of spectrograms: frequency over absolute time, and beside it the spectrum of all of it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ConfigError
from fastcap.units import format_duration, format_rate_hz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastcap.spectrogram import Spectrogram

__all__ = ["plot_spectrogram"]

_SIZE_INCHES = (12, 7)
_MOST_COLUMNS, _MOST_ROWS = 2000, 1000  # of the picture; more are averaged, for no screen shows them
_DARKEST, _BRIGHTEST = (
    1.0,
    99.9,
)  # percentiles of the density: a spike does not take the colours of all the rest
_LEAST_DECADES = 1.0
_NOTHING = "#c8c8c8"


def plot_spectrogram(spectrogram: Spectrogram, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a spectrogram: Hz over absolute time (UTC), its density as colour, grey where nothing is.

    Parameters
    ----------
    spectrogram : Spectrogram
        Times are seconds from its first word where its start is not known.
    path : path, optional
        Where to write the picture; its ending says the format. A picture that is there is replaced.

    Returns
    -------
    Figure
        A notebook shows it.

    Raises
    ------
    ConfigError
        matplotlib is missing, or the picture cannot be written.
    ValueError
        No segment is all there, or the phase never changes, so there is nothing to draw.
    """
    try:
        from fastcap import _figure
    except ImportError as error:
        raise ConfigError(
            "drawing needs matplotlib, which is not installed: pip install 'fastcap[plot]'"
        ) from error
    if np.any(spectrogram.density == 0) and not np.any(spectrogram.density > 0):
        raise ValueError(f"{spectrogram.name}: the phase never changes, so there is nothing to draw")
    if not np.any(spectrogram.density > 0):
        raise ValueError(
            f"{spectrogram.name}: not one segment of {format_duration(spectrogram.window_s)} is all there; "
            "give a shorter one"
        )
    figure = _figure.new_figure(_SIZE_INCHES, windowed=path is None and _figure.pyplot_is_interactive())
    draw(figure, spectrogram)
    if path is not None:
        try:
            figure.savefig(Path(path), dpi=110)
        except (OSError, ValueError) as error:
            raise ConfigError(f"picture {path} cannot be written: {error}; name another") from error
    return figure


def draw(figure: Any, spectrogram: Spectrogram) -> None:
    """Draw into an empty figure."""
    image, spectrum = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    _image(figure, image, spectrum, spectrogram)
    _spectrum(spectrum, spectrogram)
    figure.suptitle(_title(spectrogram), fontsize=12)


def _image(figure: Any, axes: Any, beside: Any, spectrogram: Spectrogram) -> None:
    from matplotlib.colors import LogNorm

    density = _averaged(_averaged(spectrogram.density, _MOST_COLUMNS).T, _MOST_ROWS)
    seen = density[density > 0]
    low, high = np.percentile(seen, [_DARKEST, _BRIGHTEST])
    low, high = max(low, high * 1e-12), max(high, low * 10**_LEAST_DECADES)
    times, label = _edges(spectrogram, density.shape[1])
    axes.set_facecolor(_NOTHING)
    mesh = axes.pcolormesh(
        times,
        _frequency_edges(spectrogram, density.shape[0]),
        np.ma.masked_invalid(density),
        norm=LogNorm(low, high),
        cmap="viridis",
        rasterized=True,
    )
    axes.set_xlabel(label)
    axes.set_ylabel("frequency (Hz)")
    if spectrogram.start is not None:
        _clock(axes.xaxis, times[-1] - times[0])
    bar = figure.colorbar(mesh, ax=[axes, beside], location="bottom", extend="both", aspect=60, pad=0.02)
    bar.set_label("density of the phase (rad²/Hz)")


def _spectrum(axes: Any, spectrogram: Spectrogram) -> None:
    """Draw the mean over time, and where nine of ten columns lie."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a frequency of which no column is there
        low, high = np.nanpercentile(spectrogram.density, [5, 95], axis=0)
        mean = np.nanmean(spectrogram.density, axis=0)
    axes.fill_betweenx(
        spectrogram.frequency_hz, low, high, color="#1f5fa8", alpha=0.25, linewidth=0, label="5 to 95 %"
    )
    axes.plot(mean, spectrogram.frequency_hz, color="#1f5fa8", linewidth=0.9, label="mean")
    axes.set_xscale("log")
    axes.set_xlabel("rad²/Hz")
    axes.tick_params(labelleft=False)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=8, framealpha=0.8)


def _averaged(values: Any, most: int) -> Any:
    """Return at most ``most`` rows: means of neighbours where there are more; NaN only where all of them are."""
    step = -(-values.shape[0] // most)
    if step == 1:
        return values
    padded = np.pad(values, ((0, -values.shape[0] % step), (0, 0)), constant_values=np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(padded.reshape(-1, step, values.shape[1]), axis=1)


def _edges(spectrogram: Spectrogram, columns: int) -> tuple[Any, str]:
    """Return the columns' edges in time, the segments' middles in the middle of each, and what they mean."""
    step = -(-spectrogram.time_s.size // columns)
    edges = spectrogram.time_s[0] + (np.arange(columns + 1) * step - 0.5) * spectrogram.hop_s
    if spectrogram.start is None:
        return edges, "time since the first word (s)"
    from fastcap.decimate import start_ns

    times = start_ns(spectrogram.start) + np.rint(edges * 1e9).astype("timedelta64[ns]")
    first, last = (str(time.astype("datetime64[D]")) for time in (times[0], times[-1]))
    return times, f"time (UTC), {first}" + (f" to {last}" if last != first else "")


def _clock(axis: Any, span: np.timedelta64) -> None:
    """Let ticks be times, written so that they can be told apart."""
    from matplotlib import dates

    made: Any = dates
    locator = made.AutoDateLocator(maxticks=9)
    locator.intervald[made.HOURLY] = [1, 2, 3, 4, 6, 12, 24]  # 24 is for four to five days
    written = made.AutoDateFormatter(locator)
    written.scaled = {  # by the least days from one tick to the next
        365.0: "%Y",
        30.0: "%Y-%m",
        1.0: "%Y-%m-%d",
        1 / 24: "%m-%d %H:%M" if span > np.timedelta64(1, "D") else "%H:%M",
        1 / 1440: "%H:%M",
        1 / 86_400: "%H:%M:%S",
        1 / 86_400_000_000: lambda tick, _: f"{made.num2date(tick):%H:%M:%S.%f}"[:-3],
    }
    axis.set_major_locator(locator)
    axis.set_major_formatter(written)


def _frequency_edges(spectrogram: Spectrogram, rows: int) -> Any:
    step = -(-spectrogram.frequency_hz.size // rows)
    return spectrogram.frequency_hz[0] + (np.arange(rows + 1) * step - 0.5) / spectrogram.window_s


def _title(spectrogram: Spectrogram) -> str:
    detrend = f"{spectrogram.detrend} trend off" if spectrogram.detrend else "trend left in"
    every = "mean of each" if spectrogram.spread is not None else "every"
    settings = (
        f"segments of {format_duration(spectrogram.window_s)}, {every} {format_duration(spectrogram.hop_s)}, "
        f"Hann window, {detrend}; phase at {format_rate_hz(spectrogram.rate_hz)}"
    )
    name = os.path.basename(spectrogram.name).replace("$", r"\$")
    return f"{name}\n{settings}"
