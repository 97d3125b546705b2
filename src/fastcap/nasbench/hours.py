"""A long bench hour by hour: percentiles, the worst stall, how the data's delay was spread, and where it is going."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.model import Hour
from fastcap.units import format_duration

HOUR_NS = 3_600_000_000_000
LEAST_S, PER_DECADE, DECADES = 1e-4, 6, 7  # bins of the delay: from 0.1 ms to 1,000 s
_WORSE, _LEAST_HOURS = 1.5, 3


class HourTally:
    """What one hour of the offered load was like."""

    def __init__(self) -> None:
        self.calls = {"write": LatencyHistogram(), "fsync": LatencyHistogram()}
        self.delays = LatencyHistogram()
        self.counts = [0] * (PER_DECADE * DECADES)
        self.stalls, self.stalled_s, self.worst_s, self.durable = 0, 0.0, 0.0, 0

    def delayed(self, delay_ns: int) -> None:
        """Take for how long some data waited."""
        self.delays.record(delay_ns)
        at = math.floor(PER_DECADE * math.log10(max(delay_ns * 1e-9, LEAST_S) / LEAST_S))
        self.counts[min(at, len(self.counts) - 1)] += 1

    def stalled(self, for_s: float) -> None:
        """Take a stall that began in this hour."""
        self.stalls += 1
        self.stalled_s += for_s
        self.worst_s = max(self.worst_s, for_s)

    def made(self, number: int, observed_s: float) -> Hour:
        """Return the figures."""
        return Hour(
            number=number, observed_s=round(observed_s, 3), delay_p50_s=self.delays.percentile(50),
            delay_p99_s=self.delays.percentile(99), write_p99_s=self.calls["write"].percentile(99),
            fsync_p99_s=self.calls["fsync"].percentile(99), stalls=self.stalls, stalled_s=round(self.stalled_s, 6),
            worst_stall_s=round(self.worst_s, 6), durable_bytes=self.durable, delay_counts=self.counts,
        )  # fmt: skip


def trend(hours: Sequence[Hour]) -> str | None:
    """Return in words how the last third of the hours compares with the first; None: there are too few."""
    third = len(hours) // 3
    if third < 1 or len(hours) < _LEAST_HOURS:
        return None
    first, last = (_p99_s(part) for part in (hours[:third], hours[-third:]))
    if first is None or last is None:
        return None
    of = f"data's p99 {format_duration(first)} in the first {third} h, {format_duration(last)} in the last"
    if last > _WORSE * first:
        return f"getting worse: {of}"
    return f"getting better: {of}" if _WORSE * last < first else f"steady: {of}"


def _p99_s(hours: Sequence[Hour]) -> float | None:
    """Return the median of some hours' 99th percentiles of the delay."""
    found = sorted(hour.delay_p99_s for hour in hours if hour.delay_p99_s is not None)
    return found[len(found) // 2] if found else None
