"""The offered load, and when to fsync: the rules of a capture's writer, for a ring no larger than needed.

A capture's distance between fsyncs is bounded by an eighth of its ring (`fastcap.ringsize`). The bench has no
ring; it takes the least one that would have borne everything so far, and not below `LEAST_RING_BYTES`. What it
then finds to be needed is needed by a ring of that size, not by one that fsyncs less often.
"""

from __future__ import annotations

from fastcap.ringsize import SYNCS, default_fsync_bytes, default_ring_bytes
from fastcap.workers.writing import GATHER_S, SYNC_NS

LEAST_RING_BYTES = 64 << 20
CATCH_UP = 4  # while catching up a capture writes so many times what it gathers
WORD_BYTES = 8


class Offer:
    """Bytes a source would have sent by a time, by the monotonic clock and whatever the destination does.

    Parameters
    ----------
    bytes_per_s : float or None
        None: as much as is taken.
    start_ns : int
        CLOCK_MONOTONIC.
    end_ns : int
        Nothing is offered after that.
    """

    def __init__(self, bytes_per_s: float | None, start_ns: int, end_ns: int) -> None:
        self.bytes_per_s = bytes_per_s
        self.start_ns, self.end_ns = start_ns, end_ns

    def by(self, now_ns: int) -> int:
        """Return the bytes offered by ``now_ns``, whole words; with no pace there is no such number: 0."""
        if self.bytes_per_s is None:
            return 0
        elapsed_ns = max(0, min(now_ns, self.end_ns) - self.start_ns)
        return int(elapsed_ns * self.bytes_per_s // 1_000_000_000) // WORD_BYTES * WORD_BYTES

    def when_ns(self, position: int) -> int:
        """Return when ``position`` bytes are offered."""
        assert self.bytes_per_s is not None
        return self.start_ns + int((position + WORD_BYTES) * 1e9 / self.bytes_per_s)


class SyncPolicy:
    """When a capture's writer would fsync.

    Attributes
    ----------
    ring_bytes : int
        The least ring that would have borne the backlogs seen so far.
    """

    def __init__(self, bytes_per_s: float | None, every: int | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._every = every
        least = LEAST_RING_BYTES if bytes_per_s else default_ring_bytes()
        self.ring_bytes = max(least, SYNCS * (every or 0))
        self._took_ns = 0

    def distance(self, backlog: int) -> int:
        """Return the bytes between fsyncs; see `fastcap.workers.nas_writer.NasWriter`."""
        self.ring_bytes = max(self.ring_bytes, backlog)
        if (
            self._bytes_per_s is None
        ):  # a source that is always ahead: as much as a capture ever leaves unsynced
            return self._every or self.ring_bytes // 8
        every = self._every or default_fsync_bytes(self.ring_bytes, self._bytes_per_s)
        slow = int(2 * self._bytes_per_s * self._took_ns * 1e-9)
        return min(self.ring_bytes // 8, max(every, backlog // 2, slow))

    def due(self, unsynced: int, backlog: int, since_last_ns: int) -> bool:
        """Tell whether it is time."""
        return unsynced >= self.distance(backlog) or (unsynced > 0 and since_last_ns >= SYNC_NS)

    def synced(self, took_ns: int) -> None:
        """Remember how long the last fsync took."""
        self._took_ns = took_ns


__all__ = ["CATCH_UP", "GATHER_S", "LEAST_RING_BYTES", "Offer", "SyncPolicy"]
