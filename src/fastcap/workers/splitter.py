"""The splitter process: frames the stream, writes its events, frees its memory. It is the tee.

Flow: `fastcap._split` moves `framed` and `tail` without the GIL and comes back with reasons; this module
answers them. Per recording it finds the header, knows the source's word index at every position (drops
included), and from that where files are cut and where the recording ends:

    source word = (position - data start) / word size + words dropped before

A new splitter takes `framed`, `tail` and the events as they stand, and is told the open recordings again.
"""

from __future__ import annotations

from fastcap import _split, events
from fastcap._ring import LOG_BYTES, Ring, now_ns
from fastcap._split import SplitLoop
from fastcap.events import Event, EventReader
from fastcap.wire import Channel, Message
from fastcap.workers._start import attach, give_way, serve
from fastcap.workers.eventlog import EventLog
from fastcap.workers.framing import FOREVER, Framing
from fastcap.workers.marks import Windows
from fastcap.workers.slip_watch import SlipWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TICK_NS = 100_000_000
SAMPLE_NS = 250_000_000  # between two samples of the board's clock
ENDED = 2  # of the reader's recording state


def _json(payload: dict[str, Any]) -> bytes:
    import json

    return json.dumps(payload).encode()


class Splitter:
    """Answers the loop's reasons, one recording at a time, in the order they were announced."""

    def __init__(self, ring: Ring, channel: Channel) -> None:
        self.ring = ring
        self.channel = channel
        self.loop = SplitLoop(ring)
        self.slips = SlipWatch(ring, self.loop)
        self.log = EventLog(ring, self._tell_full)
        self.announced: dict[int, Message] = {}
        self.now: Framing | None = None
        self._sampled_ns = 0
        self._header_bytes = 0  # of a header that is to be said next
        self._begins: list[tuple[int, int]] = []  # recordings, and where their events begin in the log
        self._catch_up()

    def _catch_up(self) -> None:
        """Take drops that already are events from the events, not from a count that may lag behind them."""
        log = EventReader(self.ring)
        self.past: list[Event] = []
        at = log.offset
        for event in log.poll():
            self.past.append(event)
            if event.kind == events.START:
                self._begins.append((event.recording, at))
            at = log.offset
        drops = [e.data["drop"] + 1 for e in self.past if e.kind == events.GAP]
        self.loop.drops_done(max([self.loop.drops_done_count, *drops]))
        ended = max((e.recording for e in self.past if e.kind == events.END), default=0)
        if ended > self.ring.ended_recording:  # the predecessor died between the two
            self.loop.commit_events(self.log.nbytes, ended)

    # -- events ----------------------------------------------------------------------------------

    def emit(self, kind: int, position: int, payload: bytes | dict[str, Any], *, ended: int = 0) -> None:
        """Append a record: its bytes, then `events`. The caller moves `framed` afterwards."""
        body = payload if isinstance(payload, bytes) else _json(payload)
        assert self.now is not None
        record = events.encode(Event(kind, position, self.now.recording, now_ns(), body))
        self.log.append(record)
        self.loop.commit_events(self.log.nbytes, ended)

    def _tell_full(self, text: str) -> None:
        recording = self.now.recording if self.now is not None else 0
        self.channel.send({"op": "log_full", "recording": recording, "text": text})

    # -- a recording's life ------------------------------------------------------------------------

    def on_recording(self) -> None:
        """Begin the recording the reader has begun, or note that it has ended."""
        state = self.ring.reader_state()
        recording = state["recording"]
        if self.now is None and recording in self.announced and recording > self.ring.ended_recording:
            self._begin(self.announced.pop(recording), state["start"])
        if state["state"] == ENDED:
            self._reader_ended(state)

    def _begin(self, message: Message, start: int) -> None:
        now = self.now = Framing(message, start)
        mine = [e for e in self.past if e.recording == now.recording]
        self.past = []
        self.loop.can_wait = message["can_wait"]
        give_way(message["can_wait"])
        self.loop.word_bytes = now.word_bytes
        self.loop.quiet_limit = False
        now.restore(mine)
        for mark in (e for e in mine if e.kind == events.MARK):
            self._tell_mark(now, mark.data)
        if not any(e.kind == events.START for e in mine):
            self._begins.append((now.recording, self.log.nbytes))
            self.emit(events.START, start, message["start"].encode())
        if start > self.ring.framed:
            self.loop.publish_framed(start)
        if now.header_known and not any(e.kind == events.HEADER for e in mine):
            self.emit(events.HEADER, start, b"")
        if now.header_known:
            self._tell_header(now)
            self.slips.begin(now, mine)
        self._aim()

    def _aim(self) -> None:
        """Tell the loop how far it may go by itself, and from where arrivals are timed."""
        assert self.now is not None
        self.loop.words_at(self.now.recording, self.now.data_start % self.now.word_bytes)
        self.loop.limit = self.now.limit
        self.loop.keep_from = FOREVER if self.now.header_known else self.now.start
        self.loop.clock_start = self.now.data_start
        self.loop.clock_lost = self.now.lost_words * self.now.word_bytes
        rate = self.now.rate
        self.loop.clock_ns_per_byte = float(10**9 / (rate * self.now.word_bytes)) if rate else 0.0

    def on_limit(self) -> None:
        """Look at the header, cut a file, or end the recording: whatever stands at `framed`."""
        now = self.now
        if now is None:
            self.loop.limit = self.ring.framed
            self.loop.quiet_limit = True
            return
        if not now.header_known:
            self._find_header(now, final=False)
        elif now.mark_due(self.ring.framed):
            self.on_suspicion(final=True)
            mark = now.take_mark(self.ring.framed)
            self.emit(events.MARK, self.ring.framed, mark)
            self._tell_mark(now, mark)
        elif self.ring.framed == now.cut:
            self._end("cut")
            return
        self._aim()

    def _find_header(self, now: Framing, *, final: bool) -> None:
        from fastcap.payload import LOOK_BYTES

        have = self.ring.head - now.start
        prefix = self.ring.bytes_at(now.start, min(have, LOOK_BYTES))
        if not now.look_for_header(prefix, final=final, have=have, most=self.ring.capacity // 2):
            return
        self._header_bytes = now.header_bytes
        if not self.log.has_room(now.header_bytes) and not now.put_off_header(final=final):
            return
        raw = self.ring.bytes_at(now.start, now.header_bytes)
        if raw:
            now.parse(raw)
        self.emit(events.HEADER, now.start, raw)
        self._header_bytes = 0
        self._tell_header(now)
        self.slips.begin(now, [])

    def _tell_header(self, now: Framing) -> None:
        self.channel.send({"op": "header", "recording": now.recording, **now.header_report()})

    def _tell_mark(self, now: Framing, mark: Message) -> None:
        if now.windowed:
            self.channel.send({"op": "marked", "recording": now.recording, **mark})

    def on_suspicion(self, *, final: bool = False) -> None:
        """Make the slips that are certain now events; ``final``: here ends a file, or the recording."""
        for slip in self.slips.on_suspicion(final=final):
            self.emit(events.SLIP, self.ring.framed, slip)
            assert self.now is not None
            self.channel.send({"op": "slip", "recording": self.now.recording, **slip})

    def on_drops(self, *, final: bool = False) -> None:
        """Make closed drop entries events; at the end of the stream the open one, too."""
        made = self.ring.reader_state()["drops"]
        while (n := self.loop.drops_done_count) < made and (self.now is None or self.log.has_room()):
            head = self.ring.head  # before the entry: what is closed by then grows no more
            position, dropped, _, at_ns = self.ring.drop(n)
            if position >= head and not final:
                return
            if self.now is not None:
                if position > self.ring.framed:
                    return
                if position >= self.now.cut:
                    self._end("cut")
                    return
                if dropped:  # the ring was full, and had room again before a byte came: no gap
                    gap = self.now.take_gap(position, dropped)
                    self.emit(events.GAP, position, {**gap, "drop": n, "dropped_ns": at_ns})
            self.loop.drops_done(n + 1)  # beyond the cut a drop is no gap: nobody was to have it
            if self.now is not None:
                self._aim()

    def _cut_while_dropping(self) -> None:
        """End a recording whose last word is among those that are being dropped: that may go on for long."""
        now, n = self.now, self.loop.drops_done_count
        if now is None or now.cut == FOREVER or self.ring.reader_state()["drops"] != n + 1:
            return
        position, dropped, recording, at_ns = self.ring.drop(n)
        if recording != now.recording or not position == self.ring.framed == self.ring.head:
            return
        assert now.max_words is not None
        if now.source_word(position) + dropped // now.word_bytes >= now.max_words:
            gap = now.take_gap(position, dropped)
            self.emit(events.GAP, position, {**gap, "drop": n, "dropped_ns": at_ns})
            self.loop.drops_done(n + 1)
            self._end("cut")

    def _reader_ended(self, state: dict[str, int]) -> None:
        self.on_commands()  # whether it is to end with a whole word was said before
        if self.now is not None and state["recording"] == self.now.recording:
            self.log.ending = True
            self._drain_to(self.now, state["end"])
        if self.now is None:
            self.on_drops(final=True)

    def _drain_to(self, now: Framing, end: int) -> None:
        """Frame what is left below the reader's end, then end the recording there; the next may begin with that."""
        if not now.header_known:
            self._find_header(now, final=True)
            self._aim()
        end = now.end_of(end)
        while self.now is now:
            if not self.log.has_room():
                self._end_without_room(now, end)
                return
            self.on_drops(final=True)
            if self.now is not now:
                return
            framed = self.ring.framed
            target = min(end, now.limit, self._next_drop(end))
            if target > framed:
                self.loop.publish_framed(target)
            elif framed >= min(end, now.cut):
                self._end("cut" if framed == now.cut else "end")
            else:
                self.on_limit()

    def _end_without_room(self, now: Framing, end: int) -> None:
        """End a recording where its last gaps and files have no room in the event log: the rest is one gap."""
        framed, made = self.ring.framed, self.ring.reader_state()["drops"]
        drops = [self.ring.drop(n) for n in range(self.loop.drops_done_count, made)]
        dropped = sum(nbytes for _, nbytes, recording, _ in drops if recording == now.recording)
        if rest := end - framed + dropped:
            gap = now.take_gap(framed, rest)
            self.emit(events.GAP, framed, {**gap, "drop": made - 1, "dropped_ns": now_ns()})
        self.loop.drops_done(made)
        self._end("end")

    def _next_drop(self, end: int) -> int:
        """Return the position of the first drop that is no event yet: framed must stop there."""
        if self.loop.drops_done_count == self.ring.reader_state()["drops"]:
            return end
        return int(self.ring.drop(self.loop.drops_done_count)[0])

    def _end(self, why: str) -> None:
        now = self.now
        assert now is not None
        self._sample(last=True)
        self.on_suspicion(final=True)
        self.slips.stop()
        framed = self.ring.framed
        summary = {**now.summary(framed), "why": why}
        self.emit(events.END, framed, summary, ended=now.recording)
        self.loop.limit = framed
        self.loop.keep_from = FOREVER
        self.loop.quiet_limit = True
        self.now = None
        self.channel.send({"op": "ended", "recording": now.recording, **summary})
        state = self.ring.reader_state()
        if state["state"] == ENDED:
            self._reader_ended(state)

    def _repeat_end(self, recording: int) -> None:
        """Tell again how a recording ended that a predecessor had brought to its end."""
        log = EventReader(self.ring).poll()
        end = next(e for e in log if e.kind == events.END and e.recording == recording)
        self.channel.send({"op": "ended", "recording": recording, **end.data})

    def _give_up_events(self, over: int) -> None:
        """Give up the log of recordings up to number ``over``, but for what was written of late."""
        latest = self.log.nbytes - LOG_BYTES
        first = sum(recording <= over + 1 and at <= latest for recording, at in self._begins)
        if first > 1:
            del self._begins[: first - 1]
            self.loop.give_up_events(self._begins[0][1])

    # -- the loop ----------------------------------------------------------------------------------

    def _sample(self, *, last: bool = False) -> None:
        """Tell the supervisor of the least late arrival of the last while: it keeps the clock's record."""
        if self.now is None or (now_ns() - self._sampled_ns < SAMPLE_NS and not last):
            return
        sample = self.loop.take_sample()
        if sample is not None:
            at_ns, source_bytes = sample
            words = source_bytes // self.now.word_bytes
            self.channel.send(
                {"op": "clock", "recording": self.now.recording, "at_ns": at_ns, "words": words}
            )
            self._sampled_ns = now_ns()

    def on_commands(self) -> None:
        """Take what the supervisor said."""
        while (got := self.channel.poll()) is not None:
            message, _ = got
            if message["op"] == "announce":
                if message["recording"] <= self.ring.ended_recording:
                    self._repeat_end(message["recording"])
                    continue
                self.announced[message["recording"]] = message
                self.channel.send({"op": "announced", "recording": message["recording"]})
                if message["header"] != "no":
                    import fastcap.stream  # noqa: F401 - while others get ready; without a header there is no need
                self.on_recording()
            elif message["op"] == "free_slot":
                self.loop.free_slot(message["slot"])
            elif message["op"] == "give_up_events":
                self._give_up_events(message["over"])
            elif self.now is not None and message["recording"] == self.now.recording:
                self._order(self.now, message)

    def _order(self, now: Framing, message: Message) -> None:
        """Take a window, or how it is to end, for the recording under way."""
        framed = self.ring.framed
        if message["op"] == "window" and isinstance(now.marks, Windows):
            now.marks.ask({key: message[key] for key in ("name", "position", "words")}, framed)
        elif message["op"] == "finish" and now.header_known:
            now.cut_from(framed)
        elif message["op"] == "split":
            now.split_at(max(message["position"], framed))
        elif message["op"] == "whole_words":
            now.whole_words = True
        self._aim()

    def run(self) -> None:
        """Serve until the supervisor closes the socket."""
        self.on_commands()
        while True:
            self._answer(self.loop.run(TICK_NS))

    def _has_room(self) -> bool:
        """Tell whether the event log has room for the next step; where an end is in sight its reserve is used."""
        self.log.ending = False
        if self.log.has_room(self._header_bytes):
            return True
        now = self.now
        self.log.ending = now is not None and now.header_known and self.ring.head >= now.cut
        return self.log.ending and self.log.has_room()

    def _answer(self, why: int) -> None:
        if why & (_split.COMMAND | _split.TICK):
            self.on_commands()
        if why & _split.SLOTS:
            self.loop.serve_slots()
        self.loop.hold = not self._has_room()
        if self.loop.hold:
            why &= ~(_split.ALIGN | _split.DROPS | _split.LIMIT)
        if why & _split.ALIGN:
            self.on_suspicion()
        if why & _split.DROPS:
            self.on_drops()
        if why & _split.RECORDING:
            self.on_recording()
        if why & _split.LIMIT:
            self.on_limit()
        if why & _split.TICK:
            if not self.loop.hold:
                self._cut_while_dropping()
            self._sample()
            self.channel.flush()
            self.on_recording()


def main() -> None:
    """Run the splitter of the session whose descriptors were inherited."""
    channel, ring = attach()
    channel.send({"op": "ready"})
    Splitter(ring, channel).run()


def run() -> None:
    """Be this worker's process."""
    serve(main)


if __name__ == "__main__":
    run()
