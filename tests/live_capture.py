"""A recording of counting words under a live stream, with reader and splitter as processes of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness import Processes, counter
from support.waiting import wait_until

from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES, Slot, View
from fastcap.live import Stream

LONG_S = 20.0
RING_BYTES = MIN_RING_BYTES
RING_WORDS = RING_BYTES // 8
BLOCK = 1024


class Live:
    """What a test of live blocks needs.

    Attributes
    ----------
    stream : Stream
        Attached before the recording begins.
    recording : SimpleNamespace
        What the stream knows of the recording: ``number`` and ``error``.
    words : int
        Words written so far.
    """

    def __init__(self, **options: Any) -> None:
        self.engine = Processes()
        self.ring = self.engine.ring
        self.recording = SimpleNamespace(number=1, error=None, silent=None, over=False)
        ring = self.engine.attach()
        options = {"block_words": BLOCK, "on_overrun": "raise", **options}
        self.stream = Stream(ring, Slot.claim(ring, LOSSLESS), self.recording, **options)  # type: ignore[arg-type]
        self.words = 0
        self._sent = 0

    def begin(self, recording: int = 1, **given: Any) -> None:
        """Begin a recording; its words count from 0."""
        self._start = self.engine.begin(recording, **given)
        self.words = self._sent = 0

    def send(self, data: bytes) -> None:
        """Let bytes pass through the ring, in steps that are framed one by one: only consumers are slow."""
        step = RING_BYTES // 32
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            self.engine.write(piece)
            self._sent += len(piece)
            wait_until(self._arrived, LONG_S, "what was sent is framed or dropped")

    def _arrived(self) -> bool:
        return (
            self.ring.framed - self._start + self.ring.reader_state()["dropped_bytes"] >= self._sent // 8 * 8
        )

    def write(self, words: int) -> None:
        """Send the next words."""
        self.send(counter(self.words, words))
        self.words += words

    def pass_by(self) -> int:
        """Write so much that the stream is made lossy and passed; return the first word that is left."""
        self.write(2 * RING_WORDS)
        wait_until(
            lambda: self.ring.tail == self.ring.head - RING_BYTES // 4 * 3, LONG_S, "memory is given up"
        )
        return (self.ring.tail - self._start) // 8

    def essential(self) -> Slot:
        """Claim a slot that holds memory back whatever it costs."""
        return Slot.claim(self.ring, LOSSLESS | ESSENTIAL)

    def close(self) -> None:
        """Close the stream and end the processes."""
        self.stream.close()
        self.engine.close()


class PassedWhileReading:
    """A slot whose owner is passed by between getting its n-th view and looking at it."""

    def __init__(self, live: Live, nth: int) -> None:
        self._live, self._left = live, nth
        self._slot = live.stream.slot

    def view(self, position: int, size: int) -> View:
        view = self._slot.view(position, size)
        self._left -= 1
        if self._left == 0:
            self._live.pass_by()
        return view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slot, name)
