"""A bench in parts: what was measured is saved each minute, and a bench that a reboot cut off is gone on with.

The parts' figures are added up; of verdicts and rings the worse of both counts, for both were seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from fastcap.errors import ConfigError
from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.hours import HOUR_NS
from fastcap.nasbench.model import Cpu, Fit, Latencies, NasBench, Stall, Timeline, Trouble, load_bench
from fastcap.whole_file import save_whole

SAVE_S = 60.0
_BETTER = ("no", "unknown", "yes")
_MOST_STALLS = 4096
_Event = TypeVar("_Event", Stall, Trouble)


def save(bench: NasBench, path: Path) -> None:
    """Replace what was saved before."""
    save_whole(path, msgspec.json.encode(bench))


def unfinished(path: Path, directory: str, rate: float | None) -> NasBench | None:
    """Return the bench that was saved there before it was over; None: there is none.

    Raises
    ------
    ConfigError
        It is over, or of another directory or rate, or no bench.
    """
    if not path.exists():
        return None
    found = load_bench(path)
    if not found.interrupted:
        raise ConfigError(f"the bench in {path} is over; name another file, or remove it")
    if (found.directory, found.asked_bytes_per_s) != (directory, rate):
        raise ConfigError(
            f"the bench in {path} is of {found.directory}, or of another rate; name another file"
        )
    return found


def merged(before: NasBench, after: NasBench) -> NasBench:
    """Return both parts of a bench as one, counted from the first one's start."""
    began, again = (datetime.fromisoformat(part.started) for part in (before, after))
    apart_s = (again - began).total_seconds()
    observed_s = before.observed_s + after.observed_s
    note = f"cut off, and gone on with at {after.started}"
    durable = sum(part.rate_bytes_per_s * part.observed_s for part in (before, after))
    hours = round(apart_s / (HOUR_NS * 1e-9))
    stalls = [*before.stalls, *(_later(stall, apart_s) for stall in after.stalls)]
    longest = sorted(stalls, key=lambda s: (s.ongoing, s.for_s))[-_MOST_STALLS:]
    return msgspec.structs.replace(
        after, started=before.started, observed_s=round(observed_s, 6),
        rate_bytes_per_s=durable / observed_s if observed_s else 0.0, bytes=before.bytes + after.bytes,
        write_s=_both(before.write_s, after.write_s), fsync_s=_both(before.fsync_s, after.fsync_s),
        delay_s=None if before.delay_s is None or after.delay_s is None else _both(before.delay_s, after.delay_s),
        stalls=sorted(longest, key=lambda s: s.at_s), stalls_in_all=before.stalls_counted + after.stalls_counted,
        stalled_s=before.seconds_stalled + after.seconds_stalled,
        ring_needed_bytes=_larger(before.ring_needed_bytes, after.ring_needed_bytes),
        ring_recommended_bytes=_larger(before.ring_recommended_bytes, after.ring_recommended_bytes),
        fits=[_worse(fit, before.fits) for fit in after.fits],
        timeline=_joined(before.timeline, after.timeline, apart_s),
        warnings=list(dict.fromkeys([*before.warnings, *after.warnings, note])),
        errors=[*before.errors, *(_later(error, apart_s) for error in after.errors)],
        verdict=_worst(before.verdict, after.verdict), new_bytes=max(before.new_bytes, after.new_bytes),
        cpu=_cpu(before.cpu, after.cpu),
        hours=[*before.hours, *(msgspec.structs.replace(h, number=h.number + hours) for h in after.hours)],
    )  # fmt: skip


def _later(event: _Event, by_s: float) -> _Event:
    return msgspec.structs.replace(event, at_s=round(event.at_s + by_s, 6))


def _both(a: Latencies, b: Latencies) -> Latencies:
    both = LatencyHistogram.from_json(a.buckets)
    both.merge(LatencyHistogram.from_json(b.buckets))
    return Latencies.of(both)


def _larger(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else max(a, b)


def _worst(*verdicts: str | None) -> str | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return min(known, key=_BETTER.index, default=None)


def _worse(fit: Fit, before: list[Fit]) -> Fit:
    """Return what is said of a rate by the part that speaks more against it, with the larger ring."""
    same = next((b for b in before if b.rate_hz == fit.rate_hz), fit)
    worse = min((fit, same), key=lambda f: _BETTER.index(f.verdict))
    return msgspec.structs.replace(
        worse, ring_needed_bytes=_larger(fit.ring_needed_bytes, same.ring_needed_bytes)
    )


def _joined(a: Timeline, b: Timeline, apart_s: float) -> Timeline:
    """Return both on one axis, in the steps of the one with the longer."""
    step_s = max(a.step_s, b.step_s)
    lines: list[dict[int, float]] = [{}, {}, {}]
    for part, shift_s in ((a, 0.0), (b, apart_s)):
        kinds: tuple[Sequence[float | None], ...] = (part.write_max_s, part.fsync_max_s, part.backlog_bytes)
        for line, values in zip(lines, kinds, strict=True):
            for k, value in enumerate(values):
                at = int((shift_s + (k + 0.5) * part.step_s) / step_s)
                line[at] = max(line.get(at, 0.0), value or 0.0)
    last = max((max(line, default=-1) for line in lines), default=-1) + 1
    write, fsync, backlog = ([line.get(k) or None for k in range(last)] for line in lines)
    return Timeline(step_s, write, fsync, [int(v or 0) for v in backlog])


def _cpu(a: Cpu | None, b: Cpu | None) -> Cpu | None:
    if a is None or b is None:
        return None
    return Cpu(a.user_s + b.user_s, a.system_s + b.system_s, a.bytes + b.bytes, a.seconds + b.seconds)
