"""What a notebook shows of a trace, a capture or a report: small, self-contained HTML, all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING, Any

from fastcap._indexfile import BLOCK_WORDS
from fastcap.errors import FastcapError
from fastcap.units import format_duration, format_rate_hz, format_size
from fastcap.verdict import judge

if TYPE_CHECKING:
    from fastcap._shown import Columns
    from fastcap.capture import Capture
    from fastcap.trace import Trace

_POINTS = 300
_QUICK_WORDS = 1 << 21
_WIDTH, _HEIGHT, _AXIS = 600, 90, 16
_MOST_ROWS = 24
_MOST_CHARACTERS = 160
_GOOD, _BAD = "#2a7f4f", "#d62728"
_CELL = "padding:1px 12px 1px 0;text-align:left;vertical-align:top"


def trace_html(trace: Trace) -> str:
    """Return a table of a trace's facts and a small drawing of its phase."""
    rate, start = trace.sample_rate_hz, trace.start
    rows = [
        ("file", trace.path or "words in memory"),
        ("words", f"{len(trace):,}"),
        ("rate", "unknown" if rate is None else format_rate_hz(rate)),
        ("start", "unknown" if start is None else start.isoformat(" ")),
    ]
    lost = trace.words_lost
    if rate is not None:
        rows.append(("duration", format_duration((len(trace) + lost) / rate)))
    rows.append(("gaps", f"{len(trace.gaps)}, {lost:,} words missing" if lost else "none known"))
    if trace.header_problem:
        rows.append(("no header", trace.header_problem))
    rows += [(str(key), str(value)) for key, value in trace.meta.items()]
    return _frame("Trace", _table(rows) + _drawing(trace))


def report_html(report: Mapping[str, Any]) -> str:
    """Return a table of a report: state, losses, destination, checksum, settings."""
    rows = [("file", report["path"] or "nothing written"), *_amounts(report), ("lost", _lost(report))]
    stalls = (report.get("sink") or {}).get("stalls") or []
    if stalls:
        longest = format_duration(max(stall["for_s"] for stall in stalls))
        rows.append(("stalls", f"{len(stalls)}, longest {longest}"))
    checksum = report.get("checksum") or {}
    if checksum.get("value"):
        rows.append(("checksum", f"{checksum['algorithm']} {checksum['value']}"))
    ring = report.get("ring") or {}
    if ring.get("capacity_bytes"):
        used, capacity = format_size(ring["high_water_bytes"]), format_size(ring["capacity_bytes"])
        rows.append(("ring", f"at most {used} of {capacity} used"))
    command = (report.get("source") or {}).get("command")
    rows += [("command", " ".join(map(str, command)))] if command else []
    rows += [(str(key), str(value)) for key, value in (report.get("meta") or {}).items()]
    verdict = judge(report)
    colour = _GOOD if verdict.exit_status == 0 else _BAD
    state = f'<div style="color:{colour}"><b>{escape(verdict.state)}</b></div>'
    return _frame("Report", state + _table(rows))


def capture_html(capture: Capture) -> str:
    """Return what is known of a recording now: its report when it is done, else how far it is."""
    if capture.done:
        try:
            return "".join(report_html(report) for report in capture.reports)
        except FastcapError as error:
            return _frame("Capture", _table([("failed", str(error))]))
    state = "draining: the source has ended" if capture.sampled else "running"
    known = [(str(key), str(value)) for key, value in capture.progress.items() if value is not None]
    return _frame("Capture", _table([("state", state), *known]))


def _drawing(trace: Trace) -> str:
    """Return the phase's envelope over time as inline SVG; nothing where it would take more than a moment."""
    if len(trace) < 2 or not _is_quick(trace):
        return ""
    from fastcap._survey import Clock, columns_of

    rate = trace.sample_rate
    clock = Clock(trace.gaps, rate or Fraction(1), trace._first)
    runs = list(columns_of(trace, clock, _POINTS))
    begin, end = clock.of_source(0), clock.of_source(len(trace) + trace.words_lost)
    bottom = min(float(run.phase_min.min()) for run in runs)
    span = max(float(run.phase_max.max()) for run in runs) - bottom
    scale_x, scale_y = _WIDTH / (end - begin), (_HEIGHT - 1) / (span or 1.0)
    shapes = [_polygon(run, begin, bottom, scale_x, scale_y) for run in runs]
    for gap in trace.gaps:
        at = (clock.of_source(gap.word) - begin) * scale_x
        width = (clock.of_source(gap.word + gap.words_lost) - begin) * scale_x - at
        shapes.append(
            f'<rect x="{at:.1f}" y="0" width="{max(width, 0.5):.1f}" height="{_HEIGHT}" fill="{_BAD}" '
            f'fill-opacity="0.35"><title>{gap.words_lost:,} words lost</title></rect>'
        )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT + _AXIS}" viewBox="0 0 {_WIDTH} {_HEIGHT + _AXIS}" '
        'style="border:1px solid #ddd;background:#fff" role="img">'
        f"{''.join(shapes)}{_axis(begin, end, rate is not None)}</svg>"
        f'<div style="color:#777">phase: spans {span:.6g} turns{_gaps_note(trace)}</div>'
    )


def _polygon(run: Columns, begin: float, bottom: float, scale_x: float, scale_y: float) -> str:
    """Return a segment's envelope, drawn as steps from its begin to its end."""
    import numpy as np

    x = np.repeat((run.edges_s - begin) * scale_x, 2)[1:-1]
    upper, lower = (
        (_HEIGHT - 1) - (np.repeat(side, 2) - bottom) * scale_y for side in (run.phase_max, run.phase_min)
    )
    outline = zip(np.concatenate([x, x[::-1]]), np.concatenate([upper, lower[::-1]]), strict=True)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in outline)
    return f'<polygon points="{points}" fill="#1f5fa8" stroke="#1f5fa8" stroke-width="1"/>'


def _axis(begin: float, end: float, in_seconds: bool) -> str:
    """Return begin, middle and end of the drawing, below it."""
    places = (("start", 2, begin), ("middle", _WIDTH / 2, (begin + end) / 2), ("end", _WIDTH - 2, end))
    unit = " s since the file's first word" if in_seconds else " words"
    return "".join(
        f'<text x="{x}" y="{_HEIGHT + _AXIS - 3}" text-anchor="{anchor}" font-size="11" fill="#777">'
        f"{value:.9g}{unit if anchor == 'middle' else ''}</text>"
        for anchor, x, value in places
    )


def _gaps_note(trace: Trace) -> str:
    return "; red: words lost" if trace.gaps else ""


def _is_quick(trace: Trace) -> bool:
    """Whether the envelope takes but a moment: there is an index, or there are few words up to its end."""
    index, last = trace._origin.index, trace._begin + len(trace)
    return last <= _QUICK_WORDS or index.count * BLOCK_WORDS >= last


def _amounts(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "words", f"{report['words']:,} ({format_size(report['bytes'])})"
    if report["sample_rate_hz"]:
        yield "rate", format_rate_hz(report["sample_rate_hz"])
    if report["duration_s"] is not None:
        yield "duration", format_duration(report["duration_s"])
    yield "start", str(report["started"] or "unknown")


def _lost(report: Mapping[str, Any]) -> str:
    exact = f"{report['words_lost']:,} words" if report["words_lost"] else "nothing"
    estimate = (report.get("board") or {}).get("estimated_words_lost")
    board = (
        ""
        if estimate is None
        else f"; by the board: about {estimate:,}"
        if estimate
        else "; by the board: nothing"
    )
    return exact + board


def _frame(title: str, body: str) -> str:
    return f'<div style="font-family:sans-serif;font-size:13px"><b>{escape(title)}</b>{body}</div>'


def _table(rows: Iterable[tuple[str, str]]) -> str:
    """Return rows of two cells; what is too much is cut off, and said to be."""
    rows = list(rows)
    if len(rows) > _MOST_ROWS:
        rows = [*rows[:_MOST_ROWS], ("...", f"and {len(rows) - _MOST_ROWS} more")]
    cells = (
        f'<tr><th style="{_CELL};font-weight:normal;color:#777">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(_cut(value))}</td></tr>'
        for name, value in rows
    )
    return f'<table style="border-collapse:collapse;margin:4px 0">{"".join(cells)}</table>'


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."
