"""The files of ``fastcap tee``: a network disk that stalls holds up more of a file than its writes.

A process of its own opens each file, and for most hands the descriptor over and ends. The output of others goes to a
pipe, from which that process copies on: of a file that takes long to open, such as a FIFO that nobody reads yet, and of
one on a network disk, where every process that has it may stall when it lets go of it or starts another. So neither
the source nor an output waits for another file before the ring is full, and what fails when a file is closed is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time

from fastcap._signals import signal
from fastcap.wire import Channel, Closed, pair
from fastcap.workers.children import Child, reap

OPEN_S = 0.25  # that long the reading waits, for all files together
LOCAL = {
    "tmpfs",
    "ramfs",
    "overlay",
    "btrfs",
    "zfs",
    "bcachefs",
}  # of the file systems without a block device
LEFT_S = 0.5  # for a process that is killed to be gone; one stuck in the kernel is left there
PIECE_BYTES = 1 << 20
_OWN = ("/dev/", "/proc/")  # /dev/fd/63 is this process's; a device is no file on a disk


class Files:
    """The files of one run, in order."""

    def __init__(self) -> None:
        self._until = time.monotonic() + OPEN_S
        self._openers: list[Child] = []
        self._copied: dict[int, _CopiedFile] = {}

    def open(self, name: str, flags: int, index: int) -> int:
        """Return a descriptor for what is written to a file, the output with number ``index``.

        Raises
        ------
        OSError
            The file cannot be opened.
        """
        if name.startswith(_OWN):
            return os.open(name, flags, 0o666)
        channel, pid = _start_opener(name, flags)
        self._openers.append(Child(name, pid))
        try:
            got = channel.receive(max(0.0, self._until - time.monotonic()))
        except Closed:
            got = {"errno": errno.EIO}, []  # killed
        if got is None or got[0]["copies"]:
            self._copied[index] = _CopiedFile(channel)
            return self._copied[index].pipe()
        channel.close()  # which ends it
        message, fds = got
        if message["errno"]:
            raise OSError(message["errno"], os.strerror(message["errno"]))
        return fds[0]

    def is_copied(self, index: int) -> bool:
        """Tell whether an output goes to a pipe: that it has ended says nothing about the file yet."""
        return index in self._copied

    @property
    def pending(self) -> bool:
        """A file that is copied to is not done with."""
        return any(not file.over for file in self._copied.values())

    def ended(self) -> list[tuple[int, int]]:
        """Return number and errno, 0 for none, of each file that is copied to and done with, once each."""
        ends = [(index, file.ended()) for index, file in self._copied.items() if not file.over]
        return [(index, error) for index, error in ends if error is not None]

    def wait(self, seconds: float) -> None:
        """Wait until something is said of a file that is copied to."""
        select.select([file.channel for file in self._copied.values() if not file.over], [], [], seconds)

    def leave(self) -> None:
        """Give up what is not done with."""
        for opener in self._openers:
            opener.kill()
        reap(self._openers, LEFT_S)


class _CopiedFile:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.over = False

    def pipe(self) -> int:
        """Give the opener a pipe to copy from; return its other end."""
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(Closed):  # it has failed by now
            self.channel.send({}, (theirs,))
        os.close(theirs)
        return ours

    def ended(self) -> int | None:
        """Return the errno that it ended with, 0 if all is written; None: not yet."""
        try:
            while (got := self.channel.poll()) is not None:
                message, fds = got
                for fd in fds:
                    os.close(fd)
                if message["errno"] or message.get("done"):
                    self.over = True
                    return int(message["errno"])
        except Closed:
            self.over = True
            return errno.EIO  # killed
        return None


# -- the process that opens --------------------------------------------------------------------------


def _start_opener(name: str, flags: int) -> tuple[Channel, int]:
    channel, theirs = pair(quick=True)
    pid = os.fork()
    if pid == 0:
        try:
            _open_and_copy(_alone_with(theirs.fileno()), name, flags)
        finally:
            os._exit(0)
    theirs.close()
    return channel, pid


def _alone_with(fd: int) -> Channel:
    """Hold nothing but the channel: all else has to end when its owner lets go of it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the command decides what becomes of what was read
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.dup2(fd, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return Channel.from_fd(3, quick=True)


def _open_and_copy(channel: Channel, name: str, flags: int) -> None:
    try:
        fd = os.open(name, flags, 0o666)
    except OSError as error:
        channel.send({"errno": error.errno, "copies": False})
        return
    try:
        got = channel.poll()
        if got is None:  # it is not late, or only just
            copies = _is_far(fd)
            channel.send({"errno": 0, "copies": copies}, () if copies else (fd,))
            got = channel.receive()
    except Closed:
        return  # the file is the command's, or that ended before anything was read
    assert got is not None
    try:
        _copy(got[1][0], fd)
        number = 0
    except OSError as error:
        number = error.errno or errno.EIO
    channel.send({"errno": number, "copies": False, "done": True})


def _is_far(fd: int) -> bool:
    """Tell whether an open file may be on a network disk, or behind another user-space file system."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or os.major(status.st_dev):
        return False
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        number = next((line.split()[1] for line in info if line.startswith(b"mnt_id:")), b"")
    with open("/proc/self/mountinfo", "rb") as table:
        mount = next((line.split() for line in table if line.split(None, 1)[0] == number), None)
    return mount is None or mount[mount.index(b"-", 6) + 1].decode() not in LOCAL


def _copy(pipe: int, fd: int) -> None:
    """Copy to the end; what fails only when the file is closed has failed, too."""
    while data := os.read(pipe, PIECE_BYTES):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    os.close(fd)
