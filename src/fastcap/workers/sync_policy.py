"""When a destination's writer writes and when it fsyncs: rules without I/O.

Three things go by them: the writer of a capture (`workers/writing`), the bench's writer, and the bench's replay.
"""

from __future__ import annotations

GATHER_BYTES = 1 << 20  # a write waits for this much, or for GATHER_S
GATHER_S = 0.1
BLOCK_BYTES = 4 << 20
SYNC_NS = 1_000_000_000  # words are durable so soon where fsyncs are fast
MOST_SYNC_NS = 10 * SYNC_NS
SHARE_OF_RING = 8  # a distance between fsyncs is at most one part in so many of the ring


def patience_ns(took_ns: int) -> int:
    """Return for how long words wait for an fsync at most: where one takes long, twice as long is written between two.

    With less, a writer that is behind does nothing but fsync.
    """
    return min(max(SYNC_NS, 2 * took_ns), MOST_SYNC_NS)


class SyncPolicy:
    """Decide when written bytes are to be made durable.

    Parameters
    ----------
    every : int
        Wanted bytes between fsyncs.
    bytes_per_s : float or None
        The source's rate, if it is known.
    now_ns : int
        CLOCK_MONOTONIC.
    """

    def __init__(self, every: int, bytes_per_s: float | None, now_ns: int) -> None:
        self._every = every
        self._bytes_per_s = bytes_per_s or 0.0
        self._took_ns = 0
        self._last_ns = now_ns

    def distance(self, backlog: int, capacity: int, room: int) -> int:
        """Return the bytes between fsyncs: more while catching up or when fsync is slow, a ring eighth at most.

        ``room`` is what is used of the ring's ``capacity``: one that has not grown yet is not to be filled by bytes
        that only wait for the fsync.
        """
        wanted = max(self._every, backlog // 2, 2 * self._bytes_per_s * self._took_ns * 1e-9)
        return int(min(capacity // SHARE_OF_RING, room // 2, wanted))

    def due(self, unsynced: int, backlog: int, capacity: int, room: int, now_ns: int) -> bool:
        """Tell whether ``unsynced`` bytes, of a ``backlog`` that is not durable, are to be fsynced now."""
        late = now_ns - self._last_ns >= self.patience_ns
        return unsynced >= self.distance(backlog, capacity, room) or (unsynced > 0 and late)

    @property
    def patience_ns(self) -> int:
        """For how long words wait for the next fsync at most."""
        return patience_ns(self._took_ns)

    def tried(self, now_ns: int, took_ns: int | None) -> None:
        """Take that an fsync has returned, after ``took_ns``; None: it failed."""
        self._last_ns = now_ns
        if took_ns is not None:
            self._took_ns = took_ns
