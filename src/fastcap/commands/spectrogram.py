"""``fastcap spectrogram``: the phase's spectrum over days of files, as a picture."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from fastcap.cli import COMPLETE
from fastcap.commands.root import debug_option, json_option, payload_option

if TYPE_CHECKING:
    from fastcap.collection import TraceSet
    from fastcap.spectrogram import Spectrogram

_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)
_COLUMNS = 100
_LEAST_PERIODS, _PERIODS = 4, 30  # of the band's lowest frequency in a segment


@click.command(
    epilog="Example:  fastcap spectrogram '2024-01-19*.bin' --every 15min --band 1.5:50 -o night.png"
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--every", metavar="T", help="A column for each T of UTC; default: about a hundred columns.")
@click.option(
    "--band",
    metavar="LOW:HIGH",
    default="1.5:50",
    show_default=True,
    help="Lowest and highest frequency, Hz.",
)
@click.option(
    "--window",
    metavar="T",
    help="Length of the segments that are averaged; default: 30 periods of LOW, at most --every.",
)
@click.option(
    "--min-fill",
    metavar="SHARE",
    default=0.5,
    show_default=True,
    help="Leave out columns with less recorded.",
)
@click.option(
    "--results", metavar="DIR", help="Keep finished columns here; run again, it goes on with the rest."
)
@click.option("-o", "output", metavar="PNG", help="Where the picture goes (.png, .pdf, .svg).")
@payload_option
@json_option
@debug_option
def spectrogram(
    files: tuple[str, ...], output: str | None, payload: str, as_json: bool, **options: Any
) -> int:
    """Draw the spectrum of the phase of FILE..., recordings of one board, over absolute time.

    A folder means the .bin files in it. Without -o: a window, or NAME.spectrogram.png beside the first file where
    there is no display.
    """
    from fastcap.collection import load_many

    traces = load_many(files, payload=payload)
    found = _spectrogram(traces, **options)
    picture = _show(found, traces, output)
    told = {
        "files": [trace.path for trace in traces],
        "picture": picture,
        "columns": int(found.time_s.size),
        "every_s": found.hop_s,
        "window_s": found.window_s,
        "rate_hz": found.rate_hz,
        "band_hz": [float(found.frequency_hz[0]), float(found.frequency_hz[-1])],
    }
    if as_json:
        click.echo(json.dumps(told))
    elif picture is not None:
        click.echo(picture)
    return COMPLETE


def _spectrogram(
    traces: TraceSet, every: str | None, band: str, window: str | None, min_fill: float, results: str | None
) -> Spectrogram:
    from fastcap.units import parse_duration_s

    low, high = _band(band)
    span_s = float(traces.span_words / traces.sample_rate)
    every_s = parse_duration_s(every) if every is not None else _every(span_s, low)
    if every_s <= 0:
        raise ValueError(f"--every {every} is no time above 0; give one such as 15min")
    window_s = parse_duration_s(window) if window is not None else _window(float(every_s), low)
    bar = _Bar()
    try:
        return traces.windows(every_s, min_fill=min_fill).spectrogram(
            window_s, (low, high), results=results, progress=bar.update
        )
    finally:
        bar.close()


def _band(band: str) -> tuple[float, float]:
    from fastcap.units import parse_rate_hz

    low, colon, high = band.partition(":")
    try:
        if not colon:
            raise ValueError("it has no ':'")
        return (0.0 if low.strip() in ("", "0") else float(parse_rate_hz(low))), float(parse_rate_hz(high))
    except ValueError as error:
        raise ValueError(f"--band {band!r} is not two frequencies such as 1.5:50, in Hz") from error


def _every(span_s: float, low: float) -> float:
    """Return a round time of which some hundred make the whole, and which holds a few periods."""
    least = max(span_s / _COLUMNS, _LEAST_PERIODS / low if low else 0.0)
    return next((step for step in _STEPS_S if step >= least), _STEPS_S[-1])


def _window(every_s: float, low: float) -> float:
    """Return a segment's length: several in a column, and several periods in each."""
    if not low:
        return every_s / 8
    return min(_PERIODS / low, max(every_s / 3, _LEAST_PERIODS / low), every_s)


def _show(found: Spectrogram, traces: TraceSet, output: str | None) -> str | None:
    """Write the picture and return where, or show it."""
    if output is None and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        from matplotlib import pyplot

        from fastcap._figure import has_window

        if has_window(found.plot()):
            pyplot.show()
            return None
    first = traces[0].path or "spectrogram"
    target = output or first.removesuffix(".bin") + ".spectrogram.png"
    found.plot(target)
    return target


class _Bar:
    """A progress bar where somebody watches."""

    def __init__(self) -> None:
        self._bar: Any = None

    def update(self, done: int, total: int) -> None:
        if self._bar is None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="column", leave=False, file=sys.stderr)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
