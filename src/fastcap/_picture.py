"""Draw a survey: phase, radius with its histogram, spectrum; gaps and stalls marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator

from fastcap import _caption
from fastcap._shown import Spectrum, Survey

SIZE_INCHES = (12, 10)
_DECADES = 3  # on an axis of fewer, a label at each power of ten is not enough
_TIME_UNITS = (
    ("h", 3600.0, 7200.0),
    ("min", 60.0, 600.0),
    ("s", 1.0, 0.0),
)  # name, seconds, from which span on
_PHASE, _RADIUS, _GAP, _STALL = "#1f5fa8", "#2a7f4f", "#d62728", "#f0a030"


def draw(figure: Any, survey: Survey, facts: Mapping[str, Any]) -> None:
    """Draw everything into an empty figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        With constrained layout.
    facts : mapping
        As `fastcap._caption.facts_of` returns it.
    """
    grid = figure.add_gridspec(3, 2, width_ratios=(4, 1))
    phase = figure.add_subplot(grid[0, 0])
    radius = figure.add_subplot(grid[1, 0], sharex=phase)
    phase.set_ylabel("phase, unwrapped (turns)")
    radius.set_ylabel("radius (ADC counts)")
    begin_s, end_s = survey.begin_s, survey.end_s
    unit, unit_s = next((name, size) for name, size, least in _TIME_UNITS if end_s - begin_s >= least)
    for axes, name, colour in ((phase, "phase", _PHASE), (radius, "radius", _RADIUS)):
        _envelopes(axes, survey, name, colour, unit_s)
        _spans(axes, survey, _stalls(facts), unit_s, color=_STALL, alpha=0.25, label="destination stalled")
        _spans(axes, survey, survey.gaps_s, unit_s, color=_GAP, alpha=0.8, label="words lost")
        axes.set_xlim(begin_s / unit_s, end_s / unit_s)
        axes.set_xlabel(f"time since the file's first word ({unit})")
        axes.grid(alpha=0.3)
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.locator_params(axis="x", nbins=7)
    _histogram(figure.add_subplot(grid[1, 1], sharey=radius), survey)
    _scale_radius(radius, survey)
    _spectrum(figure.add_subplot(grid[2, 0]), survey.spectrum)
    _legend(figure.add_subplot(grid[0, 1]), phase)
    _text(figure.add_subplot(grid[2, 1]), _caption.side(facts))
    figure.suptitle(_caption.title(facts, survey), fontsize=12)


def _envelopes(axes: Any, survey: Survey, name: str, colour: str, unit_s: float) -> None:
    """Fill between least and greatest, drawn as steps so that a lone column shows; nothing over a gap."""
    for k, run in enumerate(survey.runs):
        sides = (getattr(run, f"{name}_min"), getattr(run, f"{name}_max"))
        low, high = (np.append(side, side[-1:]) for side in sides)
        label = "least to greatest" if k == 0 else None
        axes.fill_between(
            run.edges_s / unit_s, low, high, step="post", color=colour, linewidth=0.8, label=label
        )


def _stalls(facts: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(stall["at_s"], stall["at_s"] + stall["for_s"]) for stall in facts["stalls"] or []]


def _spans(
    axes: Any, survey: Survey, spans: Sequence[tuple[float, float]], unit_s: float, **style: Any
) -> None:
    """Shade times from bottom to top; the line around them keeps the shortest visible."""
    inside = [
        (max(begin, survey.begin_s), min(end, survey.end_s))
        for begin, end in spans
        if begin < survey.end_s and end > survey.begin_s
    ]
    if not inside:
        return
    places = [(begin / unit_s, (end - begin) / unit_s) for begin, end in inside]
    axes.broken_barh(places, (0, 1), transform=axes.get_xaxis_transform(), linewidth=1, **style)


def _scale_radius(axes: Any, survey: Survey) -> None:
    """Scale to what comes behind the start-up transient, which is drawn as far as it fits."""
    if not survey.transient_words:
        return
    settled = [run.edges_s[:-1] >= survey.settled_s for run in survey.runs]
    lows = [run.radius_min[there] for run, there in zip(survey.runs, settled, strict=True)]
    highs = [run.radius_max[there] for run, there in zip(survey.runs, settled, strict=True)]
    low, high = np.concatenate(lows), np.concatenate(highs)
    if not low.size:
        return
    least, greatest = float(np.nanmin(low)), float(np.nanmax(high))
    margin = 0.05 * (greatest - least) or 1.0
    axes.set_ylim(least - margin, greatest + margin)
    axes.set_title("scaled without the start-up transient", fontsize=9, loc="right")


def _histogram(axes: Any, survey: Survey) -> None:
    bars = survey.bars
    heights = bars.edges[1:] - bars.edges[:-1]
    axes.barh(
        bars.edges[:-1], bars.counts, heights, align="edge", color=_RADIUS, edgecolor=_RADIUS, linewidth=0.8
    )
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left=0.7)
    whole = bars.words == survey.words - survey.transient_words
    every = "every word" if whole else f"a sample of {bars.words:,} words"
    every += "\nbehind the transient" if survey.transient_words else ""
    axes.set_xlabel(f"words per bin\n({every})")
    axes.tick_params(labelleft=False)
    axes.grid(alpha=0.3)


def _spectrum(axes: Any, spectrum: Spectrum | None) -> None:
    axes.set_xlabel("frequency (Hz)")
    axes.set_ylabel("phase spectrum (rad²/Hz)")
    if spectrum is None or not np.any(spectrum.greatest > 0):
        axes.set_xticks([])
        axes.set_yticks([])
        why = "too few words without a gap for a spectrum" if spectrum is None else "the phase never changes"
        axes.text(0.5, 0.5, why, ha="center", transform=axes.transAxes)
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    if np.ptp(np.log10(spectrum.greatest[spectrum.greatest > 0])) > _DECADES:
        axes.yaxis.set_minor_locator(NullLocator())  # drawing so many takes half of all the time
    sides = (spectrum.mean, spectrum.greatest)
    axes.fill_between(spectrum.frequencies_hz, *sides, color=_PHASE, alpha=0.3)
    axes.plot(spectrum.frequencies_hz, spectrum.mean, color=_PHASE, linewidth=1)
    made_of = f"{spectrum.segments} segments of {spectrum.segment_words:,} words"
    axes.set_title(f"mean of {made_of}; shaded up to the greatest around it", fontsize=9, loc="right")
    axes.grid(alpha=0.3)


def _legend(axes: Any, of: Any) -> None:
    axes.axis("off")
    handles, labels = of.get_legend_handles_labels()
    axes.legend(handles, labels, loc="upper left", borderaxespad=0, frameon=False)


def _text(axes: Any, text: str) -> None:
    axes.axis("off")
    axes.text(0, 1, text, va="top", fontsize=9, linespacing=1.6)
