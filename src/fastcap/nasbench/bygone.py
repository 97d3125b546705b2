"""A destination's past: the stalls of all captures and benches to it, by hour of day."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from fastcap import history
from fastcap.nasbench.judge import BYTES_PER_WORD, RATES_HZ
from fastcap.nasbench.model import NasBench, Stall
from fastcap.nasbench.replay import MARGIN, recommended, ring_needed
from fastcap.nasbench.trace import Phase, Trace, merged
from fastcap.units import format_duration, format_rate, format_size
from fastcap.workers.sync_policy import BLOCK_BYTES

_HOUR_S = 3600.0
_KEPT_PAUSES = 256  # of a bench's phase, the longest
_REPLAYED = 8  # runs with the longest stalls, and as many that were stalled longest in all
_USUAL_S = 0.25  # a call that takes longer is a stall
_CATCHES_UP = 2.0  # a disk that was measured at a lower rate, over the rate in question
_MOST = 1e15  # bytes, bytes per second, and the like
_MOST_S = 1e9


class Hour(msgspec.Struct):
    """What happened in one hour of the day, all days together."""

    hour: int
    observed_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    longest_s: float = 0.0


class Need(msgspec.Struct, frozen=True):
    """The ring that the worst of all runs would have needed at some rate; None: no ring is enough there."""

    rate_bytes_per_s: float
    bytes: int | None


class Bygone(msgspec.Struct, frozen=True):
    """What the history knows of a destination and the directories below it.

    Attributes
    ----------
    hours : list of Hour
        24 of them, in the local time of each recording.
    worst_s, worst_at : float, str or None
        The longest stall and when it began.
    backlog_bytes, backlog_rate : int, float or None
        The largest backlog that a ring really held, or that a bench's offered load built, and its rate.
    """

    destination: str
    captures: int
    benches: int
    first: str | None
    last: str | None
    observed_s: float
    words_lost: int
    hours: list[Hour]
    worst_s: float | None
    worst_at: str | None
    ring_needed: list[Need]
    backlog_bytes: int | None
    backlog_rate: float | None


def remember(bench: NasBench) -> bool:
    """Append a bench to the local history; never fails."""
    return history.append(
        {
            "what": "bench", "started": bench.started, "destination": bench.directory, "device": None,
            "duration_s": bench.observed_s, "rate_bytes_per_s": bench.asked_bytes_per_s, "bytes": bench.bytes,
            "words_lost": None, "stalls": [{"at_s": s.at_s, "for_s": s.for_s} for s in bench.stalls],
            "write_p99_s": bench.write_s.p99, "write_max_s": bench.write_s.max,
            "fsync_p99_s": bench.fsync_s.p99, "fsync_max_s": bench.fsync_s.max,
            "high_water_bytes": max(bench.timeline.backlog_bytes, default=None), "ring_bytes": None,
            "trace": msgspec.to_builtins(_shortened(bench.trace)),
        }
    )  # fmt: skip


def _shortened(trace: Trace | None) -> Trace | None:
    """Return a trace that a line of the history can hold."""
    if trace is None:
        return None
    parts = {name: getattr(trace, name) for name in ("paced", "saturated")}
    for name, phase in parts.items():
        if phase is not None:
            longest = sorted(phase.pauses, key=lambda pause: -pause[1])[:_KEPT_PAUSES]
            parts[name] = msgspec.structs.replace(phase, pauses=sorted(longest))
    return msgspec.structs.replace(trace, **parts)


def bygone(directory: str | os.PathLike[str]) -> Bygone:
    """Gather the history of a destination and of what lies below it.

    Raises
    ------
    OSError
        The history is there, but cannot be read.
    """
    where = os.path.abspath(directory)
    below = os.path.join(where, "")
    entries = [e for e in history.read() if e["destination"] == where or _below(e["destination"], below)]
    runs = [run for entry in entries if (run := _Run.of(entry)) is not None]
    hours = [Hour(k) for k in range(24)]
    for run in runs:
        run.add_to(hours)
    stalls = [(s, run) for run in runs for s in run.stalls]
    worst = max(stalls, key=lambda pair: pair[0].for_s, default=None)
    held = max(
        (r for r in runs if r.backlog_bytes is not None), key=lambda r: r.backlog_bytes or 0, default=None
    )
    times = sorted(run.started for run in runs)
    return Bygone(
        destination=where, captures=sum(not r.is_bench for r in runs), benches=sum(r.is_bench for r in runs),
        first=times[0].isoformat() if times else None, last=times[-1].isoformat() if times else None,
        observed_s=sum(r.duration_s for r in runs), words_lost=sum(r.words_lost for r in runs), hours=hours,
        worst_s=worst[0].for_s if worst else None,
        worst_at=(worst[1].started + timedelta(seconds=worst[0].at_s)).isoformat() if worst else None,
        ring_needed=_needs(runs) if stalls else [],
        backlog_bytes=held.backlog_bytes if held else None, backlog_rate=held.rate if held else None,
    )  # fmt: skip


def _below(destination: Any, folder: str) -> bool:
    return isinstance(destination, str) and destination.startswith(folder)


def _needs(runs: Sequence[_Run]) -> list[Need]:
    """Return the ring that loses nothing in the replay of any run, at each usual rate."""
    longest = sorted(runs, key=lambda run: -max((s.for_s for s in run.stalls), default=0.0))[:_REPLAYED]
    most = sorted(runs, key=lambda run: -sum(s.for_s for s in run.stalls))[:_REPLAYED]
    rates = [rate_hz * BYTES_PER_WORD for rate_hz in RATES_HZ]
    worst = [*longest, *(run for run in most if run not in longest)]
    return [Need(rate, _largest(run.ring_needed(rate) for run in worst)) for rate in rates]


def _largest(rings: Iterable[int | None]) -> int | None:
    found = list(rings)
    return None if None in found else max(ring for ring in found if ring is not None)


class _Run:
    """One line of the history, as far as it makes sense."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.started = datetime.fromisoformat(entry["started"]).astimezone()
        self.is_bench = entry.get("what") == "bench"
        self.duration_s = _number(entry.get("duration_s") or 0.0, _MOST_S)
        self.words_lost = int(_number(entry.get("words_lost") or 0))
        rate, backlog = entry.get("rate_bytes_per_s"), entry.get("high_water_bytes")
        self.rate = None if rate is None else _number(rate)
        self.backlog_bytes = None if backlog is None else int(_number(backlog))
        self.stalls = [
            Stall(_number(s["at_s"], _MOST_S, -_MOST_S), _number(s["for_s"], _MOST_S), "call")
            for s in entry.get("stalls") or []
        ]
        self.fsync_s = min(_number(entry.get("fsync_p99_s") or 0.0), _USUAL_S)
        self.write_s = min(_number(entry.get("write_p99_s") or 0.0), _USUAL_S)
        self.trace = msgspec.convert(entry.get("trace"), Trace | None)
        self.stalled_at = [self.started + timedelta(seconds=s.at_s) for s in self.stalls]

    @classmethod
    def of(cls, entry: dict[str, Any]) -> _Run | None:
        try:
            return cls(entry)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def ring_needed(self, rate: float) -> int | None:
        """Return the ring that this run would have needed; of a capture its stalls and percentiles are known."""
        if self.trace is not None:
            return ring_needed(self.trace, rate, saturated=self.rate is None or rate > self.rate)
        write_s, at_this_rate = self.write_s, self.rate is not None and rate <= self.rate
        if not at_this_rate:
            write_s = min(write_s, BLOCK_BYTES / (_CATCHES_UP * rate))
        pauses = merged((max(0.0, s.at_s), s.for_s) for s in self.stalls)
        phase = Phase(self.duration_s, [(BLOCK_BYTES, write_s)], [(BLOCK_BYTES, self.fsync_s)], pauses)
        return ring_needed(Trace(phase, None, 0.0), rate)

    def add_to(self, hours: list[Hour]) -> None:
        """Count this run's time and stalls, each in the hour of day it fell in."""
        for at, seconds in _hourly(self.started, self.duration_s):
            hours[at].observed_s += seconds
        for stall, began in zip(self.stalls, self.stalled_at, strict=True):
            hour = hours[began.hour]
            hour.stalls += 1
            hour.stalled_s += stall.for_s
            hour.longest_s = max(hour.longest_s, stall.for_s)


def _number(value: Any, most: float = _MOST, least: float = 0.0) -> float:
    """Return a number of the history; a line may hold anything, NaN and infinity too."""
    found = float(value)
    if not least <= found <= most:
        raise ValueError(f"{value} makes no sense")
    return found


def _hourly(start: datetime, seconds: float) -> Iterator[tuple[int, float]]:
    """Cut a time into the hours of day it lies in."""
    hour, into_s = start.hour, start.minute * 60 + start.second + start.microsecond * 1e-6
    while seconds > 0:
        part = min(seconds, _HOUR_S - into_s)
        yield hour, part
        seconds, hour, into_s = seconds - part, (hour + 1) % 24, 0.0


def describe(found: Bygone) -> Iterable[str]:
    """Yield the lines that a person reads."""
    if not found.captures and not found.benches:
        yield f"{found.destination}: no capture or bench to it is known here; run 'fastcap bench nas' on it"
        return
    assert found.first is not None
    assert found.last is not None
    lost = f"; {found.words_lost:,} words lost" if found.words_lost else ""
    yield (
        f"{found.destination}: {found.captures} captures and {found.benches} benches, {found.first[:10]} to "
        f"{found.last[:10]}, {format_duration(found.observed_s)} observed{lost}"
    )
    yield "hour     observed   stalls  stalled in all   longest"
    for h in found.hours:
        if h.observed_s or h.stalls:
            observed = format_duration(h.observed_s)
            stalled, longest = (format_duration(s) if h.stalls else "-" for s in (h.stalled_s, h.longest_s))
            hours = f"{h.hour:02}-{(h.hour + 1) % 24:02}"
            yield f"{hours} {observed:>11} {h.stalls:8} {stalled:>15} {longest:>9}"
    if found.worst_s is not None and found.worst_at is not None:
        yield f"worst stall: {format_duration(found.worst_s)}, {found.worst_at[:19].replace('T', ' ')}"
        yield "a ring that would have lost nothing in any of them, by replay:"
        for need in found.ring_needed:
            use = "none is enough" if need.bytes is None else (
                f"{format_size(need.bytes)}; with a margin of {round(100 * (MARGIN - 1))} % "
                f"--ring {recommended(need.bytes) >> 20}MiB"
            )  # fmt: skip
            yield f"  at {format_rate(need.rate_bytes_per_s)}: {use}"
    if found.backlog_bytes is not None and found.backlog_rate:
        yield f"largest backlog: {format_size(found.backlog_bytes)} at {format_rate(found.backlog_rate)}"
