"""The event log as the splitter writes it: its room is there beforehand.

Records are appended, then committed. Allocated is always the largest header more than is written: whoever fills
``/dev/shm`` stops nothing. Where there was no room for that either, the splitter holds `framed` and says so,
and the reader drops what the ring does not hold until then, and counts it. A reserve stays for what an end needs.
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

RESERVE_BYTES = 64 << 10  # for the last gaps and files of a recording, and its end
STEP_BYTES = 16 << 10  # what is written at most between two looks at the room, but for a header
AHEAD_BYTES = (512 << 10) + STEP_BYTES + RESERVE_BYTES  # the largest header, and what goes with it
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
    ending : bool
        A recording is about to end: the reserve is for that.
    """

    def __init__(self, ring: Ring, on_full: Callable[[str], None]) -> None:
        self._ring, self._on_full = ring, on_full
        self.ending = self._told = False
        self.nbytes = ring.events
        self._why = ""
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

    def has_room(self, more: int = 0) -> bool:
        """Tell whether there is room for what one step writes and ``more`` bytes; says once that there is none."""
        self._allocate()
        kept = STEP_BYTES if self.ending else STEP_BYTES + RESERVE_BYTES
        return self.nbytes + more + kept <= self._room or not self._tell()

    def _allocate(self, size: int = 0) -> None:
        while self.nbytes + size + AHEAD_BYTES > self._room:
            try:
                os.posix_fallocate(self._ring.events_fd, self._room, LOG_BYTES)
            except OSError as e:
                self._why = e.strerror or str(e)
                return
            self._room += LOG_BYTES
        self._told = False

    def _tell(self) -> bool:
        if not self._told:
            self._told = True
            self._on_full(f"no room for the ring's event log: {self._why}; free some of /dev/shm")
        return True

    def _make_room(self, size: int) -> None:
        self._allocate(size)
        while self.nbytes + size > self._room:
            self._tell()
            time.sleep(RETRY_S)
            self._allocate(size)
