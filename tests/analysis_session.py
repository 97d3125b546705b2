"""A ring with real reader, splitter and analysis processes: what the supervisor would start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fastcap._ring import Ring, Slot
from fastcap.stream import build_header
from fastcap.wire import pair
from fastcap.words import encode, radius

WALL = "2026-11-22T10:00:00.123456+08:00"
ARGV = ("teststream", "-U", "/dev/usbhybrid0", "-s", "4", "-l", "-b")
HEADER = build_header(ARGV, datetime(2026, 11, 22, 2, 0, 0, tzinfo=UTC))
DEADLINE_S = 30.0
MIB = 1 << 20


class Worker:
    """A worker process and the supervisor's end of its socket."""

    def __init__(self, role, ring):
        self.role = role
        self.channel, theirs = pair()
        fds = [theirs.fileno(), ring.control_fd, ring.data_fd, ring.events_fd]
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"fastcap.workers.{role}", *map(str, fds)],
            pass_fds=fds, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.stderr,
        )  # fmt: skip
        theirs.close()
        self.heard = []

    def expect(self, op):
        """Return the next message of this kind, noting others."""
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            got = self.channel.receive(1.0)
            if got is None:
                continue
            self.heard.append(got[0])
            if got[0]["op"] == op:
                return got[0]
        raise AssertionError(
            f"no '{op}' within {DEADLINE_S} s; heard {[m['op'] for m in self.heard]}; {self.said()}"
        )

    def said(self):
        self.stderr.seek(0)
        return self.stderr.read().decode()

    def stop_now(self):
        """SIGSTOP, and wait until it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def end(self):
        """Close the socket and take the exit status."""
        self.channel.close()
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.communicate()
            self.stderr.close()
        return self.process.returncode


class Session:
    """A ring, a reader, a splitter and an analysis process: what the supervisor would start."""

    def __init__(self, folder, capacity):
        self.folder = folder
        self.dir_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.ring = Ring.create(self.dir_fd, capacity)
        self.ring.allocate(capacity)
        self.workers = []
        self.number = 0
        self.pipe = -1

    def begin_workers(self):
        self.reader, self.splitter, self.analysis = map(self.spawn, ("reader", "splitter", "analysis"))

    def spawn(self, role):
        self.workers.append(Worker(role, self.ring))
        self.workers[-1].expect("ready")
        return self.workers[-1]

    def tell(self, worker, message):
        worker.channel.send(message)
        self.ring.command()

    def analyse(self, **options):
        """Have the next recording analysed; return the slot."""
        message = {
            "op": "record", "recording": self.number + 1, "analyse": None, "pickled": None,
            "path": self.folder, "skip_words": 0, "word_bytes": 8, "hold": True,
        }  # fmt: skip
        self.tell(self.analysis, message | options)
        granted = self.analysis.expect("granted")
        assert granted["recording"] == message["recording"]
        return granted["slot"]

    def begin(self, header="yes"):
        """Begin the next recording; `pipe` is where the source writes."""
        self.number += 1
        announce = {
            "op": "announce", "recording": self.number, "word_bytes": 8, "header": header, "rate": None,
            "max_words": None, "max_seconds": None, "split_seconds": None, "can_wait": False,
            "start": json.dumps({"command": None, "wall": WALL, "word": 8}),
        }  # fmt: skip
        self.tell(self.splitter, announce)
        self.splitter.expect("announced")
        theirs, self.pipe = os.pipe2(os.O_CLOEXEC)
        record = {
            "op": "record", "recording": self.number, "word_bytes": 8, "can_wait": False, "pipe_bytes": MIB,
        }  # fmt: skip
        self.reader.channel.send(record, (theirs,))
        os.close(theirs)
        self.start, self.sent = self.reader.expect("reading")["start"], 0

    def write(self, data):
        self.sent += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.pipe, view) :]

    def write_paced(self, data, slot=None):
        """Write without outrunning the splitter: then nothing has to be dropped; nor this slot's consumer."""
        piece = self.ring.capacity // 32
        for at in range(0, len(data), piece):
            self.write(data[at : at + piece])
            self.until(lambda: self.ring.framed >= self._arriving(), self._arriving())
            if slot is not None:
                self.until(lambda: self._backlog(slot) <= self.ring.capacity * 5 // 8)

    def _backlog(self, slot):
        return self.ring.framed - self.ring.slot_state(slot)["cursor"]

    def _arriving(self):
        """Return where `framed` will be when all that was written has arrived."""
        return self.start + (self.sent - self.ring.reader_state()["dropped_bytes"]) // 8 * 8

    def until(self, true, framed=2**62):
        """Wait for something that the ring tells; look when `framed` is reached, and at every event."""
        until = time.monotonic() + DEADLINE_S
        while not true():
            assert time.monotonic() < until, (
                f"waited for {DEADLINE_S} s; analysis said {self.analysis.said()}"
            )
            self.watch.wait(framed, self.ring.events, 0.01)

    @property
    def watch(self):
        """A lossy slot of the test's own, to wait with."""
        if not hasattr(self, "_watch"):
            self._watch = Slot.claim(self.ring, 0)
        return self._watch

    def finish(self):
        """Let the source end; return what the splitter says of the recording."""
        os.close(self.pipe)
        self.pipe = -1
        self.reader.expect("eof")
        return self.splitter.expect("ended")

    def result(self):
        message = self.analysis.expect("analysis")
        assert message["recording"] == self.number
        json.dumps(message, allow_nan=False)
        return message["result"]

    def close(self):
        """End everything; every process must have ended well, or by the test's own SIGKILL."""
        if self.pipe >= 0:
            os.close(self.pipe)
        with ExitStack() as last:
            last.callback(shutil.rmtree, self.folder)
            last.callback(os.close, self.dir_fd)
            last.callback(self.ring.close)
            for worker in self.workers:
                last.callback(self._end, worker)

    def _end(self, worker):
        assert worker.end() in (0, -signal.SIGKILL), worker.role


@contextmanager
def session(capacity):
    folder = tempfile.mkdtemp(prefix="fastcap-test-", dir="/dev/shm")
    shutil.copy(Path(__file__).with_name("analysis_functions.py"), os.path.join(folder, "user_functions.py"))
    made = Session(folder, capacity)
    try:
        made.begin_workers()
        yield made
    finally:
        made.close()


def spiral(n, seed=3):
    """Return words whose M rolls over many times, both ways."""
    steps = np.random.default_rng(seed).uniform(-9000, 9000, n)
    return encode(np.cumsum(steps), 5e5 + np.arange(n) % 1000)


def check(result, words, phases):
    """Compare the statistics with numpy's of the same data."""
    r = radius(words)
    assert result["radius"]["count"] == len(words)
    for name, values in (("radius", r), ("phase_turns", phases)):
        got = result[name]
        assert got["mean"] == pytest.approx(values.mean(), rel=1e-10)
        assert got["std"] == pytest.approx(values.std(), rel=1e-9)
        assert (got["min"], got["max"]) == (values.min(), values.max())
    assert result["phase_turns"]["range"] == pytest.approx(np.ptp(phases), rel=1e-12)


def record(session, words, header="yes", tail=b"", **options):
    """Analyse one recording from beginning to end."""
    session.analyse(**options)
    session.begin(header)
    session.write((HEADER if header == "yes" else b"") + words.tobytes() + tail)
    ended = session.finish()
    assert (ended["words"], ended["words_lost"]) == (len(words), 0)


def assert_just_now(start: str) -> None:
    """Assert that a recording's start is when its bytes came, in the zone of `WALL`."""
    told = datetime.fromisoformat(start)
    assert told.utcoffset() == datetime.fromisoformat(WALL).utcoffset()
    assert 0 <= time.time() - told.timestamp() < 60
