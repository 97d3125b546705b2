"""The words of a running recording as the analysis consumes them: blocks, gaps, overruns, statistics.

Every word is either in the statistics, or counted in ``missed_words``, or in a GAP event of the stream. They
are copied out of ring memory in pieces that stay in cache, and a piece is used if its memory was not given up
meanwhile, as can happen to a lossy consumer; otherwise it counts as missed.
"""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcap import events
from fastcap._ring import Ring, Slot, now_ns
from fastcap.blocks import ArrivedBlock
from fastcap.errors import StreamFormatError
from fastcap.events import Event, EventReader
from fastcap.sidecar import Gap
from fastcap.stats import PIECE_WORDS, TraceStats
from fastcap.stream import WORD_BYTES, Header, parse_whole_header
from fastcap.words import Carry

Words = NDArray[np.uint64]

BLOCK_BYTES = 1 << 21  # in a large ring: fewer turns of the interpreter; at most an eighth of a small one
WAIT_S = 0.1
_FAR = 2**63
_HEAP_BYTES = 2 << 20


class LiveWords:
    """One recording's words, from its START to its END.

    Parameters
    ----------
    slot : Slot
        Granted before the recording began, or later: then what is gone already counts as missed.
    skip_words : int
        The board's start-up transient.
    hold : bool
        Keep the whole recording in ring memory while it fits into half of that.
    keep : bool
        Keep what each step took in as `block`.
    rate : Fraction, optional
        Words per second; default: what the header says.

    Attributes
    ----------
    stats : TraceStats
    missed_words : int
        Words that were overwritten before they were used.
    start : Event or None
        Where and when the recording began.
    header : Header or None
        None if there is none that can be read, or not yet.
    rate : Fraction or None
        Words per second, if anything says it.
    block : ArrivedBlock or None
        What the last step took in, if it is kept.
    """

    def __init__(
        self,
        ring: Ring,
        slot: Slot,
        recording: int,
        *,
        skip_words: int,
        hold: bool,
        keep: bool = False,
        rate: Fraction | None = None,
    ) -> None:
        # glibc's malloc keeps up to twice as much as the largest block that was given back; without this it
        # returns the memory of each piece's arrays to the kernel, whose page faults cost more than the sums
        np.empty(_HEAP_BYTES, np.uint8)
        self.rate = rate
        self.stats = TraceStats(skip_words, rate=rate)
        self.missed_words = 0
        self.start: Event | None = None
        self.first_at: float | None = None  # when the first bytes came
        self.header: Header | None = None
        self.block: ArrivedBlock | None = None
        self._skip_words = skip_words
        self._index = 0  # the source's, of the next word
        self._gap_before = 0
        self._ring = ring
        self._slot = slot
        self._recording = recording
        self._hold = hold
        self._keep = keep
        self._piece = np.empty(PIECE_WORDS, np.uint64)
        self._log = EventReader(ring)
        self._gaps: list[Event] = []
        self._ahead: deque[Event] = deque()  # those of them that were not reached yet
        self._begin = -1  # of the first word; -1: the header is not known yet
        self._position = -1  # of the next word
        self._block_bytes = min(BLOCK_BYTES, ring.capacity // 8)
        self._end: int | None = None
        self._margin = 0

    # -- what the stream says ----------------------------------------------------------------------

    def _look(self) -> None:
        """Take new events. `framed` was loaded before: then words below it have their events here."""
        for event in self._log.poll():
            if event.recording != self._recording:
                continue
            if event.kind == events.START:
                self.start = event
                self._slot.advance(max(self._slot.cursor, event.position))
            elif event.kind == events.HEADER:
                self._begin = self._position = event.position + len(event.payload)
                self._note_first()
                self._read_header(event.payload)
            elif event.kind == events.GAP:
                self._gaps.append(event)
                self._ahead.append(event)
            elif event.kind == events.END:
                self._end = event.position

    def _note_first(self) -> None:
        """Note when the first bytes came, as the report will say it; not once another recording has begun."""
        state = self._ring.reader_state()
        if state["recording"] == self._recording and state["first_ns"]:
            self.first_at = time.time() - (now_ns() - state["first_ns"]) * 1e-9

    def _read_header(self, raw: bytes) -> None:
        try:
            self.header = parse_whole_header(raw) if raw else None
        except StreamFormatError:  # the report says so; the words are good all the same
            return
        if self.header is None:
            return
        if self.rate is None or self.header.wraps:
            self.rate = self.rate or self.header.sample_rate_hz
            carry = Carry(self.header.wraps)
            self.stats = TraceStats(self._skip_words, carry=carry, rate=self.rate)

    @property
    def over(self) -> bool:
        """The END is known, and every whole word before it was used or missed."""
        return self._end is not None and (self._begin < 0 or self._end - self._position < WORD_BYTES)

    # -- consuming ---------------------------------------------------------------------------------

    def step(self) -> None:
        """Wait for a block's words, at most 100 ms, and take in one block of what is there."""
        self.block = None
        target = _FAR if self._begin < 0 else self._position + self._block_bytes
        if self._end is not None:
            target = min(target, self._end)
        if self._ahead:
            target = min(target, self._ahead[0].position)
        framed = self._slot.wait(target, self._log.offset, WAIT_S)
        self._look()
        if self._begin < 0:
            return
        # without a whole word before it, a gap is here; one at the end may stand behind odd bytes
        while self._ahead and self._ahead[0].position < self._position + WORD_BYTES:
            self._gap(self._ahead.popleft().data["words"])
        upto = min(framed, self._position + self._block_bytes)
        if self._end is not None:
            upto = min(upto, self._end)
        if self._ahead:
            upto = min(upto, self._ahead[0].position)
        if upto - self._position >= WORD_BYTES:
            self._use((upto - self._position) // WORD_BYTES * WORD_BYTES)

    def _use(self, size: int) -> None:
        """Take in the words at the position, piece by piece, as far as they are still there."""
        kept = np.empty(size // WORD_BYTES, np.uint64) if self._keep else None
        index, carry, end, used = self._index, self.stats.carry, self._position + size, 0
        while self._position < end:
            count = min(self._piece.size, (end - self._position) // WORD_BYTES)
            piece = self._piece[:count] if kept is None else kept[used : used + count]
            np.copyto(piece, self._in_place(self._position, count * WORD_BYTES))
            if not self._slot.still_valid(self._position):
                break
            self.stats.update(piece)
            used += count
            self._position += count * WORD_BYTES
            self._margin = 0
        self._index += used
        if kept is not None and used:
            self.block = ArrivedBlock(kept[:used], index, self._gap_before, carry)
        self._gap_before = self._gap_before if not used else 0
        if self._position < end:
            self._skip_overrun()
        else:
            self._release()

    def _gap(self, words: int) -> None:
        self.stats.gap(words)
        self._index += words
        self._gap_before += words

    def _in_place(self, position: int, size: int) -> Words:
        return np.frombuffer(memoryview(self._slot.view(position, size)), dtype="<u8")

    def _release(self) -> None:
        """Move the cursor, unless everything is held and may be."""
        assert self.start is not None
        so_far = (self._ring.framed if self._end is None else self._end) - self.start.position
        if so_far > self._ring.capacity // 2 or not self._slot.lossless:
            self._hold = False
        if not self._hold:
            self._slot.advance(max(self._slot.cursor, self._position))

    def _skip_overrun(self) -> None:
        """Go on behind what was given up; where that fails again and again, further behind each time.

        At the very edge the next block would be lost just so: `tail` moves as the stream goes on.
        """
        tail = self._ring.tail
        tail += (self._begin - tail) % WORD_BYTES
        framed = self._ring.framed
        self._look()  # this recording's END, if `tail` has passed it
        last = framed if self._end is None else self._end
        last -= (last - self._begin) % WORD_BYTES
        target = min(tail + self._margin, last)
        missed = target - self._position
        self.missed_words += missed // WORD_BYTES
        self._slot.missed(missed)
        self._gap(missed // WORD_BYTES)
        self._position = target
        most = max(0, framed - tail) // (2 * WORD_BYTES) * WORD_BYTES
        self._margin = min(max(2 * self._margin, self._block_bytes), most)
        self._release()

    # -- afterwards --------------------------------------------------------------------------------

    @property
    def words(self) -> Words | None:
        """All words, in ring memory, if none was missed or overwritten yet; ask `valid` after use."""
        if self._end is None or self._begin < 0 or self.missed_words or not self.valid():
            return None
        size = (self._end - self._begin) // WORD_BYTES * WORD_BYTES
        if size > self._ring.capacity:
            return None
        return self._in_place(self._begin, size) if size else np.empty(0, np.uint64)

    @property
    def gaps(self) -> list[Gap]:
        """Where the reader had to drop words, in the order of the stream."""
        found = []
        for event in self._gaps:
            file_word = max(0, event.position - self._begin) // WORD_BYTES
            found.append(Gap(file_word, event.data["after_word"], event.data["words"], "ring"))
        return found

    def valid(self) -> bool:
        """Tell whether no word of the recording was overwritten until now."""
        return bool(self._slot.still_valid(self._begin))

    def short(self) -> dict[str, Any]:
        """Return what people want to see while it runs."""
        return {
            "words": self.stats.words,
            "missed_words": self.missed_words,
            "lossless": self._slot.lossless,
            "radius_mean": self.stats.radius.mean,
            "radius_std": self.stats.radius.std,
            "phase_mean_turns": self.stats.phase.mean,
            "phase_range_turns": self.stats.phase_range_turns,
        }
