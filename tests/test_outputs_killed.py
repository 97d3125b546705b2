"""An output of ``tee`` that is killed, at whatever moment: its successor writes on, to the byte."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from engine import workers
from harness import Engine, counter
from support import wait_until

from fastcap._pump import OVERRUN, write_stream
from fastcap._ring import ESSENTIAL, LOSSLESS, SLOTS, Ring
from fastcap.session import Session

DATA = counter(0, 3 << 20)  # three times what a session of outputs uses before its ring has grown


def spec(outputs: int) -> dict[str, Any]:
    """Return what ``tee`` asks of a session."""
    return {
        "source": {"kind": "fd", "argv": [], "cwd": None, "device": None}, "label": "a pipe",
        "command": ["a pipe"], "word_bytes": 1, "header": "no", "rate": None, "max_words": None,
        "max_seconds": None, "split_seconds": None, "can_wait": True, "replay_bytes_per_s": 0.0,
        "pipe_bytes": 1 << 20, "sink": None, "outputs": list(range(outputs)), "analysis": None, "meta": {},
        "started": "2026-11-30T12:00:00+00:00", "lock_info": {"destination": None, "label": "a pipe"},
    }  # fmt: skip


@dataclass
class Tee:
    """A session with two outputs, what comes out of them, and the pipe that feeds it."""

    session: Session
    ring: Ring
    feeding: int
    recording: Any
    got: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, target: Any, *args: Any) -> None:
        self.threads.append(threading.Thread(target=target, args=args, daemon=True))
        self.threads[-1].start()

    def feed(self) -> None:
        view = memoryview(DATA)
        while view:
            view = view[os.write(self.feeding, view) :]
        os.close(self.feeding)

    def drain(self, index: int, fd: int) -> None:
        while piece := os.read(fd, 1 << 16):
            self.got[index] += piece
        os.close(fd)

    def granted(self) -> int:
        states = [self.ring.slot_state(i) for i in range(SLOTS)]
        return sum(state["state"] == "ACTIVE" for state in states)


@pytest.fixture
def tee() -> Iterator[Tee]:
    session = Session(64 << 20, label="test", writes=False, outputs=2)
    reader = workers("reader")[0]
    os.kill(reader, signal.SIGSTOP)  # nothing is read yet
    ours, feeding = os.pipe2(os.O_CLOEXEC)
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
    recording = session.record(spec(2), [ours, *(w for _, w in pipes)])
    for fd in (ours, *(w for _, w in pipes)):
        os.close(fd)
    made = Tee(session, session.attach(), feeding, recording)
    for index, (end, _) in enumerate(pipes):
        made.start(made.drain, index, end)
    try:
        yield made
    finally:
        made.ring.close()
        session.discard()  # whatever became of it


def check(tee: Tee) -> None:
    for thread in tee.threads:
        thread.join(60)
    tee.recording.wait_for(lambda: tee.recording.done, 60)
    assert [output["errno"] for output in tee.recording.outputs] == [0, 0]
    assert [bytes(got) == DATA for got in tee.got] == [True, True]


def test_output_killed_before_the_reader_begins_loses_nothing(tee: Tee) -> None:
    """Its slot stays: what its successor, which comes late, is to write is still there then."""
    wait_until(lambda: tee.granted() == 2, 20, "both outputs' slots")
    outputs = workers("tee_out")
    os.kill(outputs[0], signal.SIGKILL)
    late = wait_until(lambda: [pid for pid in workers("tee_out") if pid not in outputs], 20, "a successor")[0]
    os.kill(late, signal.SIGSTOP)
    os.kill(workers("reader")[0], signal.SIGCONT)
    tee.start(tee.feed)
    wait_until(lambda: tee.ring.head == len(DATA), 30, "all to be read")
    os.kill(late, signal.SIGCONT)
    check(tee)


def test_outputs_killed_again_and_again_lose_nothing(tee: Tee) -> None:
    wait_until(lambda: tee.granted() == 2, 20, "both outputs' slots")
    os.kill(workers("reader")[0], signal.SIGCONT)
    killed = set()
    for at in (0, len(DATA) // 4, len(DATA) // 2):
        wait_until(lambda at=at: min(map(len, tee.got)) >= at, 30, f"{at} bytes")
        there = wait_until(lambda: [p for p in workers("tee_out") if p not in killed][1:], 20, "two outputs")
        os.kill(there[0], signal.SIGKILL)
        killed.add(there[0])
        if at == 0:
            tee.start(tee.feed)
    check(tee)


def test_output_whose_bytes_are_gone_says_so_and_writes_none_of_them() -> None:
    engine = Engine()
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(can_wait=True)
    engine.splitter.loop.free_slot(slot.index)  # nobody holds memory for it any more
    for first in range(12):
        engine.feed(counter(first << 14, 1 << 14))
        engine.split()
    assert engine.ring.tail > 0
    end, into = os.pipe2(os.O_NONBLOCK)

    assert write_stream(slot, into, 1, 0) == (0, OVERRUN)
    with pytest.raises(BlockingIOError):
        os.read(end, 1)
    os.close(end)
    os.close(into)
    engine.close()
