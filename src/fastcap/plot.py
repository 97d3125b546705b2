"""Pictures of a finished file: phase and radius against time, the radius' histogram, gaps and stalls."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap.errors import ConfigError, StreamFormatError
from fastcap.info import file_info
from fastcap.sidecar import WORD_BYTES

if TYPE_CHECKING:
    from fastcap.overview import Envelope, Overview
    from fastcap.words import Words

_BLOCK_WORDS = 1 << 18
_BARS = 240
_SIZE_INCHES = (12, 8)
_PHASE, _RADIUS, _GAP, _STALL = "#1f5fa8", "#2a7f4f", "#d62728", "#f0a030"


class Run(msgspec.Struct, frozen=True):
    """Consecutive words of a file without a gap between them: place in the file, index with lost ones."""

    file_word: int
    index: int
    words: int


def plot_file(
    path: str | os.PathLike[str],
    png: str | os.PathLike[str] | None = None,
    *,
    start_s: float | None = None,
    duration_s: float | None = None,
) -> Path | None:
    """Draw a file of any size, in fixed memory; every word is looked at.

    Parameters
    ----------
    path : path
        The ``.bin`` file. Its sidecar, if it has one, tells gaps, stalls and losses.
    png : path, optional
        Where the picture goes. Without it a window is opened, or, where there is no display, the picture goes
        beside the file as ``NAME.png``.
    start_s, duration_s : float, optional
        The part to draw, in seconds from the file's first word.

    Returns
    -------
    Path or None
        Where the picture is; None after it was shown in a window, which blocks until that is closed.

    Raises
    ------
    ConfigError
        matplotlib is missing, or the picture cannot be written.
    StreamFormatError
        The file cannot be read or its rate is not known.
    ValueError
        The part lies outside the file.
    """
    path = Path(path)
    figure_of, show = _canvas(windowed=png is None and _has_display())
    info = file_info(path)
    if info["sample_rate_hz"] is None:
        raise StreamFormatError(f"{path}: the word rate is not known, so there is no time axis to draw")
    window = _window(info, start_s, duration_s)
    figure = figure_of(figsize=_SIZE_INCHES, layout="constrained")
    _draw(figure, info, _gather(path, info, window), window)
    if show is not None:
        show()
        return None
    beside = path.with_name(path.name.removesuffix(".bin") + ".png")
    return _save(figure, beside if png is None else Path(png))


def save_overview(info: dict[str, Any], overview: Overview, png: str | os.PathLike[str]) -> Path:
    """Draw what was gathered of a stream that no file holds, from its first word to its last.

    Parameters
    ----------
    info : dict
        As `fastcap.info.file_info` returns it: ``path`` (a title), ``sample_rate_hz``, ``words``, ``gaps``,
        ``stalls``, ``command``, ``duration_s``, ``words_lost``, ``board``, ``started``.
    overview : Overview
        Every word of it.

    Raises
    ------
    ConfigError
        matplotlib is missing, or the picture cannot be written.
    StreamFormatError
        There is nothing to draw, or the rate is not known.
    """
    if info["sample_rate_hz"] is None:
        raise StreamFormatError(f"{info['path']}: the word rate is not known, so there is no time axis")
    figure_of, _ = _canvas(windowed=False)
    figure = figure_of(figsize=_SIZE_INCHES, layout="constrained")
    _draw(figure, info, overview, _window(info, None, None))
    return _save(figure, Path(png))


def _save(figure: Any, target: Path) -> Path:
    try:
        figure.savefig(target, dpi=110)
    except (OSError, ValueError) as error:
        raise ConfigError(f"picture {target} cannot be written: {error}; name another with -o") from error
    return target


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _canvas(*, windowed: bool) -> tuple[Any, Any]:
    """Return what makes a figure, and what shows it; without a window no global state is touched."""
    try:
        if windowed:
            from matplotlib import pyplot

            return pyplot.figure, pyplot.show
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "drawing needs matplotlib, which is not installed: pip install 'fastcap[plot]'"
        ) from error
    return Figure, None


def _window(info: dict[str, Any], start_s: float | None, duration_s: float | None) -> tuple[int, int]:
    """Return first and last-but-one index to draw, lost words counted."""
    rate_hz = info["sample_rate_hz"]
    total = info["words"] + sum(gap["words_lost"] for gap in info["gaps"])
    if not total:
        raise StreamFormatError(f"{info['path']}: holds no words, so there is nothing to draw")
    first = round((start_s or 0.0) * rate_hz)
    last = total if duration_s is None else min(total, first + round(duration_s * rate_hz))
    if not 0 <= first < last:
        raise ValueError(
            f"nothing to draw from {start_s or 0} s for {duration_s if duration_s is not None else 'all'} s: "
            f"{info['path']} lasts {total / rate_hz:.6g} s"
        )
    return first, last


def _runs(info: dict[str, Any]) -> Iterator[Run]:
    """Yield the stretches of words between gaps."""
    begin = lost = 0
    for gap in info["gaps"]:
        end = min(gap["file_word"], info["words"])
        yield Run(begin, begin + lost, end - begin)
        begin, lost = end, lost + gap["words_lost"]
    yield Run(begin, begin + lost, info["words"] - begin)


def _gather(path: Path, info: dict[str, Any], window: tuple[int, int]) -> Overview:
    """Read the file once, from its first word: rollovers before the window count."""
    from fastcap.overview import Overview

    overview = Overview()
    first, last = window
    for index, words in _blocks(path, info, last):
        inside = min(words.size, max(0, first - index))
        if inside:
            overview.skip(words[:inside])
        if inside < words.size:
            overview.add(index + inside - first, words[inside:])
    return overview


def _blocks(path: Path, info: dict[str, Any], last: int) -> Iterator[tuple[int, Words]]:
    """Yield the file's words below index ``last`` in blocks, none of them across a gap."""
    import numpy as np

    with path.open("rb") as file:
        file.seek(info["header_bytes"])
        for run in _runs(info):
            done, want = 0, min(run.words, last - run.index)
            while done < want:
                raw = file.read(WORD_BYTES * min(_BLOCK_WORDS, want - done))
                words = np.frombuffer(raw[: len(raw) // WORD_BYTES * WORD_BYTES], dtype="<u8")
                if not words.size:
                    raise StreamFormatError(f"{path}: became shorter while it was read")
                yield run.index + done, words
                done += words.size


def _draw(figure: Any, info: dict[str, Any], overview: Overview, window: tuple[int, int]) -> None:
    rate_hz = info["sample_rate_hz"]
    start_s, end_s = window[0] / rate_hz, window[1] / rate_hz
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1))
    phase = figure.add_subplot(grid[0, 0])
    radius = figure.add_subplot(grid[1, 0], sharex=phase)
    bars = figure.add_subplot(grid[1, 1], sharey=radius)
    _envelope(phase, overview.phase, start_s, rate_hz, _PHASE)
    _envelope(radius, overview.radius, start_s, rate_hz, _RADIUS)
    phase.set_ylabel("phase, unwrapped (turns)")
    radius.set_ylabel("radius (ADC counts)")
    radius.set_xlabel("time since the file's first word (s)")
    phase.tick_params(labelbottom=False)
    phase.set_xlim(start_s, end_s)
    _histogram(bars, overview)
    for axes in (phase, radius):
        axes.grid(alpha=0.3)
        axes.ticklabel_format(useOffset=False, style="plain")
        _marks(axes, info, start_s, end_s)
    figure.suptitle(_title(info), fontsize=12)
    legend = figure.add_subplot(grid[0, 1])
    legend.axis("off")
    handles, labels = phase.get_legend_handles_labels()
    legend.legend(handles, labels, loc="upper left", borderaxespad=0, frameon=False)
    legend.text(0, 0, _facts(info, overview), va="bottom", fontsize=9, linespacing=1.6)


def _envelope(axes: Any, envelope: Envelope, start_s: float, rate_hz: float, colour: str) -> None:
    """Fill between the least and the greatest of each column, drawn as steps so that a lone column shows."""
    import numpy as np

    if not envelope.low.size:  # all of the part is a gap
        return
    edges = start_s + np.arange(envelope.low.size + 1) * envelope.column_words / rate_hz
    low, high = (np.append(side, side[-1:]) for side in (envelope.low, envelope.high))
    axes.fill_between(edges, low, high, step="post", color=colour, linewidth=0.8, label="least to greatest")


def _histogram(axes: Any, overview: Overview) -> None:
    edges, counts = overview.histogram.bars(_BARS)
    heights = edges[1:] - edges[:-1]
    axes.barh(edges[:-1], counts, heights, align="edge", color=_RADIUS, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(left=0.7)
    axes.set_xlabel("words per bin")
    axes.tick_params(labelleft=False)
    axes.grid(alpha=0.3)


def _marks(axes: Any, info: dict[str, Any], start_s: float, end_s: float) -> None:
    """Shade the sink's stalls and mark the gaps; each kind has one entry in the legend."""
    rate_hz = info["sample_rate_hz"]
    stalls = [(s["at_s"], s["at_s"] + s["for_s"]) for s in info["stalls"] or []]
    inside = [(max(a, start_s), min(b, end_s)) for a, b in stalls if a < end_s and b > start_s]
    for k, (a, b) in enumerate(inside):
        label = "destination stalled" if k == 0 else None
        axes.axvspan(a, b, color=_STALL, alpha=0.25, linewidth=0, zorder=0, label=label)
    lost, shown = 0, 0
    for gap in info["gaps"]:
        begin = (gap["file_word"] + lost) / rate_hz
        lost += gap["words_lost"]
        end = (gap["file_word"] + lost) / rate_hz
        if begin < end_s and end > start_s:
            label = "words lost" if shown == 0 else None
            axes.axvspan(begin, end, color=_GAP, alpha=0.8, linewidth=1, zorder=3, label=label)
            shown += 1


def _title(info: dict[str, Any]) -> str:
    command = " ".join(
        os.path.basename(word) if k == 0 else word for k, word in enumerate(info["command"] or [])
    )
    rate_hz = info["sample_rate_hz"]
    rate = f"{rate_hz / 1e6:g} MHz" if rate_hz >= 1e6 else f"{rate_hz / 1e3:g} kHz"
    facts = f"{rate}, {info['duration_s']:.6g} s, {info['words']:,} words, {_lost(info)}"
    shown = command if len(command) <= 120 else command[:117] + "..."
    lines = [os.path.basename(info["path"]), shown, facts]
    return "\n".join(line.replace("$", r"\$") for line in lines if line)


def _lost(info: dict[str, Any]) -> str:
    if info["words_lost"] is None:
        return "losses not known"
    exact = "nothing lost" if info["words_lost"] == 0 else f"{info['words_lost']:,} words lost"
    board = (info["board"] or {}).get("estimated_words_lost")
    return exact + (f", about {board:,} more by the board" if board else "")


def _facts(info: dict[str, Any], overview: Overview) -> str:
    stalls = info["stalls"]
    started = info["started"] or "not known"  # the second is enough here, the zone is not to be cut off
    zone = started[19:].lstrip(".0123456789")
    rows = [
        f"start: {started[:19].replace('T', ' ')} {zone}",
        f"words per column: {overview.phase.column_words:,}",
    ]
    if stalls is not None:
        longest = max((stall["for_s"] for stall in stalls), default=0.0)
        rows.append(f"stalls: {len(stalls)}" + (f", longest {longest:.3g} s" if stalls else ""))
    rows += [f"{key}: {value}" for key, value in (info["meta"] or {}).items()]
    return "\n".join(row[:36].replace("$", r"\$") for row in rows[:12])
