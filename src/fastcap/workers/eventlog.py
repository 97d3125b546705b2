"""The event log as the splitter writes it: its room is there beforehand.

Records are appended, then committed. Allocated is always the largest header more than is written: whoever fills
``/dev/shm`` meanwhile stops nothing. Where there was no room for that either, the splitter waits for it and says so;
the reader drops what the ring does not hold until then, and counts it.
"""

from __future__ import annotations

import os
import time

from fastcap._ring import LOG_BYTES
from fastcap.errors import RingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fastcap._ring import Ring

AHEAD_BYTES = (512 << 10) + 4096  # the largest header, and what goes with it
RETRY_S = 0.05


class EventLog:
    """The log of one ring, appended to by this process alone.

    Parameters
    ----------
    on_full : callable
        Called once with an error's text when there is no room for a record.

    Attributes
    ----------
    nbytes : int
        How long it is.
    """

    def __init__(self, ring: Ring, on_full: Callable[[str], None]) -> None:
        self._ring, self._on_full = ring, on_full
        self.nbytes = ring.events
        self._room = os.fstat(ring.events_fd).st_size

    def append(self, record: bytes) -> None:
        """Write a record; who calls this commits it. Blocks while there is no room.

        Raises
        ------
        RingError
            The file takes less than it has room for.
        """
        self._make_room(len(record))
        done = os.pwrite(self._ring.events_fd, record, self.nbytes)
        if done != len(record):
            raise RingError(
                f"the ring's event log took {done} of {len(record)} bytes; see what is wrong with /dev/shm"
            )
        self.nbytes += done

    def _make_room(self, size: int) -> None:
        told = False
        while self.nbytes + size + AHEAD_BYTES > self._room:
            try:
                os.posix_fallocate(self._ring.events_fd, self._room, LOG_BYTES)
                self._room += LOG_BYTES
            except OSError as e:
                if self.nbytes + size <= self._room:
                    return
                if not told:
                    told = True
                    self._on_full(f"no room for the ring's event log: {e.strerror}; free some of /dev/shm")
                time.sleep(RETRY_S)
