"""Latency histograms that can be added up: log-linear buckets, small, cheap to record into."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Buckets per octave: a power of two, so that a bucket is found by shifting. A bucket is at most 1/128 of its
# values wide, and its middle at most half of that away from any of them.
_SHIFT = 7
_PER_OCTAVE = 1 << _SHIFT


class LatencyHistogram:
    """Count durations in nanoseconds, to within 0.4 % of each.

    Buckets are log-linear (after G. Tene's HdrHistogram): 128 of equal width to each octave, exact below
    256 ns, without an upper end. A percentile is the middle of its bucket and therefore at most
    1/256 (0.4 %) away from a recorded value; `max_ns` and `count` are exact. Two histograms added up are the
    histogram of both sets of durations. Not for several threads at once.
    """

    __slots__ = ("_buckets", "count", "max_ns")

    def __init__(self) -> None:
        self.count = 0
        self.max_ns: int | None = None
        self._buckets: dict[int, int] = {}

    def record(self, elapsed_ns: int) -> None:
        """Count one duration.

        Raises
        ------
        ValueError
            The duration is negative. Nothing was counted.
        """
        if elapsed_ns < 0:
            raise ValueError(f"a duration of {elapsed_ns} ns is negative: take both ends from one clock")
        octave = elapsed_ns.bit_length() - _SHIFT - 1
        bucket = elapsed_ns if octave <= 0 else (octave << _SHIFT) + (elapsed_ns >> octave)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        if self.max_ns is None or elapsed_ns > self.max_ns:
            self.max_ns = elapsed_ns

    def merge(self, other: LatencyHistogram) -> None:
        """Add the counts of ``other``, which is left as it was."""
        for bucket, n in list(other._buckets.items()):
            self._buckets[bucket] = self._buckets.get(bucket, 0) + n
        self.count += other.count
        if other.max_ns is not None and (self.max_ns is None or other.max_ns > self.max_ns):
            self.max_ns = other.max_ns

    def percentile(self, percent: float) -> float | None:
        """Return the duration in seconds that ``percent`` of all do not exceed; None when none was recorded.

        Raises
        ------
        ValueError
            ``percent`` is not within 0..100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"percentile {percent} is not within 0..100")
        if self.max_ns is None:
            return None
        below, middle_ns = 0, 0.0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            middle_ns = _middle_ns(bucket)
            if below * 100 >= percent * self.count:
                break
        return min(middle_ns, self.max_ns) / 1e9

    def to_dict(self) -> dict[str, float | int | None]:
        """Return what a report says: ``p50``, ``p99``, ``p999``, ``max`` in seconds, and the ``count``.

        What was not measured is None, never 0.
        """
        return {
            "p50": self.percentile(50),
            "p99": self.percentile(99),
            "p999": self.percentile(99.9),
            "max": None if self.max_ns is None else self.max_ns / 1e9,
            "count": self.count,
        }

    def bins_ns(self) -> dict[int, int]:
        """Return how many durations each bucket holds, by the bucket's middle in ns, ascending."""
        return {round(_middle_ns(bucket)): self._buckets[bucket] for bucket in sorted(self._buckets)}

    def to_json(self) -> dict[str, Any]:
        """Return the whole histogram as a dict that JSON can carry; only buckets that are not empty."""
        return {"max_ns": self.max_ns, "buckets": {str(bucket): n for bucket, n in self._buckets.items()}}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> LatencyHistogram:
        """Return the histogram that `to_json` made ``value`` of.

        Raises
        ------
        ValueError
            ``value`` is no such dict.
        """
        made = cls()
        try:
            made._buckets = {int(bucket): int(n) for bucket, n in value["buckets"].items()}
            made.max_ns = None if value["max_ns"] is None else int(value["max_ns"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a histogram as to_json() makes it: {error!r}") from error
        made.count = sum(made._buckets.values())
        numbers = [*made._buckets, *made._buckets.values(), made.max_ns or 0]
        if min(numbers) < 0 or (made.max_ns is None) != (made.count == 0):
            raise ValueError(
                "not a histogram as to_json() makes it: counts and maximum contradict each other"
            )
        return made


def _middle_ns(bucket: int) -> float:
    if bucket < 2 * _PER_OCTAVE:
        return float(bucket)
    octave = (bucket >> _SHIFT) - 1
    low = (bucket - (octave << _SHIFT)) << octave
    return low + ((1 << octave) - 1) / 2
