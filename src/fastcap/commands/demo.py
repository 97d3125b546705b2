"""``fastcap demo``: the main job on an emulated board, with a destination that stalls.

Flow: choose ring and stall so that the ring bears twice the stall; record with live statistics; verify the
file; draw it; say what arrived, what stalled, what was lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from fastcap.cli import FAILED, INTERRUPTED
from fastcap.commands.root import debug_option, json_option
from fastcap.verdict import judge

SOURCE = "sim://?rate=2MHz&pattern=signal"
BYTES_PER_S = 16e6
MOST_RING_BYTES = 64 << 20
LEAST_S = 1.0


@click.command(epilog="Example:  fastcap demo --seconds 10 --out ./fastcap-demo")
@click.option("--seconds", default="10", show_default=True, metavar="T", help="How long to record.")
@click.option(
    "--out", default="./fastcap-demo", show_default=True, metavar="DIR", help="Where to leave the files."
)
@json_option
@debug_option
def demo(seconds: str, out: str, as_json: bool) -> int:
    """Record from an emulated board to a destination that stalls for half the time its ring can bear.

    Prints what arrived, what stalled and what was lost (nothing), verifies the file, and leaves it with its
    sidecar and a picture in DIR.
    """
    from fastcap.errors import ConfigError
    from fastcap.units import parse_duration_s

    duration_s = float(parse_duration_s(seconds))
    if duration_s < LEAST_S:
        raise ConfigError(f"--seconds {seconds} is too short to show a stall; give at least {LEAST_S:g}")
    os.makedirs(out, exist_ok=True)
    report, injected = _record(duration_s, out)
    if report is None:
        return INTERRUPTED
    verdict, picture = _verify(report), _draw(report)
    for line in _lines(report, verdict, picture):
        click.echo(line, err=as_json)
    for reason in judge(report).reasons:
        click.echo(f"fastcap: {reason}", err=True)
    if as_json:
        told = {"injected_stalls": [injected], "verified": verdict.to_dict(), "picture": picture}
        click.echo(json.dumps({"report": report, **told}))
    if not verdict.ok:
        return FAILED
    return judge(report).exit_status


def _setting(duration_s: float) -> tuple[int, dict[str, float]]:
    """Return the ring's size and the stall: half of what the ring bears, and over before the recording is."""
    from fastcap.ringsize import LEAST_BYTES, default_fsync_bytes, default_ring_bytes, survives_s

    fits = int(duration_s * BYTES_PER_S) // 4096 * 4096
    ring_bytes = max(LEAST_BYTES, min(MOST_RING_BYTES, default_ring_bytes(), fits))
    survives = survives_s(ring_bytes, default_fsync_bytes(ring_bytes, BYTES_PER_S), BYTES_PER_S)
    stall = {"at_s": round(duration_s / 4, 3), "for_s": round(survives / 2, 3)}
    return ring_bytes, {**stall, "survives_s": survives}


def _record(duration_s: float, out: str) -> tuple[dict[str, Any] | None, dict[str, float]]:
    """Record; return the report (None: interrupted before there was one) and the stall that was made."""
    from fastcap import spec
    from fastcap.board import open as open_source
    from fastcap.commands._following import Follower
    from fastcap.commands._plan import plan_of
    from fastcap.progress import Progress
    from fastcap.units import format_duration, format_size

    ring_bytes, stall = _setting(duration_s)
    progress = Progress()
    progress.say(
        f"An emulated board sends 2 MHz (16 MB/s) for {format_duration(duration_s)} to {out}. The ring of "
        f"{format_size(ring_bytes)} survives a stall of {format_duration(stall['survives_s'])};\nafter "
        f"{format_duration(stall['at_s'])} the destination will stall for {format_duration(stall['for_s'])}."
    )
    board = open_source(SOURCE, ring=ring_bytes)
    follower = Follower(board, progress)
    with follower.session():
        message, fds = spec.recording(
            board.source, length=duration_s, to=out, statistics=True, ring_bytes=ring_bytes,
            stalls=[(stall["at_s"], stall["for_s"])],
        )  # fmt: skip
        capture = board.begin(message, fds)
        follower.sampled(capture, "recording", plan_of(message))
        follower.done([capture])
    if capture.recording.error is not None and not follower.interrupted:
        raise capture.recording.error
    reports = capture.recording.reports
    return (reports[-1] if capture.recording.done else None), stall


def _verify(report: dict[str, Any]) -> Any:
    from fastcap.verify import verify_file

    return verify_file(report["path"])


def _draw(report: dict[str, Any]) -> str | None:
    """Draw the file; None where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        return None
    from fastcap.plot import plot_file

    return str(plot_file(report["path"], Path(report["path"]).with_suffix(".png")))


def _lines(report: dict[str, Any], verdict: Any, picture: str | None) -> Iterator[str]:
    from fastcap.units import format_duration, format_size

    ring = report["ring"]
    high, capacity = format_size(ring["high_water_bytes"]), format_size(ring["capacity_bytes"])
    times = [(format_duration(s["at_s"]), format_duration(s["for_s"])) for s in report["sink"]["stalls"]]
    stalls = ", ".join(f"at {at} for {length}" for at, length in times) or "never"
    arrived = f"{report['words']:,} words in {format_duration(report['duration_s'])}"
    yield f"arrived    {arrived}, {format_size(report['bytes'])}"
    yield f"stalled    {stalls}; the ring held up to {high} of {capacity}"
    yield f"lost       {report['words_lost']:,} words" if report["words_lost"] else "lost       nothing"
    if (found := _statistics(report)) is not None:
        radius = f"{found['radius']['mean']:,.0f} ± {found['radius']['std']:,.0f} ADC counts"
        yield f"analysed   radius {radius}, phase over {found['phase_turns']['range']:,.1f} turns"
    good = f"ok ({', '.join(verdict.compared)})"
    yield f"verified   {good if verdict.ok else f'NOT as it was captured: {verdict.problems[0]}'}"
    yield f"file       {report['path']}"
    yield f"picture    {picture or 'none: matplotlib is not installed (pip install .[plot])'}"


def _statistics(report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the live statistics; None where the analysis failed, or saw nothing beyond the transient."""
    found = report["analysis"]
    if not found or "radius" not in found or found["radius"]["mean"] is None:
        return None
    return dict(found)
