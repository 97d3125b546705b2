"""The calls of a bench as its replay needs them: what a call of so many bytes usually takes, and when it took longer.

A day of calls is as much memory as a minute: of each kind and size a histogram, and one by one the longest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from fastcap.histogram import LatencyHistogram

MOST_CALLS = 4096
_LEAST_PAUSE_S = 0.005
_LEAST_CALLS = 3  # fewer of one size say nothing of what is usual

Points = list[tuple[int, float]]


class Phase(msgspec.Struct, frozen=True):
    """One phase of a bench.

    Attributes
    ----------
    seconds : float
    write, fsync : list of (bytes, seconds)
        What calls of about so many bytes usually took, ascending; of an fsync those that it made durable.
    pauses : list of (at_s, for_s)
        When calls took longer than that, ascending, without overlap: in these times nothing was done.
    """

    seconds: float
    write: Points
    fsync: Points
    pauses: list[tuple[float, float]]


class Trace(msgspec.Struct, frozen=True):
    """The calls of a bench, paced and unthrottled, and how long it took to create the file."""

    paced: Phase | None
    saturated: Phase | None
    create_s: float


def size_class(size: int) -> int:
    """Return a number that calls of about the same size share: two to an octave."""
    return round(2 * math.log2(max(1, size)))


def usual_s(points: Sequence[tuple[int, float]], size: int) -> float:
    """Return what a call of ``size`` bytes takes.

    Between points along a line; a smaller call is taken to be no faster, a larger one slower in proportion.
    """
    if not points:
        return 0.0
    at = next((k for k, (known, _) in enumerate(points) if size <= known), len(points))
    if at == 0:
        return points[0][1]
    below_bytes, below_s = points[at - 1]
    if at == len(points):
        return below_s * size / below_bytes
    above_bytes, above_s = points[at]
    return below_s + (above_s - below_s) * (size - below_bytes) / (above_bytes - below_bytes)


def merged(pauses: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return pauses in order, those that overlap as one."""
    found: list[tuple[float, float]] = []
    for at_s, for_s in sorted(pauses):
        if found and at_s <= sum(found[-1]):
            begin_s, length_s = found[-1]
            found[-1] = begin_s, max(length_s, at_s + for_s - begin_s)
        else:
            found.append((at_s, for_s))
    return found


class _Usual:
    """Durations of calls of about one size."""

    def __init__(self) -> None:
        self.histogram, self.bytes = LatencyHistogram(), 0

    def point(self) -> tuple[int, float]:
        return self.bytes // self.histogram.count, self.histogram.percentile(50) or 0.0


class CallTrace:
    """Gathers the calls of one phase that have returned.

    Parameters
    ----------
    start_ns : int
        CLOCK_MONOTONIC; what the pauses count from.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._usual: dict[str, dict[int, _Usual]] = {"write": {}, "fsync": {}}
        self._calls: list[tuple[int, int, str, int]] = []  # took, start, kind, bytes

    def add(self, kind: str, start_ns: int, took_ns: int, size: int) -> None:
        """Take a call that did its work on ``size`` bytes, more than none."""
        usual = self._usual[kind].setdefault(size_class(size), _Usual())
        usual.histogram.record(took_ns)
        usual.bytes += size
        self._calls.append((took_ns, start_ns, kind, size))
        if len(self._calls) > 2 * MOST_CALLS:
            self._calls.sort(reverse=True)
            del self._calls[MOST_CALLS:]

    def phase(self, seconds: float, outages: Iterable[tuple[float, float]] = ()) -> Phase:
        """Return what was gathered; ``outages`` are (at_s, for_s) in which calls failed or had not returned."""
        points = {kind: _points(usual) for kind, usual in self._usual.items()}
        pauses = list(outages)
        for took_ns, start_ns, kind, size in self._calls:
            expected_s = usual_s(points[kind], size)
            beyond_s = took_ns * 1e-9 - expected_s
            if beyond_s >= max(_LEAST_PAUSE_S, expected_s):
                pauses.append((round((start_ns - self._start_ns) * 1e-9, 6), round(beyond_s, 6)))
        return Phase(round(seconds, 6), points["write"], points["fsync"], merged(pauses))


def _points(usual: dict[int, _Usual]) -> Points:
    often = [u for u in usual.values() if u.histogram.count >= _LEAST_CALLS]
    return sorted(u.point() for u in often or usual.values())
