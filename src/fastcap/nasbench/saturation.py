"""The end of a bench: as much as the destination takes, until its durable rate is known or the time is over.

In rounds of writes, as long as a capture writes between fsyncs at most, and an fsync. Whoever writes and whoever hears
of the calls keeps one of these: no I/O is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

FIRST_BYTES = 8 << 20  # of a round: the distance between fsyncs of the least ring
COVERED = 3  # a rate is shown for so many times the bench's duration
_STEP = 4  # a round grows so much while that pays
_PAYS = 1.25
_LONG = 1.5  # times the round before
_FALLS, _DROPS = 0.85, 0.5
LEAST_LATE = 3  # rounds in the last third of the time, for one to be usual
FEW_LATE = 10  # fewer may all have been held up
_LEAST_ROUNDS, _LEAST_S = 4, 0.5
_MOST_ROUNDS = 4096
_SLOW_S = 1.0  # so long rounds are watched that show a rate below every rate of interest


class Saturation:
    """What unthrottled rounds have shown so far.

    Parameters
    ----------
    bench_ns, start_ns, end_ns : int
        When the bench began, and this part of it; by when it is to end.
    durable : int
        Bytes that were durable at ``start_ns``.
    most_bytes : int
        The largest round: the largest distance between fsyncs of a capture here.
    rates : sequence of float
        Of interest, bytes per second; none: all the time is used.

    Attributes
    ----------
    round_bytes : int
        To be written before the next fsync.
    climbing : bool
        Whether larger rounds may be faster.
    capped : bool
        Whether they may be, but are more than a capture here has between fsyncs.
    """

    def __init__(
        self,
        bench_ns: int,
        start_ns: int,
        end_ns: int,
        durable: int,
        most_bytes: int,
        *,
        rates: Sequence[float],
    ) -> None:
        self._bench_ns, self.start_ns, self.end_ns = bench_ns, start_ns, end_ns
        self._most, self._rates = most_bytes, rates
        self.round_bytes = min(FIRST_BYTES, most_bytes)
        self.climbing = self.round_bytes < most_bytes
        self.capped = not self.climbing
        self._ends = [(start_ns, durable)]  # of rounds: when, and what was durable then
        self._level = 0  # the first round of this size
        self._smaller: tuple[int, float] | None = None  # the size of the rounds before, and their rate

    def synced(self, now_ns: int, durable: int) -> None:
        """Take that a round is durable."""
        if self._is_cut(now_ns, durable):
            return
        self._ends.append((now_ns, durable))
        if self.climbing:
            self._climb()
            return
        if durable - self._ends[-2][1] < self.round_bytes:
            self.capped = False  # it is slow at writing, not for its fsyncs
        if len(self._ends) - self._level > 2 * _MOST_ROUNDS:
            del self._ends[self._level + 1 : -1 : 2]

    def _is_cut(self, now_ns: int, durable: int) -> bool:
        """Tell whether a round is short only because the time is over: that says nothing of the rate."""
        if now_ns < self.end_ns or durable - self._ends[-1][1] >= self.round_bytes or len(self._ends) < 3:
            return False
        return now_ns - self._ends[-1][0] < _LONG * (self._ends[-1][0] - self._ends[-2][0])

    def _climb(self) -> None:
        """Go on with larger rounds while they are faster than the ones before, and back to those when they are not."""
        before, last = self._ends[-2:]
        rate, smaller = self._between(before, last), self._smaller
        self._level = len(self._ends) - 2
        if last[1] - before[1] < self.round_bytes:
            self.climbing = False  # the time for writing was over before
        elif smaller is not None and rate < _PAYS * smaller[1]:
            self.round_bytes, self.climbing = smaller[0], False
        elif self.round_bytes >= self._most:
            self.climbing, self.capped = False, True
        else:
            self._smaller = self.round_bytes, rate
            self.round_bytes = min(_STEP * self.round_bytes, self._most)

    @staticmethod
    def _between(a: tuple[int, int], b: tuple[int, int]) -> float:
        return (b[1] - a[1]) / max(1e-9, (b[0] - a[0]) * 1e-9)

    def _at_share(self, share: float) -> tuple[int, int]:
        """Return the end of the last round before so much of the time since the rounds have their size."""
        ends = self._ends[self._level :]
        when_ns = ends[0][0] + share * (ends[-1][0] - ends[0][0])
        return max(end for end in ends if end[0] <= when_ns)

    @property
    def seconds(self) -> float:
        """Up to the last round's end."""
        return (self._ends[-1][0] - self.start_ns) * 1e-9

    @property
    def bytes(self) -> int:
        """Bytes made durable."""
        return self._ends[-1][1] - self._ends[0][1]

    @property
    def rate(self) -> float | None:
        """Bytes per second made durable, in the last third of the time or in all of it, whichever is less."""
        if len(self._ends) < 2:
            return None
        last = self._ends[-1]
        return min(self._between(self._at_share(0), last), self._between(self._at_share(2 / 3), last))

    def late(self) -> list[float]:
        """Return the rates of the last third's rounds, ascending."""
        return sorted(self._rates_since(2 / 3))

    def _rates_since(self, share: float) -> list[float]:
        from_ns = self._at_share(share)[0]
        ends = [end for end in self._ends[self._level :] if end[0] >= from_ns]
        return [self._between(a, b) for a, b in pairwise(ends)]

    @property
    def fastest(self) -> float | None:
        """Bytes per second of the fastest round in the second half of the time; None: there was none."""
        return max(self._rates_since(1 / 2), default=None)

    @property
    def falling(self) -> bool:
        """Tell whether the last third of the time was slower than the one before, or the last round than all."""
        third, middle, last = self._at_share(1 / 3), self._at_share(2 / 3), self._ends[-1]
        if third < middle and self._between(middle, last) < _FALLS * self._between(third, middle):
            return True
        whole = self._between(self._at_share(0), last)
        return len(self._ends) > 1 and self._between(self._ends[-2], last) < _DROPS * whole

    def over(self, now_ns: int) -> bool:
        """Tell whether time or rounds are enough."""
        if now_ns >= self.end_ns:
            return True
        elapsed_s, rate = (now_ns - self.start_ns) * 1e-9, self.rate
        if not self._rates or rate is None or elapsed_s < _LEAST_S or len(self._ends) <= _LEAST_ROUNDS:
            return False
        if self.climbing or self.falling:
            return False
        late, bench_s = self.late(), (now_ns - self._bench_ns) * 1e-9
        if any(rate < r <= late[-1] for r in self._rates):
            return False  # it was held up, or will be
        taken = [r for r in self._rates if rate >= r]
        if not taken:
            return elapsed_s >= _SLOW_S and len(late) >= LEAST_LATE
        return self._ends[-1][1] >= COVERED * bench_s * max(taken)
