"""The supervisor's children: how they are started, watched and accounted for.

A child is watched by pidfd, never by pid. Its ``/proc/PID/io`` is opened at birth and read once more while
it is an unreaped zombie: ``rchar`` is then exactly what it read (docs/ring.md, "A killed process's last bytes").
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import time

from fastcap._signals import signal
from fastcap.errors import RingError
from fastcap.wire import pair
from fastcap.workers import argv_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_FILES = 256  # descriptors: some three for each worker, output and recording
_DEFAULTED = (signal.SIGPIPE, signal.SIGTERM, signal.SIGQUIT)


def allow_files() -> None:
    """Have enough descriptors for a session's workers, within what is allowed.

    Raises
    ------
    RingError
        The hard limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < LEAST_FILES:
        raise RingError(
            f"a process may open only {hard} files, {LEAST_FILES} are needed: raise the limit (ulimit -Hn)"
        )
    if 0 <= soft < LEAST_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_FILES, hard))


def spawn(
    argv: Sequence[str],
    fds: Sequence[int],
    *,
    cwd: str | None = None,
    group: bool = False,
    session: bool = False,
) -> int:
    """Start a program with ``fds`` as its descriptors 0, 1, 2, 3, …; return its pid.

    A descriptor of -1 is left as this process has it. Signals that Python ignores are set back to default; SIGINT
    only with a ``group`` or ``session`` of its own: what a worker inherits holds from its first instruction on.

    Raises
    ------
    OSError
        The program cannot be started; nothing runs.
    """
    above = len(fds)  # all are moved up there first: a dup2 to a low number cannot hit one of them
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) if fd >= 0 else -1 for fd in fds]
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(high) if fd >= 0]
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if cwd else -1
    try:
        if cwd:
            os.chdir(cwd)
        launch = os.posix_spawnp if "/" not in argv[0] else os.posix_spawn
        defaulted = (*_DEFAULTED, signal.SIGINT) if group or session else _DEFAULTED
        own = {"setpgroup": 0} if group else {"setsid": True} if session else {}
        return launch(
            argv[0], list(argv), os.environ, file_actions=actions, setsigdef=defaulted, setsigmask=[], **own
        )  # fmt: skip
    finally:
        if cwd:
            os.fchdir(here)
            os.close(here)
        for fd in high:
            if fd >= 0:
                os.close(fd)


class Child:
    """A running child process.

    Attributes
    ----------
    name : str
        What it is, for messages.
    pid, pidfd : int
        ``pidfd`` becomes readable when the process is gone, whatever it was stuck in.
    """

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        try:
            self._io = os.open(f"/proc/{pid}/io", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._io = -1  # no task I/O accounting here: counts are unknown, and said to be
        self.status: int | None = None

    def io_count(self, key: str) -> int | None:
        """Return ``rchar`` or ``wchar``, also of a zombie; None: the kernel does not tell."""
        if self._io < 0:
            return None
        try:
            text = os.pread(self._io, 1024, 0).decode()
        except OSError:
            return None
        return next(
            (int(v) for k, _, v in (line.partition(":") for line in text.splitlines()) if k == key), None
        )

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal this very process; one that is gone already is left alone."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            return

    def ends_within(self, seconds: float) -> bool:
        """Wait for it to be gone; False: it is still there then. A killed one may be stuck in the kernel."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(max(0.0, seconds) * 1000))

    def reap(self) -> int:
        """Take the exit status of a child that is gone: as `subprocess` gives it, -N for signal N."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self.pidfd)
            if self._io >= 0:
                os.close(self._io)
        return self.status


class Worker(Child):
    """A worker process of fastcap with its channel.

    Parameters
    ----------
    role : str
        Module name in `fastcap.workers`.
    ring_fds : sequence of int
        Descriptors of the ring's control, data and events, as this worker may have them.
    said_fd : int
        Where its standard output and error go.
    """

    def __init__(self, role: str, ring_fds: Sequence[int], said_fd: int = 2) -> None:
        self.role = role
        self.ready = False
        self.recording = 0
        self.channel, theirs = pair(quick=True)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        argv = argv_of(f"fastcap.workers.{role}", "3", "4", "5", "6")
        try:
            pid = spawn(argv, [null, said_fd, said_fd, theirs.fileno(), *ring_fds])
        finally:
            os.close(null)
            theirs.close()
        super().__init__(role, pid)


def reap(children: Sequence[Child], seconds: float) -> list[Child]:
    """Wait for children to be gone and take their exit statuses; return those that are still there then."""
    give_up_s = time.monotonic() + seconds
    for child in children:
        if child.status is None and child.ends_within(give_up_s - time.monotonic()):
            child.reap()
    return [child for child in children if child.status is None]


class Source(Child):
    """The board's program, in a process group of its own, its stderr drained into a short tail."""

    TAIL_BYTES = 4096

    def __init__(self, argv: Sequence[str], cwd: str | None, stdout: int) -> None:
        self.stderr, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.tail = b""
        try:
            pid = spawn(argv, [null, stdout, theirs], cwd=cwd, group=True)
        except OSError:
            os.close(self.stderr)
            raise
        finally:
            os.close(null)
            os.close(theirs)
        super().__init__("source", pid)

    def drain(self) -> bool:
        """Take what stands on stderr now; False at its end."""
        try:
            data = os.read(self.stderr, 1 << 16)
        except BlockingIOError:
            return True
        self.tail = (self.tail + data)[-self.TAIL_BYTES :]
        return bool(data)

    def finish(self) -> None:
        """Take the rest of stderr and the exit status of a program that is gone."""
        for _ in range(64):  # what a pipe can hold; a grandchild may go on writing
            if not self.drain():
                break
        os.close(self.stderr)
        self.reap()

    def signal_group(self, number: int) -> None:
        """Signal the program and what it started. Its group exists as long as it is not reaped."""
        if self.status is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return
