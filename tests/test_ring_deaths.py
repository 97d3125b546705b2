"""Readers that are killed at any moment: their successors lose no byte and repeat none."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from harness import Engine, counter, gaps_of

from fastcap._pump import EOF, Reader
from fastcap._ring import ESSENTIAL, LOSSLESS, Ring

LONG_S = 60.0
PIECE_WORDS = 8192


def rchar(pid: int) -> int:
    """Return what a process has read, a zombie too."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


def in_child(body: Callable[[], Any]) -> int:
    """Run ``body`` in a forked process that ends with it; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        body()
    except BaseException:
        os._exit(1)
    os._exit(0)


def source() -> tuple[int, int]:
    """Start a process that writes words which count up, for ever; return (its pid, where to read)."""
    ours, theirs = os.pipe()

    def write() -> NoReturn:
        first = 0
        while True:
            data = memoryview(counter(first, PIECE_WORDS))
            while data:
                data = data[os.write(theirs, data) :]
            first += PIECE_WORDS

    pid = in_child(write)
    os.close(theirs)
    return pid, ours


class ReaderProcess:
    """A reader of its own process that goes on where its predecessors stopped."""

    def __init__(self, ring: Ring, fd: int, taken: int, *, can_wait: bool) -> None:
        ours, theirs = socket.socketpair()
        self._taken = taken

        def read() -> None:
            reader = Reader(ring, theirs.fileno())
            ours.send(b"w")  # as a socket's bytes are not counted, the baseline is taken while it waits here
            ours.recv(1)
            reader.resume(fd, 1, taken, word_bytes=8, can_wait=can_wait, gather_s=0)
            assert reader.run() == (EOF, 0)
            reader.end()

        self.pid = in_child(read)
        self.gone = False
        assert theirs.recv(1) == b"w"
        self._baseline = rchar(self.pid)
        theirs.send(b"g")
        self._sockets = (ours, theirs)

    def taken_when_gone(self) -> tuple[int, int]:
        """Wait for its end; return what all readers have taken by then, and its status."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        taken = self._taken + rchar(self.pid) - self._baseline
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.gone = True
        for s in self._sockets:
            s.close()
        return taken, status

    def kill(self) -> int:
        """Kill it; return what all readers have taken."""
        os.kill(self.pid, signal.SIGKILL)
        taken, status = self.taken_when_gone()
        assert status == -signal.SIGKILL
        return taken


class Capture:
    """An engine whose readers are processes, and an essential consumer that checks every word."""

    def __init__(self, *, can_wait: bool) -> None:
        self.engine = Engine()
        self.slot = self.engine.claim(LOSSLESS | ESSENTIAL)
        self.can_wait = can_wait
        self.engine.begin(can_wait=can_wait)
        self._feeder, self._fd = source()
        self.position = 0
        self.next_word = 0
        self.gaps: list[tuple[int, int, int]] = []
        self.start_reader(0)

    def start_reader(self, taken: int) -> None:
        self.reader = ReaderProcess(self.engine.ring, self._fd, taken, can_wait=self.can_wait)

    def use(self) -> None:
        """Check what is framed, word by word, and let go of it."""
        self.engine.split()
        upto = self.engine.ring.framed // 8 * 8
        self.gaps += gaps_of(self.engine.events())
        while True:
            while self.gaps and self.gaps[0][0] == self.position:
                _, after, words = self.gaps.pop(0)
                assert after == self.next_word
                self.next_word += words
            if self.position == upto:
                break
            end = min([upto, *[p for p, _, _ in self.gaps]])
            got = np.frombuffer(self.engine.ring.bytes_at(self.position, end - self.position), "<u8")
            expected = np.arange(self.next_word, self.next_word + got.size, dtype="<u8")
            assert np.array_equal(got, expected), f"word {self.next_word} and after: {got[:3]} … {got[-3:]}"
            self.next_word += got.size
            self.position = end
        self.slot.advance(self.position)

    def until(self, reached: Callable[[], bool], *, using: bool) -> None:
        """Let the stream go on until ``reached``; with or without a consumer that keeps up."""
        deadline = time.monotonic() + LONG_S
        while not reached():
            self.use() if using else self.engine.split()
            assert time.monotonic() < deadline, self.engine.ring.reader_state()

    def until_stored(self, nbytes: int) -> None:
        """Let so many more bytes be stored, by a consumer that keeps up."""
        target = self.engine.ring.head + nbytes
        self.until(lambda: self.engine.ring.head >= target, using=True)

    def until_dropped(self, nbytes: int) -> None:
        """Let so many more bytes be dropped, by a consumer that stands still."""
        target = self.dropped() + nbytes
        self.until(lambda: self.dropping() and self.dropped() >= target, using=False)

    def dropped(self) -> int:
        return int(self.engine.ring.reader_state()["dropped_bytes"])

    def dropping(self) -> bool:
        return bool(self.engine.ring.reader_state()["dropping"])

    def finish(self) -> None:
        """End the source; what was read, kept and dropped must agree to the byte."""
        self._end_source()
        pid, ring = self.reader.pid, self.engine.ring
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        self.until(lambda: os.waitid(os.P_PID, pid, flags) is not None, using=True)
        taken, status = self.reader.taken_when_gone()
        assert status == 0
        self.use()
        assert taken == ring.head + self.dropped()

    def _end_source(self) -> None:
        if self._feeder:
            os.kill(self._feeder, signal.SIGKILL)
            os.waitpid(self._feeder, 0)
            self._feeder = 0

    def close(self) -> None:
        self._end_source()
        if not self.reader.gone:
            self.reader.kill()
        os.close(self._fd)
        self.engine.close()


@pytest.fixture
def capture(request: pytest.FixtureRequest) -> Iterator[Capture]:
    capture = Capture(can_wait=request.param)
    yield capture
    capture.close()


@pytest.mark.parametrize("capture", [True], indirect=True)
def test_no_byte_is_lost_or_repeated_over_fifty_killed_readers(capture: Capture) -> None:
    rng = random.Random(1)
    ring = capture.engine.ring
    for _ in range(50):
        capture.until_stored(rng.choice([0, 1, 8000, rng.randrange(1 << 20)]))
        capture.start_reader(capture.reader.kill())
    capture.finish()
    assert capture.dropped() == 0
    assert capture.next_word == ring.head // 8 > 0


@pytest.mark.parametrize("capture", [False], indirect=True)
def test_drops_stay_exact_over_readers_killed_while_dropping(capture: Capture) -> None:
    rng = random.Random(2)
    killed_dropping = 0
    for _ in range(15):
        capture.until_dropped(rng.randrange(1, 1 << 20))
        taken = capture.reader.kill()
        killed_dropping += capture.dropping()
        capture.start_reader(taken)
        capture.until_stored(rng.randrange(1, 1 << 18))
        capture.start_reader(capture.reader.kill())
    capture.finish()
    assert killed_dropping >= 10
    assert capture.gaps == []


@pytest.mark.parametrize("dropping", [False, True])
def test_recovery_repeated_changes_nothing(dropping: bool) -> None:
    engine = Engine()
    engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, 150_000 if dropping else 1000))
    before = engine.ring.head, engine.ring.reader_state()
    unpublished = 13  # bytes the dead one had read, and not told of
    for _ in range(3):
        engine.new_reader()
        engine.reader.resume(-1, 1, engine.taken + unpublished, word_bytes=8, can_wait=False)

    state = engine.ring.reader_state()
    assert engine.ring.head == before[0] + (0 if dropping else unpublished)
    assert state["dropped_bytes"] == before[1]["dropped_bytes"] + (unpublished if dropping else 0)
    engine.close()
