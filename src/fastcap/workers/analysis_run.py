"""One recording's analysis: its live words, then the user's function on all of them.

From START to END the words go through `fastcap.workers.live_words`; ``live`` tells of them once a second. A
function of blocks (see `fastcap.blocks`) runs meanwhile: it asks for a block, and the loop here turns until there
is one. Any other is called afterwards with a `Trace` of ring memory, if the whole recording is still there and
stays there until it returns; else ``need_file`` goes out and it is called with the finished files that ``file``
names (none: there will be none). A function may thus be called twice: it should do nothing but compute.

``statistics`` goes out before a function is called with a trace: should it take this process down, they remain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from typing import Any

from fastcap._ring import Ring, Slot
from fastcap.blocks import ArrivedBlock, Blocks
from fastcap.errors import RingError
from fastcap.trace import Trace
from fastcap.wire import Channel, Message
from fastcap.workers.limits import Limits
from fastcap.workers.live_words import LiveWords, Words
from fastcap.workers.userfunc import UserFunction

LIVE_S = 1.0
Json = dict[str, Any]


class Cancelled(BaseException):
    """The supervisor wants no more of this recording. A function of blocks must not take it for its own."""


class Analysis:
    """The analysis of one recording.

    Parameters
    ----------
    slot : Slot
        Left when it is no longer needed, at the latest by `run`.
    message : dict
        ``recording``, ``skip_words``, ``hold``; ``analyse``, ``pickled``, ``path`` of the user's function;
        if given: ``timeout_s`` and ``memory_bytes`` for it; ``rate`` ([numerator, denominator]) and ``meta``.
    """

    def __init__(self, ring: Ring, channel: Channel, slot: Slot, message: Message) -> None:
        self._channel = channel
        self._slot: Slot | None = slot
        self._message = message
        self._recording: int = message["recording"]
        self._limits = Limits(message.get("timeout_s"), message.get("memory_bytes"))
        self._function: UserFunction | None = UserFunction.from_message(message)
        self._cancelled = False
        if self._function is not None and self._function.error is not None:
            error = self._function.error
            what = " ".join(f"{error['type']}: {error['message']}".split())
            text = f"analysis {self._function.name} cannot be had ({what}); the capture goes on without it"
            channel.send({"op": "warning", "recording": self._recording, "text": text})
        of_blocks = self._function is not None and self._function.wants_blocks
        rate = message.get("rate")
        self._live: LiveWords = LiveWords(
            ring,
            slot,
            self._recording,
            skip_words=message["skip_words"],
            hold=message["hold"] and self._function is not None and not of_blocks,
            keep=of_blocks,
            rate=Fraction(*rate) if rate else None,
        )
        self._next_live_s = time.monotonic() + LIVE_S

    def run(self) -> Json:
        """Consume the recording and call the function; return the result. Blocks until then."""
        assert self._slot is not None
        outcome: Json | None = None
        try:
            if self._function is not None and self._function.wants_blocks:
                outcome = self._bounded(lambda: Blocks(self._blocks, self._message.get("meta")))
            while not self._live.over:
                self._turn()
            statistics = self._statistics(self._slot.lossless)
            if self._function is not None and not self._function.wants_blocks:
                outcome = self._call(statistics)
        except Cancelled:
            return {"cancelled": True}
        finally:
            self._leave()
        return {**statistics, "function": outcome}

    def _statistics(self, lossless: bool) -> Json:
        return {**self._live.stats.to_dict(), "missed_words": self._live.missed_words, "lossless": lossless}

    def _leave(self) -> None:
        """Give the slot back, once: then it may be somebody else's."""
        if self._slot is not None:
            self._slot.leave()
            self._slot = None

    def _turn(self) -> None:
        """Take in a block, if one comes soon; hear the supervisor, and tell it how things are."""
        self._live.step()
        self._commands()
        self._tell()

    # -- the supervisor ------------------------------------------------------------------------------

    def _commands(self) -> None:
        while (got := self._channel.poll()) is not None:
            self._obey(got[0])

    def _obey(self, message: Message) -> None:
        if message["op"] == "cancel" and message["recording"] == self._recording:
            self._cancelled = True
            raise Cancelled

    def _tell(self) -> None:
        if time.monotonic() < self._next_live_s or self._channel.pending:
            return
        self._next_live_s = time.monotonic() + LIVE_S
        self._channel.send({"op": "live", "recording": self._recording, "stats": self._live.short()})

    # -- the function --------------------------------------------------------------------------------

    def _bounded(self, make_argument: Callable[[], Any]) -> Json:
        assert self._function is not None
        with self._limits.memory():
            outcome = self._function.call(make_argument, self._limits)
        if self._cancelled:  # and the function caught it
            raise Cancelled
        return outcome

    def _blocks(self, blocks: Blocks) -> Iterator[ArrivedBlock]:
        """Yield the recording's blocks; the function's time runs only while it has one."""
        while True:
            self._limits.stop()
            while self._live.block is None and not self._live.over:
                self._turn()
            block, self._live.block = self._live.block, None
            blocks.missed_words = self._live.missed_words
            if blocks.start is None:
                blocks.start, blocks.header = self._start(), self._live.header
                blocks.sample_rate_hz = float(self._live.rate) if self._live.rate else None
            self._limits.start()
            if block is None:
                return
            yield block

    def _call(self, statistics: Json) -> Json:
        """Call the function with the recording: from ring memory, or else from the finished files."""
        assert self._function is not None
        told = {"op": "statistics", "recording": self._recording, "result": statistics}
        told |= {"function": self._function.name, "timeout_s": self._limits.timeout_s}
        if (words := self._live.words) is not None:
            self._say(told)
            outcome = self._bounded(lambda: self._trace(words))
            if self._live.valid():
                return outcome
            # what it saw was not the recording: neither its result nor its error counts
        self._leave()
        paths = self._wait_for_files()

        def from_files() -> Trace:
            from fastcap.workers.joined import trace_of_files

            if not paths:
                raise RingError(
                    "the recording is no longer in the ring's memory and was not written; "
                    "use a larger --ring, or write it to a file"
                )
            return trace_of_files(paths, self._limits.memory_bytes)

        self._say(told)
        return self._bounded(from_files)

    def _say(self, told: Message) -> None:
        """Tell the supervisor before the function runs: it may end this process."""
        self._channel.send(told)
        self._channel.drain()

    def _start(self) -> datetime | None:
        assert self._live.start is not None
        wall = self._live.start.data.get("wall")
        asked = datetime.fromisoformat(wall) if wall else None
        if asked is None or self._live.first_at is None:
            return asked
        return datetime.fromtimestamp(self._live.first_at, asked.tzinfo)

    def _trace(self, words: Words) -> Trace:
        """Return the recording in ring memory as a trace."""
        return Trace.from_words(
            words,
            self._live.header,
            self._live.rate,
            start=self._start(),
            meta=self._message.get("meta"),
            gaps=self._live.gaps,
        )

    def _wait_for_files(self) -> list[str]:
        self._channel.send({"op": "need_file", "recording": self._recording})
        while True:
            got = self._channel.receive()
            if got is None:
                continue
            if got[0]["op"] == "file":
                paths: list[str] = got[0]["paths"]
                return paths
            self._obey(got[0])
