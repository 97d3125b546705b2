"""Live blocks: the words as numpy views of ring memory, while they arrive.

A block is valid until the next one is asked for. A view that is still alive then keeps its memory: the cursor
stays before it, for as long as the ring can spare that. When it no longer can, or when this consumer was passed
for another reason, the words missed are counted and reported: raised as `OverrunError`, or marked on the
next block. So a view never goes stale unnoticed.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcap import events, words
from fastcap._ring import Ring, Slot, View
from fastcap.errors import (
    FastcapError,
    OverrunError,
    RingError,
    SourceError,
    StreamFormatError,
    foreign_text,
)
from fastcap.events import EventReader
from fastcap.stream import Header, parse_whole_header

if TYPE_CHECKING:
    from fastcap.session import Recording

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


class Block:
    """Consecutive words of the stream.

    Attributes
    ----------
    index : int
        The source's index of the first word; words lost before it count.
    gap_before : int
        Words missing between the block before and this one (for this consumer). The block before counts with them
        if it was overwritten before this one was asked for: what was made of it cannot be trusted.
    """

    def __init__(self, stream: Stream, position: int, view: View, index: int, gap_before: int) -> None:
        self._stream = stream
        self._position = position
        self._words: Words | None = np.frombuffer(memoryview(view), dtype="<u8")
        self._copied = False  # whole and valid: what becomes of the memory is nothing to whoever has that
        self.index = index
        self.gap_before = gap_before

    @property
    def words(self) -> Words:
        """The words, ``(n,) uint64``: a read-only view of ring memory, no copy.

        Raises
        ------
        RingError
            The block's time is over: a later one was asked for.
        """
        if self._words is None:
            raise RingError(
                "this block is no longer valid: use it before asking for the next, or keep block.copy()"
            )
        return self._words

    def __len__(self) -> int:
        return int(self.words.size)

    def valid(self) -> bool:
        """Tell whether the memory was still this block's until now: ask after using it."""
        return self._words is not None and bool(self._stream.slot.still_valid(self._position))

    def i(self) -> NDArray[np.int32]:
        """Return I, ``(n,) int32``, ADC counts."""
        return words.split_iqm(self.words)[0]

    def q(self) -> NDArray[np.int32]:
        """Return Q, ``(n,) int32``, ADC counts."""
        return words.split_iqm(self.words)[1]

    def m(self) -> NDArray[np.int16]:
        """Return M, ``(n,) int16``, whole turns modulo 2**16."""
        return words.split_iqm(self.words)[2]

    def radius(self, out: Floats | None = None) -> Floats:
        """Return the radius, ``(n,) float64``, ADC counts, into ``out`` if given."""
        return words.radius(self.words, out)

    def phase(self, out: Floats | None = None) -> Floats:
        """Return the phase, ``(n,) float64``, turns, into ``out`` if given.

        Rollovers are carried from block to block on which this is called; call it on every block.
        """
        return words.phase(self.words, out, self._stream.carry)

    def polar(
        self, phase_out: Floats | None = None, radius_out: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return `phase` and `radius` in one pass; of rollovers the same holds as for `phase`."""
        return words.phase_radius(self.words, phase_out, radius_out, self._stream.carry)

    def copy(self) -> Words:
        """Return the words as an array of their own.

        Raises
        ------
        OverrunError
            They were overwritten while they were copied.
        """
        copied = self.words.copy()
        if not self.valid():
            raise self._stream.overrun(self.index, copied.size)
        self._copied = True
        return copied

    def _expire(self) -> None:
        self._words = None


class Stream:
    """A consumer of the running recording, made by `Board.stream`. Use as a context manager.

    Attributes
    ----------
    header : Header or None
        The board's header, once the first block is there.
    words_missed : int
        Words that this consumer was passed by.
    """

    def __init__(
        self, ring: Ring, slot: Slot, recording: Recording, block_words: int, on_overrun: str
    ) -> None:
        if on_overrun not in ("raise", "mark"):
            raise ValueError(f"on_overrun={on_overrun!r}: 'raise' or 'mark'")
        if not 1 <= block_words * 8 <= ring.capacity // 4:
            raise ValueError(f"block_words={block_words}: 1 to {ring.capacity // 32}, a quarter of the ring")
        self.ring, self.slot, self.recording = ring, slot, recording
        self.carry = words.Carry()
        self.header: Header | None = None
        self.words_missed = 0
        self._block_bytes = block_words * 8
        self._raise = on_overrun == "raise"
        self._log = EventReader(ring)
        self._gaps: deque[events.Event] = deque()
        self._held: deque[tuple[int, View, int]] = deque()  # position, view, index of its first word
        self._now: Block | None = None
        self._position = -1  # of the next word
        self._index = 0
        self._gap = 0
        self._end: int | None = None
        self._owner = os.getpid()
        self._start_ns = 0
        self._rest: Words = np.empty(0, np.uint64)

    # -- what the stream says ----------------------------------------------------------------------

    def _look(self) -> int:
        over, framed = self.recording.over, self.ring.framed
        for event in self._log.poll():
            if event.recording != self.recording.number:
                continue
            if event.kind == events.START:
                self._start_ns = event.at_ns
                self.slot.advance(event.position)
            elif event.kind == events.HEADER:
                self._position = event.position + len(event.payload)
                with contextlib.suppress(
                    StreamFormatError
                ):  # the report says so; the words are good all the same
                    self.header = parse_whole_header(event.payload) if event.payload else None
                if self.header is not None:
                    self.carry.wraps = self.header.wraps
            elif event.kind == events.GAP:
                self._gaps.append(event)
            elif event.kind == events.END:
                self._end = event.position
        if over and self._end is None and self._log.overtaken:
            text = (
                f"the events of recording {self.recording.number} were given up, for it is over since long: "
                "read its blocks while it runs, or load its file"
            )
            raise OverrunError(
                text,
                {
                    "stage": "consumer",
                    "after_word": self._index,
                    "words": None,
                    "certainty": "unknown",
                    "at_s": None,
                },
            )
        return framed

    def _upto(self, framed: int) -> int:
        """Return where the next block ends at the latest: a gap, the end, or its size."""
        upto = min(framed, self._position + self._block_bytes)
        if self._gaps:
            upto = min(upto, self._gaps[0].position)
        return upto if self._end is None else min(upto, self._end)

    def _wait(self, timeout_s: float | None) -> int:
        """Block until a whole block, a gap or the end is there; return up to where it goes."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            framed = self._look()
            if self._position >= 0:
                while self._gaps and self._gaps[0].position <= self._position:
                    lost = self._gaps.popleft().data["words"]
                    self._gap += lost
                    self._index += lost
                upto = self._upto(framed)
                whole = upto - self._position >= self._block_bytes
                if whole or (self._gaps and upto == self._gaps[0].position) or upto == self._end:
                    return upto
            if self.recording.error is not None:
                raise self.recording.error
            if until is not None and time.monotonic() >= until:
                raise SourceError(f"no block within {timeout_s} s: the source is silent, or slower than that")
            target = self._position + self._block_bytes if self._position >= 0 else 1 << 62
            self.slot.wait(target, self._log.offset, 0.1)

    # -- validity ----------------------------------------------------------------------------------

    def overrun(self, index: int, missed: int) -> OverrunError:
        """Return the error that tells of words this consumer was passed by."""
        at_s = time.monotonic() - self._start_ns * 1e-9
        entry = {
            "stage": "ring",
            "after_word": index,
            "words": missed,
            "certainty": "exact",
            "at_s": round(at_s, 6),
        }
        held = (
            f"; {len(self._held)} views of earlier blocks are still held: copy what you keep"
            if self._held
            else ""
        )
        return OverrunError(
            f"{missed} words from word {index} were overwritten before they were used{held}", entry
        )

    def _retire(self) -> None:
        """End the present block's time; keep the memory of views that are still alive."""
        if self._now is None:
            return
        block, self._now = self._now, None
        position, index = block._position, block.index
        used = block._words.size if block._words is not None else 0
        block._expire()
        lost = not block._copied and not self.slot.still_valid(position)
        stale = {position: (index, used)} if lost else {}
        self._held = deque(held for held in self._held if held[1].exports)
        while self._held and not self.slot.still_valid(self._held[0][0]):
            at, view, first = self._held.popleft()
            stale[at] = (first, view.nbytes // 8)
        self.slot.advance(self._held[0][0] if self._held else self._position)
        if stale:
            self._missed(min(stale.values())[0], sum(n for _, n in stale.values()), already_used=True)

    def _missed(self, index: int, missed: int, *, already_used: bool) -> None:
        self.words_missed += missed
        self.slot.missed(missed * 8)
        if not already_used:
            self._index += missed
        self._gap += missed
        if self._raise:
            raise self.overrun(index, missed)

    def _word_at(self, position: int) -> int:
        """Return where the last word begins that does so up to ``position``."""
        return position - (position - self._position) % 8

    def _skip_overrun(self) -> None:
        """Go on behind what was given up before it was used."""
        tail = self.ring.tail
        if tail > self._position >= 0:
            self._look()  # this recording's END, if `tail` has passed it
            tail = self._word_at(tail + 7)
            # a whole ring eighth further on: at the tail itself the next block would be passed again
            tail = max(tail, min(tail + self.ring.capacity // 8, self._word_at(self.ring.framed)))
            if self._end is not None:  # behind it lies the next recording
                tail = max(self._position, min(tail, self._word_at(self._end)))
            missed, index = (tail - self._position) // 8, self._index
            self._position = tail
            self._missed(index, missed, already_used=False)

    # -- reading -----------------------------------------------------------------------------------

    def blocks(self, timeout_s: float | None = 5.0) -> Iterator[Block]:
        """Yield blocks until the recording ends; the last one may be short, as is one before a gap.

        Parameters
        ----------
        timeout_s : float or None
            Longest wait for one block.

        Raises
        ------
        OverrunError
            With ``on_overrun="raise"``: this consumer was passed. Calling again goes on behind the loss.
        SourceError
            Nothing came for ``timeout_s``, or the source was ended for its silence.
        """
        while True:
            if os.getpid() != self._owner:
                raise FastcapError(foreign_text("stream", self._owner))
            self._retire()
            self._look()
            self._skip_overrun()
            upto = self._wait(timeout_s)
            size = (upto - self._position) // 8 * 8
            if size == 0:
                if self._end is not None and upto == self._end:
                    if self.recording.silent is not None:
                        raise SourceError(self.recording.silent)
                    return
                continue
            view = self.slot.view(self._position, size)
            block = Block(self, self._position, view, self._index, self._gap)
            self._held.append((self._position, view, self._index))
            self._now, self._gap = block, 0
            self._position += size
            self._index += size // 8
            yield block
            del block

    def read(self, n: int, out: Words | None = None, timeout_s: float | None = 5.0) -> tuple[Words, int]:
        """Copy the next ``n`` words; fewer at the end of the recording.

        Parameters
        ----------
        timeout_s : float or None
            Longest wait for one block, of which ``n`` words may be many.

        Returns
        -------
        words : (<= n,) uint64
            Into ``out`` if given.
        overrun : int
            Words missing before or between them, whatever ``on_overrun`` is.

        Raises
        ------
        SourceError
            Nothing came for ``timeout_s``; the next call begins with what this one had copied.
        """
        target = np.empty(n, np.uint64) if out is None else out[:n]
        raising, self._raise = self._raise, False
        filled = overrun = 0
        try:
            while filled < n:
                if self._rest.size == 0:
                    block = next(self.blocks(timeout_s), None)
                    if block is None:
                        break
                    overrun += block.gap_before
                    try:
                        self._rest = block.copy()
                    except OverrunError:  # counted with the next block's gap
                        continue
                take = min(n - filled, self._rest.size)
                target[filled : filled + take] = self._rest[:take]
                self._rest = self._rest[take:]
                filled += take
        except FastcapError:
            self._rest = target[:filled].copy()  # the next call has them
            self._gap += overrun
            raise
        finally:
            self._raise = raising
        return target[:filled], overrun

    def close(self) -> None:
        """Give the slot back. Views that are still held are told of: their memory is nobody's now.

        In a forked child nothing happens: the stream is its parent's.
        """
        if os.getpid() != self._owner:
            return
        if self._now is not None:
            self._now._expire()
            self._now = None
        held = sum(1 for _, view, _ in self._held if view.exports)
        self.slot.leave()
        self.ring.close()
        if held:
            text = f"{held} views of ring memory outlive their stream: they may change; use block.copy()"
            warnings.warn(text, ResourceWarning, stacklevel=3)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
