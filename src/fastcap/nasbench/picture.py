"""Pictures of benches: latencies over time with the stalls shaded, backlog beneath, distributions on log axes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection

from fastcap._figure import new_figure, plain_text
from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.hours import DECADES, LEAST_S, PER_DECADE
from fastcap.nasbench.model import Latencies, NasBench, Stall, Trouble
from fastcap.units import format_duration, format_rate, format_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastcap.nasbench.bygone import Bygone

_WRITE, _FSYNC, _STALL, _BACKLOG, _NEED = "#1f5fa8", "#e08214", "#d62728", "#2a7f4f", "#555555"
_COLOURS = ("#1f5fa8", "#e08214", "#2a7f4f", "#7b3fa0", "#d62728", "#555555")
_SHARES = 1 - np.logspace(0, -6, 400)
_TIMES = ((1.0, "s", 300.0), (60.0, "min", 3 * 3600.0), (3600.0, "h", float("inf")))
_STALL_S = 0.25


def draw(bench: NasBench, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw one bench; with ``path`` also write it there.

    Raises
    ------
    ValueError
        The ending of ``path`` is no picture's.
    """
    mapped = len(bench.hours) > 1
    figure: Any = new_figure((10, 11 if mapped else 8.5), windowed=False)
    upper, middle, lower, *below = figure.subplots(3 + mapped, 1, height_ratios=(3, 2, 3, 3)[: 3 + mapped])
    middle.sharex(upper)
    unit_s, unit = next((s, name) for s, name, below in _TIMES if bench.observed_s < below)
    _latencies(upper, bench, unit_s)
    _backlog(middle, bench, unit_s)
    middle.set_xlabel(f"time since {bench.started[:19].replace('T', ' ')} ({unit})")
    for latencies, label, colour in ((bench.write_s, "write", _WRITE), (bench.fsync_s, "fsync", _FSYNC)):
        _distribution(lower, latencies, label, colour)
    _log_log(lower)
    if mapped:
        _heat_map(below[0], bench)
    figure.suptitle(plain_text(_title(bench)), fontsize=11)
    if path is not None:
        figure.write(Path(path))
    return figure  # type: ignore[no-any-return]


def draw_comparison(
    benches: Sequence[NasBench], labels: Sequence[str], path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw the distributions of several benches into one picture, writes beside fsyncs."""
    figure: Any = new_figure((11, 5), windowed=False)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, what in zip(axes, ("write", "fsync"), strict=True):
        for k, (bench, label) in enumerate(zip(benches, labels, strict=True)):
            _distribution(axis, getattr(bench, f"{what}_s"), plain_text(label), _COLOURS[k % len(_COLOURS)])
        _log_log(axis)
        axis.set_title(what, fontsize=10)
    if path is not None:
        figure.write(Path(path))
    return figure  # type: ignore[no-any-return]


def _title(bench: NasBench) -> str:
    asked = (
        "at full speed" if bench.asked_bytes_per_s is None else f"at {format_rate(bench.asked_bytes_per_s)}"
    )
    kind = f", {bench.mount.file_system}" if bench.mount is not None else ""
    number = bench.stalls_counted
    stalls = f"{number:,} stall{'' if number == 1 else 's'}"
    return f"{bench.directory}{kind}: {format_duration(bench.observed_s)} {asked}, {stalls}"


def _heat_map(axis: Any, bench: NasBench) -> None:
    """Draw how the data's delay was spread in each hour; by the hour of day, beginning with the bench's first."""
    first, last = bench.hours[0].number, bench.hours[-1].number
    counts = np.zeros((last - first + 1, PER_DECADE * DECADES))
    for hour in bench.hours:
        counts[hour.number - first] = hour.delay_counts
    shares = np.ma.masked_equal(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), 0)
    edges_s = LEAST_S * 10 ** (np.arange(counts.shape[1] + 1) / PER_DECADE)
    began = datetime.fromisoformat(bench.started)
    mesh = axis.pcolormesh(np.arange(first, last + 2), edges_s, shares.T, cmap="viridis", norm="log")
    used = np.flatnonzero(counts.sum(axis=0))
    if used.size:
        axis.set_ylim(edges_s[used[0]], edges_s[used[-1] + 1])
    axis.set_yscale("log")
    axis.set_ylabel("data until durable (s)")
    ticks = range(first, last + 2, max(1, (last + 1 - first) // 12))
    axis.set_xticks(list(ticks), [f"{(began + timedelta(hours=n)):%H:%M}" for n in ticks])
    axis.figure.colorbar(mesh, ax=axis, label="share of the hour's data")


def _latencies(axis: Any, bench: NasBench, unit_s: float) -> None:
    line = bench.timeline
    for values, label, colour in ((line.write_max_s, "write", _WRITE), (line.fsync_max_s, "fsync", _FSYNC)):
        at = np.array([(k + 0.5) * line.step_s / unit_s for k, v in enumerate(values) if v])
        axis.semilogy(at, [v for v in values if v], ".", ms=4, color=colour, label=label)
    _shade(axis, bench.stalls, unit_s, color=_STALL, alpha=0.25, lw=1, label="stall")  # seen in a night, too
    _shade(axis, bench.errors, unit_s, color=_NEED, alpha=0.3, lw=0.8, label="calls fail")
    axis.axhline(_STALL_S, color=_STALL, lw=0.8, ls=":")
    axis.set_ylabel(f"longest call in {format_duration(line.step_s)} (s)")
    axis.set_xlim(0, max(bench.observed_s, line.step_s) / unit_s)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="upper right", ncols=3, fontsize=9)


def _shade(axis: Any, spans: Sequence[Stall | Trouble], unit_s: float, **look: Any) -> None:
    """Shade times over the whole height, all in one piece: a slow disk's night has a hundred thousand stalls."""
    if not spans:
        return
    edges = [(span.at_s / unit_s, (span.at_s + span.for_s) / unit_s) for span in spans]
    corners = [((a, 0), (a, 1), (b, 1), (b, 0)) for a, b in edges]
    bars = PolyCollection(corners, transform=axis.get_xaxis_transform(), **look)
    axis.add_collection(bars, autolim=False)


def _backlog(axis: Any, bench: NasBench, unit_s: float) -> None:
    axis.set_ylabel("backlog (MiB)")
    axis.grid(alpha=0.3)
    if bench.asked_bytes_per_s is None or bench.ring_needed_bytes is None:
        axis.text(
            0.5, 0.5, "at full speed nothing is offered: no backlog", transform=axis.transAxes, ha="center"
        )
        axis.set_yticks([])
        return
    at = (np.arange(len(bench.timeline.backlog_bytes)) + 0.5) * bench.timeline.step_s / unit_s
    mib = np.array(bench.timeline.backlog_bytes) / 2**20
    axis.fill_between(at, mib, step="mid", color=_BACKLOG, alpha=0.5, lw=0)
    needed = bench.ring_needed_bytes / 2**20
    axis.axhline(needed, color=_NEED, lw=1, ls="--")
    label = f"ring needed: {format_size(bench.ring_needed_bytes)}"
    axis.text(0.995, needed, label, transform=axis.get_yaxis_transform(), ha="right", va="bottom", fontsize=9)
    axis.set_ylim(0, 1.25 * max(needed, 1e-3))


def _distribution(axis: Any, latencies: Latencies, label: str, colour: str) -> None:
    """Draw which share of calls took longer: stalls are at the right, where a percentile would hide them."""
    if latencies.count == 0:
        return
    found = LatencyHistogram.from_json(latencies.buckets)
    most = 1 - 1 / latencies.count
    shares = _SHARES[most >= _SHARES]
    at = [found.percentile(100 * share) for share in shares]
    times = np.array([*at, found.percentile(100)], dtype=float)
    longer = np.append(1 - shares, 0.7 / latencies.count)
    axis.loglog(
        times, longer, color=colour, lw=1.6, label=f"{label} ({latencies.count:,})", drawstyle="steps-pre"
    )
    axis.plot(times[-1], longer[-1], "o", ms=4, color=colour)


def _log_log(axis: Any) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.axvline(_STALL_S, color=_STALL, lw=0.8, ls=":")
    axis.set_xlabel("duration (s)")
    axis.set_ylabel("share of calls that took longer")
    axis.set_yticks(list(_decades(axis)))
    axis.set_yticklabels([_share(v) for v in axis.get_yticks()])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="upper right", fontsize=9)


def _decades(axis: Any) -> Iterator[float]:
    low = axis.get_ylim()[0]
    for exponent in range(0, -8, -1):
        if 10.0**exponent >= low:
            yield 10.0**exponent


def _share(value: float) -> str:
    return f"{100 * value:.4g} %"


def draw_hours(found: Bygone, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a destination's stalls by hour of day: how much of the time observed, and the longest."""
    figure: Any = new_figure((9, 5.5), windowed=False)
    upper, lower = figure.subplots(2, 1, sharex=True)
    at = np.arange(24) + 0.5
    share = [100 * h.stalled_s / h.observed_s if h.observed_s else 0.0 for h in found.hours]
    upper.bar(at, share, width=0.85, color=_STALL, alpha=0.7)
    upper.set_ylabel("stalled (% of the time)")
    lower.bar(at, [h.longest_s for h in found.hours], width=0.85, color=_WRITE)
    lower.set_ylabel("longest stall (s)")
    for hour in found.hours:
        if not hour.observed_s:
            for axis in (upper, lower):
                axis.axvspan(hour.hour, hour.hour + 1, color="#eeeeee", lw=0, zorder=0)
    lower.set_xlabel("hour of day, local time (grey: nothing observed)")
    lower.set_xticks(range(0, 25, 3))
    lower.set_xlim(0, 24)
    for axis in (upper, lower):
        axis.grid(axis="y", alpha=0.3)
    title = f"{found.destination}: {format_duration(found.observed_s)} observed"
    upper.set_title(plain_text(title), fontsize=11)
    if path is not None:
        figure.write(Path(path))
    return figure  # type: ignore[no-any-return]
