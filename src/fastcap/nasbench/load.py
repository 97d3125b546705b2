"""What the bench's writer writes, and when: the offered load by the clock, then as much as is taken.

By the capture's rules for writes and fsyncs, with the ring that a capture would take here. System calls, clock and
sleep are given to it; what it does is told call by call.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable
from typing import Any, Protocol

from fastcap.nasbench.offer import WORD_BYTES, Offer
from fastcap.nasbench.saturation import Saturation
from fastcap.wire import Message
from fastcap.workers.directory import SinkFailed
from fastcap.workers.supervisor import first_room
from fastcap.workers.sync_policy import BLOCK_BYTES, GATHER_BYTES, GATHER_S, SHARE_OF_RING, SyncPolicy
from fastcap.workers.writing import RETRY_S

CATCH_UP = BLOCK_BYTES // GATHER_BYTES  # while catching up a capture writes so many times what it gathers
LEAST_SPAN_BYTES = 16 << 20
PAGE = 4096
_TELL_NS = 20_000_000
_TELL_CALLS = 64


def piece_of(message: Message) -> int:
    """Return the bytes that everything written is a multiple of."""
    return PAGE if message["direct"] else WORD_BYTES


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """The bench is over."""


class Calls(Protocol):
    """See `fastcap.nasbench.writer.Calls`."""

    most_bytes: int

    def now(self) -> int:
        """Return the monotonic time, ns."""

    def write(self, position: int, size: int, offset: int) -> tuple[int, int, int]:
        """Write; return (bytes or -errno, start_ns, took_ns)."""

    def sync(self) -> tuple[int, int, int]:
        """Make everything durable; return (0 or -errno, start_ns, took_ns)."""

    def wait(self, timeout_s: float) -> None:
        """Sleep for at most so long; raise `Stopped` where that is the order."""


class Place(Protocol):
    """Where it writes; see `fastcap.nasbench.writer.Destination`."""

    directory: str
    span_bytes: int
    goes_round: bool
    crowded: bool
    grown: threading.Event


class Load:
    """Writes the offered load, then as much as is taken, until it is told to stop or has done both."""

    def __init__(self, calls: Calls, there: Place, message: Message, tell: Callable[[Message], None]) -> None:
        self.io, self.there, self.message, self._send = calls, there, message, tell
        self.block: int = message["block_bytes"]
        start_ns = self.io.now()
        end_ns = start_ns + int(message["seconds"] * 1e9)
        self.offer = Offer(message["bytes_per_s"], start_ns, end_ns, piece=piece_of(message))
        self.capacity: int = message["ring_bytes"]
        self.room = first_room(self.capacity)
        self.policy = SyncPolicy(message["fsync_every"], message["bytes_per_s"], start_ns)
        self.written = self.synced = 0
        self.failing = False  # since a call failed nothing was made durable
        self.told_ns = self.ended_ns = self.last_sync_ns = start_ns
        self.calls: list[list[Any]] = []

    def run(self) -> None:
        """Write; returns when everything written is durable, or cannot be made so."""
        with contextlib.suppress(Stopped):
            if self.offer.bytes_per_s is not None:
                self._pace()
            if not self.failing and self._has_room(self.block):
                self._saturate()
        if self.written > self.synced:
            self._sync()
        self.ended_ns = self.io.now()
        self._tell(now=True)

    def _pace(self) -> None:
        """Write what is offered while the time lasts, then make it durable."""
        while self.io.now() < self.offer.end_ns:
            upto = self._wait()
            while self.written < upto and self.io.now() < self.offer.end_ns:
                self._write(min(upto - self.written, CATCH_UP * self.block))
                self._sync_if_due()
            self._sync_if_due()
        if self.written > self.synced:
            self._sync()

    def _has_room(self, size: int) -> bool:
        """Tell whether so much goes to new blocks, or may go round."""
        return self.there.goes_round or self.written + size <= self.there.span_bytes

    def _saturate(self) -> None:
        """Write as much as is taken, in rounds, until that is known or new blocks are used up."""
        begin_ns, end_ns = self.io.now(), self.offer.end_ns
        if self.offer.bytes_per_s is not None:
            end_ns = begin_ns + int(self.message["saturate_s"] * 1e9)
        if end_ns <= begin_ns:
            return
        most = self.capacity // SHARE_OF_RING
        parts = (self.offer.start_ns, begin_ns, end_ns, self.synced, most)
        found = Saturation(*parts, rates=self.message["rates"])
        self._tell(now=True)
        self._send({"op": "saturating", "parts": parts})
        while not found.over(self.io.now()) and self._has_room(self.block):
            self._round(found)

    def _round(self, found: Saturation) -> None:
        """Write until an fsync is due, or this part of the bench over; then fsync."""
        before, span = self.synced, self.there.span_bytes
        while self.io.now() < found.end_ns and self._has_room(self.block):
            unsynced = self.written - before
            late = unsynced > 0 and self.io.now() - self.last_sync_ns >= self.policy.patience_ns
            if late or unsynced >= min(span, found.round_bytes):
                break
            self._write(min(found.round_bytes - unsynced, CATCH_UP * self.block))
            self.io.wait(0.0)
        if self.written > before:
            self._sync()
        if self.synced > before:
            found.synced(self.last_sync_ns, self.synced)

    def _wait(self) -> int:
        """Return up to where is offered, once a block is, or a moment has passed; with no pace, at once."""
        due_ns = min(self.offer.when_ns(self.written + self.block), self.offer.end_ns)
        wait_s = min((due_ns - self.io.now()) * 1e-9, GATHER_S)
        if wait_s > 0:
            self._tell(now=True)
        self.io.wait(max(0.0, wait_s))
        return self.offer.by(self.io.now())

    def _write(self, size: int) -> None:
        offset = self.written % self.there.span_bytes
        unsynced, span = self.written - self.synced, self.there.span_bytes
        size = min(size, span - offset, span - unsynced, self.io.most_bytes)
        done, start, took = self.io.write(self.written, size, offset)
        if self.message["direct"] and done > 0:
            done -= done % PAGE  # what follows begins at a page again
        if done <= 0:
            self._note("write", start, took, 0)
            self._failed("write", -done if done else errno.EIO)
            return
        self.written += done
        self._note("write", start, took, done)
        self._tell(now=False)

    def _sync_if_due(self) -> None:
        now = self.io.now()
        backlog, unsynced = self.offer.by(now) - self.synced, self.written - self.synced
        if backlog > self.room:
            self.room = self.capacity  # a capture's ring would have grown
        # a round within a small span ends with an fsync: bytes that are written over never reach the disk
        if unsynced >= self.there.span_bytes or self.policy.due(
            unsynced, backlog, self.capacity, self.room, now
        ):
            self._sync()
            self.io.wait(0.0)

    def _sync(self) -> None:
        reached = self.written
        rc, start, took = self.io.sync()
        self.last_sync_ns = start + took
        self.policy.tried(self.last_sync_ns, None if rc < 0 else took)
        if rc < 0:
            self._note("fsync", start, took, -1)
            self._failed("fsync", -rc)
            return
        self.synced, self.failing = reached, False
        self._note("fsync", start, took, reached)
        self._tell(now=False)
        self._mind_room()

    def _mind_room(self) -> None:
        """While the file grows: turn round early rather than take what others need by now."""
        if self.there.grown.is_set():
            return
        longest = min(self.written, self.there.span_bytes)
        if self.there.crowded and longest >= LEAST_SPAN_BYTES:
            self.there.span_bytes = longest // PAGE * PAGE
        if longest >= self.there.span_bytes:
            self.there.grown.set()

    def _failed(self, doing: str, error: int) -> None:
        """Tell, wait a little, and write everything since the last good fsync again, as a capture does."""
        where = f"the bench's file in {self.there.directory}"
        self._tell(now=True)
        text = str(SinkFailed(doing, where, error))
        self._send({"op": "failed", "at_ns": self.io.now(), "text": text, "errno": error})
        self.written, self.failing = self.synced, True
        self.io.wait(RETRY_S)

    # -- telling -------------------------------------------------------------------------------------------

    def _note(self, call: str, start_ns: int, took_ns: int, value: int) -> None:
        """Keep a call: bytes of a write (0: failed), or up to where an fsync made things durable (-1: failed)."""
        self.calls.append([call, start_ns, took_ns, value])

    def _tell(self, *, now: bool) -> None:
        """Send the calls that were kept, not with each one: telling must not become the load."""
        at_ns = self.io.now()
        if not self.calls or not (now or at_ns - self.told_ns > _TELL_NS or len(self.calls) > _TELL_CALLS):
            return
        self._send({"op": "calls", "calls": self.calls})
        self.calls, self.told_ns = [], at_ns
