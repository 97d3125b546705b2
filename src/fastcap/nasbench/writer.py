"""The bench's writer process: the only one that touches the destination, by a capture's own calls.

Started as ``python -P -m fastcap.nasbench.writer CONTROL RING_CONTROL RING_DATA RING_EVENTS``. It makes one file,
takes the file's name away where it can (the kernel then frees it however this process ends), and writes round
within the span: `write_at` and `sync` from a small ring of noise, paced by the clock, fsynced as by a capture's
writer. Each call is told of; what is durable, and since when a call is under way, stands in the ring's slot,
where it can be seen while this process sleeps in the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from typing import Any

import msgspec

from fastcap._pump import sync, write_at
from fastcap._ring import Ring, Slot, now_ns
from fastcap.nasbench import leftovers
from fastcap.nasbench.mounts import mount_of, warnings_of
from fastcap.nasbench.policy import CATCH_UP, GATHER_S, Offer, SyncPolicy
from fastcap.wire import Channel, Closed, Message
from fastcap.workers._start import attach, serve
from fastcap.workers.directory import SinkFailed
from fastcap.workers.writing import RETRY_S

SHARE = 2  # a bench takes at most one part in so many of what is free
LEAST_SPAN_BYTES = 16 << 20
_TELL_NS = 20_000_000
_TELL_CALLS = 64
_PAGE = 4096
_ROOM_S = 1.0
_NEEDS_NAME = ("btrfs",)  # fsync of a file without a name writes no log there: it would look too good


class Stopped(Exception):  # noqa: N818 - an order, not an error
    """The bench is over."""


class Refused(Exception):  # noqa: N818 - becomes fastcap.SinkError in the bench
    """The directory cannot be used, or has not the room."""


class Destination:
    """The file that is written, and the directory it is in.

    Raises
    ------
    Refused
        It cannot be made, or there is not enough room.
    """

    def __init__(self, message: Message) -> None:
        self.directory: str = message["directory"]
        try:
            self.dir_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.removed = leftovers.remove(self.dir_fd)
            fs = os.fstatvfs(self.dir_fd)
        except OSError as e:
            remedy = "name a directory that exists and can be written"
            raise Refused(f"cannot use {self.directory}: {e.strerror}; {remedy}") from e
        self.free_bytes = fs.f_bavail * fs.f_frsize
        self.mount, automount = mount_of(self.dir_fd)
        self.warnings = warnings_of(self.mount, automount)
        self.span_bytes = self._span(message["span_bytes"], message["span_given"])
        self.crowded, self.grown = False, threading.Event()
        self.name: str | None = leftovers.new_name()
        self._create()

    def _span(self, wanted: int, given: bool) -> int:
        """Return the bytes to write round in; a default shrinks with the room there is."""
        most = self.free_bytes // SHARE // _PAGE * _PAGE
        if most < LEAST_SPAN_BYTES:
            raise Refused(
                f"{self.free_bytes} bytes are free in {self.directory}, and a bench needs "
                f"{SHARE * LEAST_SPAN_BYTES}; free some"
            )
        if given and wanted > most:
            raise Refused(
                f"--span {wanted} is more than half of the {self.free_bytes} bytes free in {self.directory}; "
                f"free some, or use --span {most} or less"
            )
        return min(wanted // _PAGE * _PAGE, most)

    def _create(self) -> None:
        assert self.name is not None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.fd = os.open(self.name, flags, 0o600, dir_fd=self.dir_fd)
        except OSError as e:
            raise Refused(f"cannot write in {self.directory}: {e.strerror}; name another directory") from e
        if self.mount is None or self.mount.file_system not in _NEEDS_NAME:
            self.unlink()

    def unlink(self) -> None:
        """Take the file's name away; where that cannot be done while it is open, it is done at the end."""
        if self.name is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.name, dir_fd=self.dir_fd)
                self.name = None

    def close(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):  # the bytes go anyway; what was measured of them must not
            os.close(self.fd)
        self.unlink()

    def is_elsewhere(self) -> bool:
        """Tell whether the path leads to something else by now: it was unmounted, removed or replaced."""
        try:
            return not os.path.samestat(os.stat(self.directory), os.fstat(self.dir_fd))
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # unreachable is not elsewhere; the calls tell what is wrong

    def watch_room(self) -> None:
        """Look at what is free while the file grows, in a thread: no call of the capture's own waits for it."""
        threading.Thread(target=self._watch_room, name="room", daemon=True).start()

    def _watch_room(self) -> None:
        """Set `crowded` when others have taken half of what was free for them."""
        least = self.free_bytes // (2 * SHARE)
        while not self.crowded and not self.grown.wait(_ROOM_S):
            with contextlib.suppress(OSError):
                fs = os.fstatvfs(self.dir_fd)
                self.crowded = fs.f_bavail * fs.f_frsize < least


class Writer:
    """Writes the offered load until it is told to stop, or the time is over."""

    def __init__(self, channel: Channel, slot: Slot, there: Destination, message: Message) -> None:
        self.channel, self.slot, self.there = channel, slot, there
        self.block: int = message["block_bytes"]
        start_ns = now_ns()
        self.offer = Offer(message["bytes_per_s"], start_ns, start_ns + int(message["seconds"] * 1e9))
        self.policy = SyncPolicy(message["bytes_per_s"], message["fsync_every"])
        self.written = self.synced = 0
        self.last_sync_ns = self.told_ns = self.ended_ns = start_ns
        self.calls: list[list[Any]] = []

    def run(self) -> None:
        """Write; returns when the time is over and everything written is durable, or cannot be made so."""
        with contextlib.suppress(Stopped):
            while now_ns() < self.offer.end_ns:
                upto = self._wait()
                while self.written < upto and now_ns() < self.offer.end_ns:
                    self._write(min(upto - self.written, CATCH_UP * self.block))
                    self._sync_if_due()
                self._sync_if_due()
        if self.written > self.synced:
            self._sync()
        self.ended_ns = now_ns()
        self._tell(now=True)

    def _wait(self) -> int:
        """Return up to where is offered, once a block is, or a moment has passed; with no pace, at once."""
        if self.offer.bytes_per_s is None:
            self._orders(0.0)
            return self.written + self.block
        due_ns = min(self.offer.when_ns(self.written + self.block), self.offer.end_ns)
        wait_s = min((due_ns - now_ns()) * 1e-9, GATHER_S)
        if wait_s > 0:
            self._tell(now=True)
        self._orders(max(0.0, wait_s))
        return self.offer.by(now_ns())

    def _orders(self, timeout_s: float) -> None:
        """Sleep for at most so long; any message, and the end of the conversation, is an order to stop."""
        if select.select([self.channel], [], [], timeout_s)[0] and self.channel.poll() is not None:
            raise Stopped

    def _write(self, size: int) -> None:
        offset = self.written % self.there.span_bytes
        unsynced, span = self.written - self.synced, self.there.span_bytes
        size = min(size, span - offset, span - unsynced, self.slot.ring.capacity)
        done, start, took = write_at(self.slot, self.there.fd, self.written, size, offset)
        if done <= 0:
            self._note("write", start, took, 0)
            self._failed("write", -done if done else errno.EIO)
            return
        self.written += done
        self._note("write", start, took, done)
        self._tell(now=False)

    def _sync_if_due(self) -> None:
        backlog = self.offer.by(now_ns()) - self.synced
        unsynced = self.written - self.synced
        # a round within a small span ends with an fsync: bytes that are written over never reach the disk
        if unsynced >= self.there.span_bytes or self.policy.due(
            unsynced, backlog, now_ns() - self.last_sync_ns
        ):
            self._sync()
            self._orders(0.0)

    def _sync(self) -> None:
        reached = self.written
        rc, start, took = sync(self.slot, self.there.fd)
        self.last_sync_ns = now_ns()
        if rc < 0:
            self._note("fsync", start, took, -1)
            self._failed("fsync", -rc)
            return
        self.policy.synced(took)
        self.synced = reached
        self.slot.advance(reached)
        self._note("fsync", start, took, reached)
        self._tell(now=False)
        self._mind_room()

    def _mind_room(self) -> None:
        """While the file grows: turn round early rather than take what others need by now."""
        if self.there.grown.is_set():
            return
        longest = min(self.written, self.there.span_bytes)
        if self.there.crowded and longest >= LEAST_SPAN_BYTES:
            self.there.span_bytes = longest // _PAGE * _PAGE
        if longest >= self.there.span_bytes:
            self.there.grown.set()

    def _failed(self, doing: str, error: int) -> None:
        """Tell, wait a little, and write everything since the last good fsync again, as a capture does."""
        where = f"the bench's file in {self.there.directory}"
        self._tell(now=True)
        self.channel.send({"op": "failed", "at_ns": now_ns(), "text": str(SinkFailed(doing, where, error))})
        self.written = self.synced
        self._orders(RETRY_S)

    # -- telling -------------------------------------------------------------------------------------------

    def _note(self, call: str, start_ns: int, took_ns: int, value: int) -> None:
        """Keep a call: bytes of a write (0: failed), or up to where an fsync made things durable (-1: failed)."""
        self.calls.append([call, start_ns, took_ns, value])

    def _tell(self, *, now: bool) -> None:
        """Send the calls that were kept, not with each one: telling must not become the load."""
        at_ns = now_ns()
        if not self.calls or not (now or at_ns - self.told_ns > _TELL_NS or len(self.calls) > _TELL_CALLS):
            return
        self.channel.send({"op": "calls", "calls": self.calls})
        self.calls, self.told_ns = [], at_ns


def _bench(channel: Channel, ring: Ring) -> None:
    got = channel.receive()
    assert got is not None
    asked_ns = now_ns()
    try:
        there = Destination(got[0])
    except Refused as e:
        channel.send({"op": "refused", "text": str(e)})
        return
    try:
        writer = Writer(channel, Slot.adopt(ring, 0), there, got[0])
        channel.send(
            {
                "op": "begun", "start_ns": writer.offer.start_ns, "end_ns": writer.offer.end_ns,
                "span_bytes": there.span_bytes, "free_bytes": there.free_bytes, "name": there.name,
                "warnings": there.warnings, "removed": there.removed,
                "mount": msgspec.to_builtins(there.mount), "made_ns": writer.offer.start_ns - asked_ns,
            }
        )  # fmt: skip
        there.watch_room()
        writer.run()
    finally:
        there.close()
    over = {"op": "over", "at_ns": writer.ended_ns, "name": there.name}
    channel.send({**over, "elsewhere": there.is_elsewhere()})
    while channel.pending:
        channel.receive(0.1)


def main() -> None:
    """Bench one destination, then end."""
    channel, ring = attach()
    with contextlib.suppress(Closed):
        _bench(channel, ring)


def run() -> None:
    """Be this process."""
    serve(main)


if __name__ == "__main__":
    run()
