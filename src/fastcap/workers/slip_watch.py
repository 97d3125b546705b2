"""Byte slips in the running stream: what the splitter does when a run of words is out of step.

Flow: `fastcap._split` looks at one run of words in 256 KiB, at `framed`, and comes back when its alignment is not the
one that runs had agreed on. This module waits for what is needed to be sure, looks at all runs since the last good
one, and has each slip that there is written as an event. What a slip is, and how it is placed: `fastcap.slips`.

A new splitter looks again at what its predecessor may not have come to; slips that already are events lie before that.
"""

from __future__ import annotations

from fastcap import _split
from fastcap.events import SLIP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap._ring import Ring
    from fastcap._split import SplitLoop
    from fastcap.events import Event
    from fastcap.workers.framing import Framing

WORD_BYTES = 8
BEHIND_BYTES = 1 << 15  # looked at behind a run that is out of step: four in sixteen have to agree
BEFORE_BYTES = 1 << 12  # and before the last good one
MOST_BYTES = 32 << 20  # looked at in all
MOST_DELAY = 64  # times the usual distance, until data are looked at again that were suspect and nothing else


class SlipWatch:
    """Watches one recording at a time."""

    def __init__(self, ring: Ring, loop: SplitLoop) -> None:
        self.ring = ring
        self.loop = loop
        self._now: Framing | None = None
        self._delay = 1

    def begin(self, now: Framing, past: list[Event]) -> None:
        """Watch a recording whose header is known; ``past``: what a predecessor wrote of it."""
        self._now, self._delay = now, 1
        if now.word_bytes != WORD_BYTES:
            self.stop()
            return
        start, alignment = now.data_start, _split.UNKNOWN
        slips = [event for event in past if event.kind == SLIP]
        if slips:
            start, alignment = max(start, slips[-1].position), slips[-1].data["new"]
        again = max(self.ring.tail, self.ring.framed - 2 * _split.STEP_BYTES)
        if again > start:
            start = again + (now.data_start - again) % WORD_BYTES
        else:
            start += (now.data_start - start) % WORD_BYTES
        self.loop.watch(start, alignment)

    def stop(self) -> None:
        """Watch nothing."""
        self._now = None
        self.loop.watch(0, _split.UNKNOWN)
        self.loop.look_at = 2**64 - 1

    def on_suspicion(self, *, final: bool = False) -> list[dict[str, Any]]:
        """Return the slips that are certain now, as an event's payload; ``final``: a file or the stream ends here."""
        now, loop, framed = self._now, self.loop, self.ring.framed
        if now is None:
            return []
        if final:
            loop.look(framed - (framed - now.data_start) % WORD_BYTES)
        if not loop.suspect_at:
            return []
        needed = loop.suspect_at + BEHIND_BYTES
        if framed < needed and not final:
            loop.look_at = needed
            return []
        return self._settled(now, min(framed, needed))

    def _settled(self, now: Framing, end: int) -> list[dict[str, Any]]:
        """Look at all runs up to position ``end``, and go on behind them."""
        from fastcap.slips import Slip, slips_within

        loop = self.loop
        old, suspect_at = loop.alignment, loop.suspect_at
        wanted = max(now.data_start, loop.seen_at - BEFORE_BYTES)
        begin = max(wanted, self.ring.tail, end - MOST_BYTES)
        begin += (now.data_start - begin) % WORD_BYTES
        found = slips_within(self.ring.bytes_at(begin, end - begin), old)
        if begin > wanted + WORD_BYTES:  # the ring holds no word of the old alignment any more
            before = (begin - loop.seen_at) // WORD_BYTES
            found = [Slip(0, -before, s.high, s.bytes, s.old, s.new) for s in found[:1]] + found[1:]
        payloads = [self._payload(now, begin, slip) for slip in found]
        self._delay = 1 if found else min(2 * self._delay, MOST_DELAY)
        loop.watch(end - (end - now.data_start) % WORD_BYTES, found[-1].new if found else old)
        if not found:
            loop.seen_at, loop.look_at = suspect_at, suspect_at + self._delay * _split.STEP_BYTES
        return payloads

    def _payload(self, now: Framing, begin: int, slip: Any) -> dict[str, Any]:
        word, low, high = (
            now.source_word_behind(begin + words * WORD_BYTES) for words in (slip.word, slip.low, slip.high)
        )
        return {"after_word": word, "low": low, "high": high, "bytes": slip.bytes, "new": slip.new}
