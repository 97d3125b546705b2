"""The bench's writer process: the only one that touches the destination, by a capture's own calls.

Started as ``python -P -m fastcap.nasbench.writer CONTROL RING_CONTROL RING_DATA RING_EVENTS``. It makes one file,
takes the file's name away where it can (the kernel then frees it however this process ends), and writes to new blocks,
or round within a span: `write_at` and `sync` from a small ring of noise, first paced by the clock and fsynced as by a
capture's writer, then as fast as it goes. Each call is told of; since when which one is under way stands in the ring's
slots, where it can be seen while this process sleeps in the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from resource import RUSAGE_SELF, getrusage

import msgspec

from fastcap._pump import sync, write_at
from fastcap._ring import Ring, Slot, now_ns
from fastcap.nasbench import leftovers
from fastcap.nasbench.load import LEAST_SPAN_BYTES, PAGE, Load, Stopped
from fastcap.nasbench.mounts import mount_of, warnings_of
from fastcap.wire import Channel, Closed, Message
from fastcap.workers._start import attach, serve

SHARE = 2  # a bench takes at most one part in so many of what is free
_ROOM_S = 1.0
_NEEDS_NAME = ("btrfs",)  # fsync of a file without a name writes no log there: it would look too good


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
        self._share: int = SHARE * message["writers"]
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
        self.span_bytes = self._span(message["span_bytes"])
        self.goes_round = message["span_bytes"] is not None
        self.crowded, self.grown = False, threading.Event()
        self.name: str | None = leftovers.new_name()
        self._direct: int = os.O_DIRECT if message["direct"] else 0
        self._create()

    def _span(self, wanted: int | None) -> int:
        """Return the bytes to write, and then to write round in: those wanted, or half of what is free."""
        most = self.free_bytes // self._share // PAGE * PAGE
        if most < LEAST_SPAN_BYTES:
            raise Refused(
                f"{self.free_bytes} bytes are free in {self.directory}, and a bench needs "
                f"{self._share * LEAST_SPAN_BYTES}; free some"
            )
        if wanted is not None and wanted > most:
            part = "half" if self._share == SHARE else f"1/{self._share}"
            raise Refused(
                f"--span {wanted} is more than {part} of the {self.free_bytes} bytes free in "
                f"{self.directory}; free some, or use --span {most} or less"
            )
        return most if wanted is None else wanted // PAGE * PAGE

    def _create(self) -> None:
        assert self.name is not None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | self._direct
        try:
            self.fd = os.open(self.name, flags, 0o600, dir_fd=self.dir_fd)
        except OSError as e:
            if self._direct and e.errno == errno.EINVAL:  # the file was made all the same
                self.unlink()
                raise Refused(f"{self.directory} does not take O_DIRECT; leave --direct out") from e
            raise Refused(f"cannot write in {self.directory}: {e.strerror}; name another directory") from e
        if self.mount is None or self.mount.file_system not in _NEEDS_NAME:
            self.unlink()

    def unlink(self) -> None:
        """Take the file's name away; where that cannot be done while it is open, it is done at the end."""
        if self.name is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.name, dir_fd=self.dir_fd)
                self.name = None

    def free_at_end(self, written: int) -> int | None:
        """Return what is free once the file with ``written`` bytes is removed; None where that cannot be known."""
        with contextlib.suppress(OSError):
            fs = os.fstatvfs(self.dir_fd)
            return fs.f_bavail * fs.f_frsize + min(written, self.span_bytes)
        return None

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


class Calls:
    """The writer's system calls on the file, timed, its clock, and its sleep."""

    now = staticmethod(now_ns)

    def __init__(self, channel: Channel, ring: Ring, fd: int) -> None:
        self._channel, self._fd = channel, fd
        self._slots = Slot.adopt(ring, 0), Slot.adopt(ring, 1)  # which one is busy says in what call
        self.most_bytes = ring.capacity

    def write(self, position: int, size: int, offset: int) -> tuple[int, int, int]:
        """Write noise; return (bytes or -errno, start_ns, took_ns)."""
        return write_at(self._slots[0], self._fd, position, size, offset)

    def sync(self) -> tuple[int, int, int]:
        """Make everything durable; return (0 or -errno, start_ns, took_ns)."""
        return sync(self._slots[1], self._fd)

    def wait(self, timeout_s: float) -> None:
        """Sleep for at most so long; any message, and the end of the conversation, is an order to stop."""
        if select.select([self._channel], [], [], timeout_s)[0] and self._channel.poll() is not None:
            raise Stopped


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
        load = Load(Calls(channel, ring, there.fd), there, got[0], channel.send)
        channel.send(
            {
                "op": "begun", "start_ns": load.offer.start_ns, "end_ns": load.offer.end_ns,
                "span_bytes": there.span_bytes, "free_bytes": there.free_bytes, "name": there.name,
                "warnings": there.warnings, "removed": there.removed,
                "mount": msgspec.to_builtins(there.mount), "made_ns": load.offer.start_ns - asked_ns,
            }
        )  # fmt: skip
        there.watch_room()
        before = getrusage(RUSAGE_SELF)
        load.run()
        after = getrusage(RUSAGE_SELF)
        over = {"op": "over", "at_ns": load.ended_ns, "free_at_end": there.free_at_end(load.written)}
        over["cpu_s"] = [after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime]
        over["span_bytes"] = there.span_bytes
    finally:
        there.close()
    channel.send({**over, "name": there.name, "elsewhere": there.is_elsewhere()})
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
