"""The capture engine for tests: ring, reader and splitter in this process, step by step, or as processes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from typing import Any

import numpy as np
import pytest

from fastcap._pump import EOF, Reader
from fastcap._ring import LOSSLESS, MIN_RING_BYTES, Ring, Slot
from fastcap._split import TICK, SplitLoop
from fastcap.events import Event, EventReader
from fastcap.wire import Channel, Message, pair
from fastcap.workers.children import Worker
from fastcap.workers.splitter import Splitter

MOST_ROUNDS = 10_000
PIECE = 1 << 20  # a pipe of this size takes one piece without blocking


def counter(first: int, words: int) -> bytes:
    """Return ``words`` words that count up from ``first``."""
    return np.arange(first, first + words, dtype="<u8").tobytes()


def announcement(recording: int = 1, **given: Any) -> Message:
    """Return what a splitter is told of a recording: a headerless stream of words, endless."""
    plain = {"word_bytes": 8, "header": "no", "rate": None, "max_words": None, "can_wait": False}
    return {
        "op": "announce",
        "recording": recording,
        "max_seconds": None,
        "split_seconds": None,
        "start": json.dumps({"command": None, "wall": None, "word": given.get("word_bytes", 8)}),
        **plain,
        **given,
    }


def make_ring(capacity: int = MIN_RING_BYTES, *, ready: int | None = None, first: int | None = None) -> Ring:
    """Make a ring whose files have no name any more once it is made."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="fastcap-test-") as folder:
        dir_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            ring = Ring.create(dir_fd, capacity, first=first)
        finally:
            os.close(dir_fd)
    ring.allocate(capacity if ready is None else ready)
    return ring


class Quiet(Exception):  # noqa: N818 - how a test gets out of a loop that never ends
    """The splitter has nothing left to do."""


class SteppedLoop:
    """A splitter's loop that never sleeps, and raises `Quiet` when two rounds in a row brought nothing."""

    def __init__(self, loop: SplitLoop) -> None:
        object.__setattr__(self, "loop", loop)
        self.begin()

    def begin(self) -> None:
        object.__setattr__(self, "idle", 0)
        object.__setattr__(self, "rounds", 0)

    def run(self, timeout_ns: int) -> int:
        why: int = self.loop.run(0)
        object.__setattr__(self, "idle", self.idle + 1 if why == TICK else 0)
        object.__setattr__(self, "rounds", self.rounds + 1)
        if self.idle == 2:
            raise Quiet
        assert self.rounds < MOST_ROUNDS, f"the splitter comes back for ever, with reasons {why:#x}"
        return why

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.loop, name, value)


class Engine:
    """Ring, reader and splitter in this process. Nothing moves but what a test moves.

    Attributes
    ----------
    taken : int
        Bytes that readers have read in this recording: what a supervisor knows from the kernel.
    """

    def __init__(
        self, capacity: int = MIN_RING_BYTES, *, ready: int | None = None, first: int | None = None
    ) -> None:
        self.ring = make_ring(capacity, ready=ready, first=first)
        self.log = EventReader(self.ring)
        self._control, self._peer = socket.socketpair()
        self.new_reader()
        self.supervisor, theirs = pair()
        self._splitter_channel = Channel(theirs)
        self.new_splitter()
        self.taken = 0
        self.message: Message = {}

    def new_reader(self) -> None:
        """Put a successor in the reader's place."""
        self.reader = Reader(self.ring, self._control.fileno())

    def new_splitter(self) -> None:
        """Put a successor in the splitter's place; it knows only what the ring tells."""
        self.splitter = Splitter(self.ring, self._splitter_channel)
        self.splitter.loop = SteppedLoop(self.splitter.loop)  # type: ignore[assignment]

    def announce(self, recording: int = 1, **given: Any) -> None:
        """Tell the splitter of a recording; see `announcement`."""
        self.message = announcement(recording, **given)
        self.supervisor.send(self.message)
        self.split()

    def begin(self, recording: int = 1, **given: Any) -> int:
        """Announce a recording and let the reader begin it; return its position."""
        self.announce(recording, **given)
        self.taken = 0
        options = {k: self.message[k] for k in ("word_bytes", "can_wait")}
        start: int = self.reader.begin(-1, recording, gather_s=0, **options)
        self.split()
        return start

    def feed(self, data: bytes) -> None:
        """Let the reader take ``data`` through a pipe, and have a look at the ring even if that is nothing.

        The splitter does not move meanwhile.
        """
        options = {k: self.message[k] for k in ("word_bytes", "can_wait")}
        for at in range(0, len(data) or 1, PIECE):
            ours, theirs = os.pipe()
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PIECE)
            piece = data[at : at + PIECE]
            assert os.write(theirs, piece) == len(piece)
            os.close(theirs)
            self.reader.resume(ours, self.message["recording"], self.taken, gather_s=0, **options)
            why, _ = self.reader.run()
            os.close(ours)
            assert why == EOF
            self.taken += len(piece)

    def split(self) -> None:
        """Let the splitter do what there is to do."""
        self.splitter.loop.begin()  # type: ignore[attr-defined]
        try:
            self.splitter.run()
        except Quiet:
            return

    def end(self) -> None:
        """Let the reader end the recording, and the splitter see it."""
        self.reader.end()
        self.split()

    def claim(self, flags: int = LOSSLESS) -> Slot:
        """Claim a slot; the splitter grants it meanwhile."""
        got: list[Slot] = []
        thread = threading.Thread(target=lambda: got.append(Slot.claim(self.ring, flags)))
        thread.start()
        while thread.is_alive():
            self.split()
            thread.join(0.001)
        return got[0]

    def events(self) -> list[Event]:
        """Return the events since the last call."""
        return list(self.log.poll())

    def told(self) -> list[Message]:
        """Return what the splitter has said since the last call."""
        said = []
        while (got := self.supervisor.poll()) is not None:
            said.append(got[0])
        return said

    def close(self) -> None:
        """Let go of the descriptors."""
        self.ring.close()
        self.supervisor.close()
        self._splitter_channel.close()
        self._control.close()
        self._peer.close()


class Processes:
    """Ring, with reader and splitter as processes of their own; the test is supervisor and source.

    Attributes
    ----------
    source : int
        Where the test writes the stream: a pipe. -1 when closed.
    """

    DEADLINE_S = 20.0

    def __init__(self, capacity: int = MIN_RING_BYTES) -> None:
        self.ring = make_ring(capacity)
        fds = (self.ring.control_fd, self.ring.data_fd, self.ring.events_fd)
        self.reader, self.splitter = Worker("reader", fds), Worker("splitter", fds)
        self.source = -1
        for worker in (self.reader, self.splitter):
            self.hear(worker, "ready")

    def attach(self) -> Ring:
        """Map the ring as a consumer does."""
        return Ring.attach(*map(os.dup, (self.ring.control_fd, self.ring.data_fd, self.ring.events_fd)))

    def tell(self, worker: Worker, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send a message and see that it is looked at."""
        worker.channel.send(message, fds)
        self.ring.command()

    def hear(self, worker: Worker, op: str) -> Message:
        """Return the next message of this kind."""
        until = time.monotonic() + self.DEADLINE_S
        while time.monotonic() < until:
            got = worker.channel.receive(until - time.monotonic())
            if got is not None and got[0]["op"] == op:
                return got[0]
        raise AssertionError(f"the {worker.role} did not say '{op}' within {self.DEADLINE_S} s")

    def begin(self, recording: int = 1, **given: Any) -> int:
        """Begin a recording of what is written to `source`; return its position."""
        message = announcement(recording, **given)
        self.tell(self.splitter, message)
        self.hear(self.splitter, "announced")
        ours, self.source = os.pipe2(os.O_CLOEXEC)
        options = {k: message[k] for k in ("recording", "word_bytes", "can_wait")}
        self.tell(self.reader, {"op": "record", "pipe_bytes": PIECE, **options}, (ours,))
        os.close(ours)
        start: int = self.hear(self.reader, "reading")["start"]
        return start

    def write(self, data: bytes) -> None:
        """Write to the source's pipe, all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.source, view) :]

    def end(self) -> Message:
        """Close the source; return the splitter's account of the recording."""
        os.close(self.source)
        self.source = -1
        self.hear(self.reader, "eof")
        self.ring.command()
        return self.hear(self.splitter, "ended")

    def close(self) -> None:
        """End the workers and see that they end well."""
        if self.source >= 0:
            os.close(self.source)
            self.ring.stop_reading(2**62)
        for worker in (self.reader, self.splitter):
            worker.channel.close()
            self.ring.command()
        statuses = [worker.reap() for worker in (self.reader, self.splitter)]
        self.ring.close()
        assert statuses == [0, 0], f"reader and splitter ended with {statuses}"


def gaps_of(events: list[Event]) -> list[tuple[int, int, int]]:
    """Return (position, source word before, words) of every GAP."""
    return [(e.position, e.data["after_word"], e.data["words"]) for e in events if e.kind == 3]


def need_program(name: str, package: str) -> None:
    """Skip the test, or fail it under FASTCAP_NO_SKIP=1, where a program is not installed."""
    if shutil.which(name) is None:
        refuse = pytest.fail if os.environ.get("FASTCAP_NO_SKIP") == "1" else pytest.skip
        refuse(f"needs {name}; install {package}")
