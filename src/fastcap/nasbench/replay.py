"""A capture's writer in a model: the calls of a bench as its disk, a source of some rate, a ring of some size.

The writer goes by the capture's own rules (`fastcap.workers.sync_policy`), its calls take what calls of their size
took in the bench, and where the bench's were held up these are, too. A ring is large enough if it loses nothing
wherever in the trace a capture begins.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from fastcap.nasbench.trace import Phase, Points, Trace, merged, size_class, usual_s
from fastcap.ringsize import LEAST_BYTES, SYNCS, default_fsync_bytes
from fastcap.workers.supervisor import first_room
from fastcap.workers.sync_policy import (
    BLOCK_BYTES,
    GATHER_BYTES,
    GATHER_S,
    SHARE_OF_RING,
    SYNC_NS,
    SyncPolicy,
    patience_ns,
)

MARGIN = 1.3
LEAST_RING_BYTES = 64 << 20
_MIB = 1 << 20
_PRECISION = 64  # a ring is found to one part in so many
_MOST_BYTES = 1 << 50
_LONGEST = 8  # pauses, or rows of them, before which captures are begun, in each phase of the fsyncs
_PHASES = 4
_ALONE = 2.0  # a pause so many times longer than the next is one of its kind
_BEGIN_S = 20.0  # of a capture are replayed from the trace's begin
_MOST_S = 60.0  # of one with the worst pauses, at most, and as much again while it catches up
_SYNC_S = SYNC_NS * 1e-9


class Service:
    """How a destination serves: the usual time of each call, and pauses.

    Parameters
    ----------
    trace : Trace
    saturated : bool
        As where it had no rest: for rates that were not offered to it.
    """

    def __init__(self, trace: Trace, *, saturated: bool) -> None:
        phases = [phase for phase in (trace.paced, trace.saturated) if phase is not None]
        best = phases if saturated else phases[::-1]
        self._points = {kind: _overlaid(best, kind) for kind in ("write", "fsync")}
        counted = phases if saturated else phases[:1]
        self.seconds, pauses = 0.0, []
        for phase in counted:
            pauses += [(self.seconds + at_s, for_s) for at_s, for_s in phase.pauses]
            self.seconds += phase.seconds
        self.pauses = merged(pauses)
        self.create_s = trace.create_s
        self._begins = [at_s for at_s, _ in self.pauses]
        self._known: dict[tuple[str, int], float] = {}

    def done_s(self, at_s: float, kind: str, size: int) -> float:
        """Return when a call that begins at ``at_s`` returns."""
        return self.after(at_s, self.usual_s(kind, size))

    def usual_s(self, kind: str, size: int) -> float:
        """Return what a call takes in which there is no pause."""
        took_s = self._known.get((kind, size))
        if took_s is None:
            took_s = self._known[kind, size] = usual_s(self._points[kind], size)
        return took_s

    def after(self, at_s: float, work_s: float) -> float:
        """Return when so much work is done; none is in a pause."""
        k = bisect_right(self._begins, at_s)
        if k > 0:
            at_s = max(at_s, sum(self.pauses[k - 1]))
        while k < len(self.pauses) and at_s + work_s > self._begins[k]:
            work_s -= self._begins[k] - at_s
            at_s = sum(self.pauses[k])
            k += 1
        return at_s + work_s

    def speed(self, capacity: int) -> float:
        """Return the bytes per second that a writer which is behind makes durable, without pauses."""
        write_s = max(1e-9, self.usual_s("write", BLOCK_BYTES))
        blocks = max(1, -(-capacity // (SHARE_OF_RING * BLOCK_BYTES)))
        sync_s = self.usual_s("fsync", blocks * BLOCK_BYTES)
        blocks = min(blocks, math.ceil(patience_ns(int(sync_s * 1e9)) * 1e-9 / write_s))
        size = blocks * BLOCK_BYTES
        return size / (blocks * write_s + self.usual_s("fsync", size))

    def holds(self, rate: float, capacity: int) -> bool:
        """Tell whether a writer keeps up for as long as one likes; pauses come again, but one of its kind."""
        lengths = sorted((for_s for _, for_s in self.pauses), reverse=True)
        if lengths and lengths[0] > _ALONE * sum(lengths[1:2]):
            del lengths[0]
        return (1 - sum(lengths) / max(self.seconds, 1e-9)) * self.speed(capacity) >= rate

    def clusters(self, rate: float) -> list[tuple[float, float]]:
        """Return (from, to) of the pauses that keep a writer behind the longest, one after the other, longest first.

        Between pauses a writer catches up as fast as it writes and fsyncs the shortest distance of all.
        """
        gained = self.speed(LEAST_RING_BYTES) / rate - 1  # seconds of the stream, by a second without pauses
        found: list[tuple[float, float, float]] = []  # the most it was behind, from, to
        behind_s = until_s = 0.0
        for at_s, for_s in self.pauses:
            behind_s = max(0.0, behind_s - gained * (at_s - until_s)) if found else 0.0
            worst_s, from_s, _ = found.pop() if behind_s > 0 else (0.0, at_s, 0.0)
            behind_s, until_s = behind_s + for_s, at_s + for_s
            found.append((max(worst_s, behind_s), from_s, until_s))
        found.sort(reverse=True)
        return [(from_s, to_s) for _, from_s, to_s in found[:_LONGEST]]


def _overlaid(phases: Sequence[Phase], kind: str) -> Points:
    """Return the points of all phases; of those of about one size the last phase's."""
    found: dict[int, tuple[int, float]] = {}
    for phase in phases:
        for point in getattr(phase, kind):
            found[size_class(point[0])] = point
    return sorted(found.values())


class Capture:
    """One capture in the model; times are the trace's."""

    def __init__(self, service: Service, rate: float, capacity: int, every: int | None) -> None:
        self._service, self._rate, self._capacity = service, rate, capacity
        self._every = every or default_fsync_bytes(capacity, rate)
        self._first = first_room(capacity)

    def begin(self, at_s: float) -> None:
        """Begin to record; the file is created while the source runs."""
        self._origin_s = at_s
        self._at_s = self._service.after(at_s, self._service.create_s)
        self._written = self._durable = 0
        self._room = self._first
        self._policy = SyncPolicy(self._every, self._rate, int(at_s * 1e9))
        self._look()

    def _look(self) -> None:
        self.backlog = int(self._rate * (self._at_s - self._origin_s)) - self._durable
        if self.backlog > self._room:
            self._room = self._capacity

    @property
    def lost(self) -> bool:
        """Tell whether the ring was full."""
        return self.backlog > self._capacity

    @property
    def behind(self) -> bool:
        """Tell whether it writes what came while it was held up."""
        return self.backlog > 2 * self._rate * (GATHER_S + _SYNC_S)

    def run(self, until_s: float) -> bool:
        """Record until then, and on while what came in a pause is not written; tell if anything was lost."""
        at_most_s = until_s + _MOST_S
        while not self.lost and (self._at_s < until_s or (self.behind and self._at_s < at_most_s)):
            self._step()
        return self.lost

    def _step(self) -> None:
        """Wait for bytes, write what is there, fsync when that is due."""
        arrived = self._rate * (self._at_s - self._origin_s)
        if arrived - self._written < GATHER_BYTES:
            self._at_s += min(GATHER_S, (self._written + GATHER_BYTES - arrived) / self._rate)
        upto = int(self._rate * (self._at_s - self._origin_s))
        while self._written < upto and not self.lost:
            size = min(upto - self._written, BLOCK_BYTES)
            self._at_s = self._service.done_s(self._at_s, "write", size)
            self._written += size
            self._sync_if_due()
        self._sync_if_due()

    def _sync_if_due(self) -> None:
        self._look()
        unsynced, now_ns = self._written - self._durable, int(self._at_s * 1e9)
        if self.lost or not self._policy.due(unsynced, self.backlog, self._capacity, self._room, now_ns):
            return
        began_s = self._at_s
        self._at_s = self._service.done_s(began_s, "fsync", unsynced)
        self._look()
        if not self.lost:
            self._durable = self._written
            self._policy.tried(int(self._at_s * 1e9), int((self._at_s - began_s) * 1e9))
            self._look()


class Replay:
    """Captures at one rate."""

    def __init__(self, service: Service, rate: float, every: int | None) -> None:
        self._service, self._rate, self._every = service, rate, every
        self._spans = list(self._all_spans())

    def _all_spans(self) -> Iterator[tuple[float, float]]:
        """Yield from when to when captures record: the trace's begin, and the worst pauses in each phase of fsyncs."""
        service = self._service
        yield 0.0, _BEGIN_S
        for from_s, to_s in service.clusters(self._rate):
            until_s = min(to_s, from_s + _MOST_S)
            if service.create_s > GATHER_S:
                yield from_s, until_s  # the file is created in the pause
            for k in range(_PHASES + 1):
                yield from_s - service.create_s - (GATHER_S + _SYNC_S) * k / _PHASES, until_s

    def loses(self, capacity: int) -> bool:
        """Tell whether a capture with this ring would have lost anything."""
        capture = Capture(self._service, self._rate, capacity, self._every)
        for k, (from_s, to_s) in enumerate(self._spans):
            capture.begin(from_s)
            if capture.run(to_s):
                self._spans.insert(0, self._spans.pop(k))  # a smaller ring will lose there, too
                return True
        return False

    def ring_needed(self) -> int | None:
        """Return the smallest ring that loses nothing and keeps up, bytes; None: none does."""
        service = self._service
        away_s = service.seconds + service.create_s + sum(for_s for _, for_s in service.pauses)
        most = int(2 * self._rate * (away_s + _MOST_S))
        low = high = max(LEAST_BYTES, SYNCS * (self._every or 0))
        while not self._enough(high):
            low, high = high, 2 * high
            if low > most:
                return None
        while high - low > high // _PRECISION:
            middle = (low + high) // 2
            if self._enough(middle):
                high = middle
            else:
                low = middle
        return high

    def _enough(self, capacity: int) -> bool:
        return self._service.holds(self._rate, capacity) and not self.loses(capacity)


def ring_needed(
    trace: Trace, rate: float, every: int | None = None, *, saturated: bool = False
) -> int | None:
    """Return the smallest ring, bytes, that loses nothing at ``rate`` bytes per second in the replay of a trace.

    ``every``: bytes between fsyncs, where they were given. None: no ring is enough.
    """
    return Replay(Service(trace, saturated=saturated), rate, every).ring_needed()


def recommended(needed_bytes: int, every: int | None = None) -> int:
    """Return the ring to use, with the margin, whole MiB."""
    least = max(LEAST_RING_BYTES, SYNCS * (every or 0))
    return max(least, -(-int(needed_bytes * MARGIN) // _MIB) * _MIB)
