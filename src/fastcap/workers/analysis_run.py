"""One recording's analysis: its live words, then the user's function on all of them.

From START to END the words go through `fastcap.workers.live_words`; ``live`` tells of them once a second.
Then the function is called with a `Trace` of ring memory, if the whole recording is still there and stays
there until it returns; else ``need_file`` goes out and it is called with the finished file that ``file``
names (null: there will be none). A function may thus be called twice: it should do nothing but compute.
"""

from __future__ import annotations

import time
from datetime import datetime
from fractions import Fraction
from typing import Any

from fastcap._ring import Ring, Slot
from fastcap.errors import RingError, StreamFormatError
from fastcap.stream import parse_header
from fastcap.trace import Trace, load
from fastcap.wire import Channel, Message
from fastcap.workers.live_words import LiveWords, Words
from fastcap.workers.userfunc import UserFunction

LIVE_S = 1.0


class Cancelled(Exception):  # noqa: N818 - an order, not an error
    """The supervisor wants no more of this recording."""


class Analysis:
    """The analysis of one recording.

    Parameters
    ----------
    slot : Slot
        Left when it is no longer needed, at the latest by `run`.
    message : dict
        ``recording``, ``skip_words``, ``hold``; ``analyse``, ``pickled``, ``path`` of the user's function;
        ``rate`` ([numerator, denominator]) and ``meta``, if given, for its trace.
    """

    def __init__(self, ring: Ring, channel: Channel, slot: Slot, message: Message) -> None:
        self._channel = channel
        self._slot: Slot | None = slot
        self._message = message
        self._recording: int = message["recording"]
        self._function: UserFunction | None = UserFunction.from_message(message)
        hold = message["hold"] and self._function is not None
        self._live: LiveWords = LiveWords(
            ring, slot, self._recording, skip_words=message["skip_words"], hold=hold
        )
        self._next_live_s = time.monotonic() + LIVE_S

    def run(self) -> dict[str, Any]:
        """Consume the recording and call the function; return the result. Blocks until then."""
        assert self._slot is not None
        try:
            while not self._live.over:
                self._live.step()
                self._commands()
                self._tell()
            lossless = self._slot.lossless
            function = self._call() if self._function is not None else None
        except Cancelled:
            return {"cancelled": True}
        finally:
            self._leave()
        return {
            **self._live.stats.to_dict(),
            "missed_words": self._live.missed_words,
            "lossless": lossless,
            "function": function,
        }

    def _leave(self) -> None:
        """Give the slot back, once: then it may be somebody else's."""
        if self._slot is not None:
            self._slot.leave()
            self._slot = None

    # -- the supervisor ------------------------------------------------------------------------------

    def _commands(self) -> None:
        while (got := self._channel.poll()) is not None:
            self._obey(got[0])
        self._channel.flush()

    def _obey(self, message: Message) -> None:
        if message["op"] == "cancel" and message["recording"] == self._recording:
            raise Cancelled

    def _tell(self) -> None:
        if time.monotonic() < self._next_live_s or self._channel.pending:
            return
        self._next_live_s = time.monotonic() + LIVE_S
        self._channel.send({"op": "live", "recording": self._recording, "stats": self._live.short()})

    # -- the function --------------------------------------------------------------------------------

    def _call(self) -> dict[str, Any]:
        """Call the function with the recording: from ring memory, or else from the finished file."""
        assert self._function is not None
        if (words := self._live.words) is not None:
            outcome = self._function.call(lambda: self._trace(words))
            if self._live.valid():
                return outcome
            # what it saw was not the recording: neither its result nor its error counts
        self._leave()
        path = self._wait_for_file()

        def from_file() -> Trace:
            if path is None:
                raise RingError(
                    "the recording is no longer in the ring's memory and was not written; "
                    "use a larger --ring, or write it to a file"
                )
            return load(path)

        return self._function.call(from_file)

    def _trace(self, words: Words) -> Trace:
        """Return the recording in ring memory as a trace."""
        try:
            header = parse_header(self._live.header) if self._live.header else None
        except StreamFormatError:  # the report says so; the words are good all the same
            header = None
        assert self._live.start is not None
        wall, rate = self._live.start.data.get("wall"), self._message.get("rate")
        return Trace.from_words(
            words,
            header,
            Fraction(*rate) if rate else None,
            start=datetime.fromisoformat(wall) if wall else None,
            meta=self._message.get("meta"),
            gaps=self._live.gaps,
        )

    def _wait_for_file(self) -> str | None:
        self._channel.send({"op": "need_file", "recording": self._recording})
        while True:
            got = self._channel.receive()
            if got is None:
                continue
            if got[0]["op"] == "file":
                path: str | None = got[0]["path"]
                return path
            self._obey(got[0])
