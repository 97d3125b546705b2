"""The engine alone, without session or command line: a reader and a splitter process, this process at both ends.

Run with ``pytest -o addopts= bench`` (the project's options skip benchmarks).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness import PIECE, Processes

from fastcap._ring import LOSSLESS, Ring, Slot

RING_BYTES = 64 << 20
PUMP_BYTES = 64 << 20
WAIT_S = 10.0


class Line:
    """A stream from this process through reader, ring and splitter back to this process."""

    def __init__(self) -> None:
        self.engine = Processes(RING_BYTES)
        self.ring: Ring = self.engine.attach()
        self.slot = Slot.claim(self.ring, LOSSLESS)
        self.position = self.engine.begin(can_wait=True)
        self.slot.advance(self.position)

    def pass_on(self, data: bytes) -> None:
        """Write ``data``, wait until it is framed, let go of it."""
        self.engine.write(data)
        self.position += len(data)
        until_s = time.monotonic() + WAIT_S
        while self.slot.wait(self.position, self.ring.events, WAIT_S) < self.position:
            assert time.monotonic() < until_s, f"not framed within {WAIT_S:g} s"
        self.slot.advance(self.position)

    def close(self) -> None:
        """Give the slot back, end the processes."""
        self.slot.leave()
        self.ring.close()
        self.engine.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


@pytest.mark.benchmark(group="pump")
def test_pump(benchmark: Any, line: Line) -> None:
    """64 MiB through pipe, ring and splitter, 1 MiB at a time."""
    piece = bytes(PIECE)

    def pump() -> None:
        for _ in range(PUMP_BYTES // PIECE):
            line.pass_on(piece)

    benchmark.extra_info["bytes"] = PUMP_BYTES
    benchmark.pedantic(pump, rounds=10, warmup_rounds=2)
    assert line.slot.cursor == line.position


@pytest.mark.benchmark(group="wake-up")
def test_wake_up(benchmark: Any, line: Line) -> None:
    """One word from write(2) to the consumer's wake-up: reader, splitter and consumer woken in turn."""
    word = bytes(8)
    benchmark.pedantic(line.pass_on, args=(word,), rounds=2000, warmup_rounds=50)
    assert line.slot.cursor == line.position
