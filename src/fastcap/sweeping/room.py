"""How far writing may lag: the next recording begins only if the ring could hold all of it.

A recording is as long as it is, whatever the destination does; what the ring cannot hold would be lost. So the
backlog plus the next recording must fit. One that is larger than the ring begins when nothing is left to write.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from fastcap._ring import ESSENTIAL, SLOTS, Ring
from fastcap.session import Session

SLOTS_KEPT = 4  # see `fastcap.workers.conduct`: with fewer, a recording would wait there
_SPARE = 16  # a part of the ring that is left free
LOOK_S = 0.05


class Room:
    """Watches how much of a session's ring is still to be written."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._ring: Ring | None = None

    def backlog_bytes(self, session: Session) -> int:
        """Return the bytes that the slowest writer still has before it."""
        if session is not self._session:
            self.close()
            self._ring, self._session = session.attach(), session
        assert self._ring is not None
        head = self._ring.head
        slots = (self._ring.slot_state(k) for k in range(SLOTS))
        return max((head - s["cursor"] for s in slots if _writes(s)), default=0)

    def _slots_free(self) -> int:
        assert self._ring is not None
        return sum(self._ring.slot_state(k)["state"] == "FREE" for k in range(SLOTS))

    def wait(self, session: Session | None, needed_bytes: int | None, tell: Callable[[int], None]) -> None:
        """Block until a recording of so many bytes fits, and the ring has slots for its consumers.

        Parameters
        ----------
        needed_bytes : int or None
            None: not known; then half of the ring must be free.
        tell : callable
            Called with the backlog, each time that it has to wait on.
        """
        if session is None:
            return
        most = session.ring_bytes - session.ring_bytes // _SPARE
        needed = session.ring_bytes // 2 if needed_bytes is None else min(needed_bytes, most)
        while (backlog := self.backlog_bytes(session)) + needed > most or self._slots_free() < SLOTS_KEPT:
            tell(backlog)
            session.wait_for(lambda: False, LOOK_S)
            if session.over:
                return

    def close(self) -> None:
        """Let go of the ring."""
        if self._ring is not None:
            self._ring.close()
        self._ring = self._session = None


def wait_for_earlier(folders: Sequence[str], own: str | None, tell: Callable[[str], None]) -> None:
    """Wait until sessions of an earlier run, whose program died, have written what they had."""
    from fastcap.workers.statusfile import read_all

    told = False
    while True:
        busy = [
            s for s in read_all()
            if s["alive"] and s["uid"] == os.getuid() and s["recordings"]
            and s["folder"] in folders and s["folder"] != own
        ]  # fmt: skip
        if not busy:
            return
        if not told:
            tell("waiting: the last run's recordings are still being written")
            told = True
        time.sleep(2 * LOOK_S)


def bytes_of(message: dict[str, Any]) -> int | None:
    """Return the bytes that a ``record`` message asks for; None: not known."""
    if message["max_words"]:
        return int(message["max_words"]) * 8
    if message["max_seconds"] and message["rate"]:
        return int(Fraction(*message["max_seconds"]) * Fraction(*message["rate"]) * 8)
    return None


def _writes(state: dict[str, Any]) -> bool:
    return state["state"] != "FREE" and bool(state["flags"] & ESSENTIAL)
