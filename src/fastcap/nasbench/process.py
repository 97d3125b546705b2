"""The writer process from outside: starting it, hearing it, leaving it behind when the destination holds it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile

from fastcap._ring import Ring
from fastcap.nasbench import apart
from fastcap.ringsize import SHM
from fastcap.wire import Closed, Message, pair
from fastcap.workers import argv_of

_NOISE_BYTES = 8 << 20
_CALLS = ("write", "fsync")  # by the slot that is busy with them
_REMOVE_S = 2.0
_SAID_BYTES = 4096


class WriterProcess:
    """A running `fastcap.nasbench.writer`, with a ring of noise to write from. A context manager.

    Parameters
    ----------
    message : dict
        What it is to do.
    """

    def __init__(self, message: Message) -> None:
        self.name: str | None = None  # of its file, if that could not be taken away
        self.left: str | None = None  # the file's path, if it is still there when this was left
        self.over: Message = {"elsewhere": False}  # what it said at its end
        self._directory: str = message["directory"]
        self.ring = _ring_of_noise(max(_NOISE_BYTES, 4 * message["block_bytes"]))
        self.channel, theirs = pair()
        fds = [theirs.fileno(), self.ring.control_fd, self.ring.data_fd, self.ring.events_fd]
        argv = argv_of("fastcap.nasbench.writer", *map(str, fds))
        null = subprocess.DEVNULL
        self._said_fd = os.memfd_create("said")  # it may outlive this process: nobody's pipe may wait for it
        self.process = subprocess.Popen(
            argv, pass_fds=fds, stdin=null, stdout=null, stderr=self._said_fd, start_new_session=True
        )
        theirs.close()
        self.channel.send(message)

    @property
    def under_way(self) -> tuple[str, int] | None:
        """In what call on the destination it is, and since when (CLOCK_MONOTONIC); None: in none."""
        for slot, call in enumerate(_CALLS):
            if since_ns := int(self.ring.slot_state(slot)["busy_since_ns"]):
                return call, since_ns
        return None

    def receive(self, timeout_s: float) -> Message | None:
        """Return its next message, None when the time is over.

        Raises
        ------
        Closed
            It has ended.
        """
        got = self.channel.receive(timeout_s)
        return None if got is None else got[0]

    def last_words(self) -> str:
        """Return the last line that it wrote to its standard error."""
        said = os.pread(self._said_fd, _SAID_BYTES, max(0, os.fstat(self._said_fd).st_size - _SAID_BYTES))
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Tell it to come to an end."""
        with contextlib.suppress(Closed):
            self.channel.send({"op": "stop"})

    def __enter__(self) -> WriterProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REMOVE_S if self.under_way is None else 0)
        if self.process.poll() is None:
            self.process.send_signal(
                signal.SIGKILL
            )  # what holds it in the kernel lets it die, sooner or later
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_REMOVE_S)
        if self.name is not None and apart.remove(self._directory, self.name, _REMOVE_S):
            self.left = os.path.join(self._directory, self.name)
        os.close(self._said_fd)
        self.ring.close()


def _ring_of_noise(size: int) -> Ring:
    """Make a ring that holds bytes no disk can compress; its files have no names any more."""
    folder = tempfile.mkdtemp(prefix="fastcap-bench-", dir=SHM)
    try:
        dir_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ring = Ring.create(dir_fd, size)
        finally:
            os.close(dir_fd)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ring.allocate(size)
    os.pwrite(ring.data_fd, os.urandom(size), 0)
    return ring


class Interruption:
    """Counts SIGINT, SIGTERM and SIGHUP while it is entered; after the first, the next one acts as before.

    Elsewhere than in the main thread it does nothing.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.came = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        import threading

        if threading.current_thread() is threading.main_thread():
            for number in self._SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: object) -> None:
        self.came = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def __exit__(self, *_: object) -> None:
        self._restore()
