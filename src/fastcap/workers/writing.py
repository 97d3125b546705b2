"""One recording from the ring into its files, at the destination's pace: written, synced, digested, completed.

Blocks go by ``pwrite`` straight from ring memory and through the hash; at the fsync distance an fsync, and only when
it returned and the hash has come as far does the cursor move. At a MARK or the END the file is finished: what was
measured goes to the supervisor (``segment``), the report comes back (``commit``), sidecar and file take their names,
the directory is synced. A write or fsync that fails is tried again from what the last good fsync made durable: the
ring still holds everything since.
"""

from __future__ import annotations

import errno

from fastcap import events
from fastcap._ring import Ring, Slot, now_ns
from fastcap.events import Event, EventReader
from fastcap.wire import Channel, Message
from fastcap.workers.completion import Completion
from fastcap.workers.directory import SinkFailed
from fastcap.workers.filenames import words_before
from fastcap.workers.intact import mend
from fastcap.workers.sink import Sink
from fastcap.workers.sync_policy import BLOCK_BYTES, GATHER_BYTES, GATHER_S, SyncPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

DIGEST_S = 0.001  # how often a writer with nothing to write looks how far a digest that is behind has come
LOOK_NS = 1_000_000_000  # between two looks at where the file is
TELL_NS = 250_000_000  # between two tellings of what was measured
RETRY_S = 0.5


class Abandoned(Exception):  # noqa: N818 - an order, not an error
    """The supervisor gave this recording up; the part file stays for recovery."""


class Discarded(Exception):  # noqa: N818
    """The recording never began: its part file is gone."""


class NasWriter:
    """Writes one recording, file by file."""

    def __init__(self, ring: Ring, channel: Channel, slot: Slot, message: Message) -> None:
        self.ring = ring
        self.channel = channel
        self.slot = slot
        self.message = message
        self.recording: int = message["recording"]
        self.log = EventReader(ring)
        self.start: Event | None = None
        self.header = b""
        self.ends: list[Event] = []  # MARKs and the END that were not reached yet, in order
        self.written = self.durable = slot.cursor  # the cursor is behind `durable` where the digest is
        self.policy = SyncPolicy(message["fsync_every"], message["bytes_per_s"], now_ns())
        self.told, self.told_ns = (0, 0), 0
        self.gone = False  # the file, for good: no descriptor and no name leads to it
        # a call on the destination failed, perhaps a predecessor's, and what it was to do is not done yet
        self.trouble: bool = message.get("trouble", False)
        self.failed_to = 0  # it is over when so much is durable: where a full disk took a part it is not
        self.unseen = False  # nor while the file cannot be looked at
        self.place: str | None = None  # what was last said of the directory, None: it is where it was
        self.looked_ns = now_ns()
        self.sink = Sink(message, slot)
        self.completion = Completion(self.sink)
        self.sink.on_renamed = self._tell_renamed
        self.sink.on_incident = self._tell_incident
        self.sink.on_loss = lambda loss: self._tell("sink_loss", loss=loss)
        self.turn = message.get("turn", True)  # older recordings to this directory are written
        self.again = message["op"] == "resume"  # a predecessor died
        self.resumed = self.again and message["checked"]  # after it had made the first file

    def look(self) -> bool:
        """Look at the destination and make the first part file; say how it went."""
        try:
            try:
                self.sink.open(again=self.again)
            except SinkFailed as e:
                if e.errno != errno.EEXIST or not self._begun():
                    raise
                self.sink.open(begun=True)
        except SinkFailed as e:
            self.channel.send(
                {"op": "dest_error", "recording": self.recording, "text": str(e), "errno": e.errno}
            )
            return False
        there = self.sink.directory
        found = {"path": self.sink.path, "free_bytes": there.free_bytes, "device": there.device}
        self.channel.send({"op": "dest_ok", "recording": self.recording, **found})
        self._tell_so_far()
        return True

    def _tell(self, op: str, **facts: Any) -> None:
        self.channel.send({"op": op, "recording": self.recording, **facts})

    def _tell_incident(self, text: str) -> None:
        """Say what others did to the file, and at once by what a successor knows it now."""
        self._tell("incident", index=self.sink.index, text=text)
        self.told_ns = 0
        self._tell_so_far()

    def _begun(self) -> bool:
        """Tell whether the source runs already: the destination took its time."""
        log = EventReader(self.ring).poll()
        return any(e.recording == self.recording and e.kind == events.START for e in log)

    def _tell_renamed(self) -> None:
        """Say that the present file gets another name, before it has it: a successor must find it."""
        sink = self.sink
        number = sink.names.number(sink.index)
        renamed = {"index": sink.index, "number": number, "path": sink.path, "wanted_path": sink.wanted_path}
        renamed["plain"] = sink.names.plain
        self.channel.send({"op": "renamed", "recording": self.recording, **renamed})

    # -- the stream --------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take new events of this recording. `framed` was loaded before."""
        for event in self.log.poll():
            if event.recording != self.recording:
                continue
            if event.kind == events.START:
                self.start = event
                self.sink.begin(event.position, event.at_ns)
                if not self.resumed:
                    self.written = self.durable = event.position
                if self.slot.cursor < event.position:  # granted where the recording before this one ended
                    self.slot.advance(event.position)
            elif event.kind == events.HEADER:
                self.header = event.payload  # before `framed` passes its begin
                self.sink.header_bytes = len(event.payload)
                self.sink.wraps_before, self.sink.swapped = words_before(event.payload)
            elif event.kind in (events.MARK, events.END):
                self.ends.append(event)

    def _wait(self) -> int:
        """Return up to where bytes may be written now: `framed`, or where a file ends."""
        behind = self.sink.digested is not None or self.sink.whereabouts.copying
        patience_s = DIGEST_S if behind else GATHER_S
        framed = self.slot.wait(self.written + GATHER_BYTES, self.log.offset, patience_s)
        self._look()
        self._commands()
        self._look_around()
        return min(framed, self.ends[0].position) if self.ends else framed

    def _commands(self) -> None:
        while (got := self.channel.poll()) is not None:
            self._order(got[0]["op"])

    def _order(self, op: str) -> None:
        """Give the recording up, if that is what the supervisor says."""
        if op == "turn":
            self.turn = True
        if op == "abandon":
            raise Abandoned
        if op == "discard":
            self.sink.discard()
            raise Discarded

    def run(self) -> None:
        """Write until the END and the last file's commit."""
        while self.start is None:
            self._wait()
        if self.resumed:
            self._skip_finished()
        self._await_turn()
        while True:
            upto = self._wait()
            while self.written < upto:
                self._write(min(upto - self.written, BLOCK_BYTES))
                self._sync_if_due(upto)
            if self.ends and self.written == self.ends[0].position:
                end = self.ends.pop(0)
                self._finish(end)
                if end.kind == events.END:
                    return
                first, given = end.data["first_word"], end.data.get("name")
                self._insist(self.sink.next_file, end.position, first, self.header, given)
                self._tell_so_far()
            else:
                self._sync_if_due(upto)
                self._copy_on()

    def _await_turn(self) -> None:
        while not self.turn:
            got = self.channel.receive(LOOK_NS * 1e-9)
            if got is not None:
                self._order(got[0]["op"])
            self._look_around()

    def _write(self, size: int) -> None:
        """Write one block; on an error say so, wait, and go back to what is durable."""
        try:
            self.written += self.sink.write(self.written, size)
        except SinkFailed as e:
            self._failed(e, self.written + 1)
            self._begin_anew_if_gone()

    def _sync_if_due(self, upto: int) -> None:
        backlog, ring = self.ring.framed - self.durable, self.ring
        if self.policy.due(self.written - self.durable, backlog, ring.capacity, ring.room, now_ns()):
            self._sync()
        self._advance()

    def _advance(self) -> None:
        """Move the cursor as far as bytes are durable and digested: the ring need not hold them any more."""
        if self.sink.whereabouts.copying and self.ring.framed - self.slot.cursor < self.ring.capacity // 2:
            return  # what is durable has no name: a successor would need the ring
        digested = self.sink.digested
        done = self.durable if digested is None else min(self.durable, digested)
        if done > self.slot.cursor:
            self.slot.advance(done)

    def _sync(self) -> bool:
        """Make what was written durable. Takes the position before the call."""
        reached, took_ns = self.written, None
        try:
            took_ns = self.sink.sync()
            intact = self.sink.intact_bytes(reached)
        except SinkFailed as e:
            self._failed(e, reached)
            self._begin_anew_if_gone()
            return False
        finally:
            self.policy.tried(now_ns(), took_ns)
        if intact is not None:
            self._mend(intact)
            return False
        self.durable = reached
        self._tell_so_far()
        self._tell_works()
        self._look_around()
        return True

    def _tell_works(self) -> None:
        """Say that the destination works again, once it does in all that had failed."""
        if self.trouble and not self.unseen and self.durable >= self.failed_to:
            self.trouble = False
            self._tell("sink_ok")

    def _mend(self, intact: int) -> None:
        """Go on from what the file still holds, and the ring."""
        self.written = self.durable = self._insist(mend, self.sink, intact, self.header)
        self._tell_so_far()

    def _copy_on(self) -> None:
        """Copy another slice of a file that has lost its name, while the ring is all but empty."""
        if self.sink.whereabouts.copying and self.ring.framed - self.written < self.ring.capacity // 8:
            try:
                self.sink.whereabouts.copy_on(self.sink.offset(self.written))
            except SinkFailed as e:
                self._failed(e)

    def _tell_so_far(self) -> None:
        """Let the supervisor know what was measured: should this process die, the next one goes on with it."""
        told = (self.sink.index, len(self.sink.calls.stalls))
        if told != self.told or now_ns() - self.told_ns >= TELL_NS:
            # only new ones: a slow disk's day has 100,000 stalls
            since = self.told[1] if self.told[0] == self.sink.index else 0
            self.told, self.told_ns = told, now_ns()
            so_far = {**self.sink.calls.so_far(self.sink.index, since), **self.sink.known()}
            self.channel.send({"op": "so_far", "recording": self.recording, "so_far": so_far})

    def _look_around(self) -> None:
        """Look where file and directory are, once a second at most; say so when they are not where they were."""
        if now_ns() - self.looked_ns < LOOK_NS:
            return
        self._look_at_place()
        self.looked_ns = now_ns()
        there, place = self.sink.directory, None
        lost = self.sink.path_is_lost()
        if there.path != there.wanted:
            place = f"{there.wanted} was moved to {there.path}: writing goes on there"
        if lost:
            place = f"{there.wanted} was unmounted, or something is mounted over it; writing goes on, to what was there"
        if place != self.place:
            self.place = place
            self._tell("place", text=place)

    def _look_at_place(self) -> None:
        """Look where file and directory are; that this fails keeps nobody from writing."""
        try:
            with self.sink.calls.timed(self.slot):
                self.sink.whereabouts.look()
        except SinkFailed as e:
            self._tell_failed(e)
            self.trouble = self.unseen = True
        else:
            self.unseen = False
            self._tell_works()

    def _failed(self, e: SinkFailed, to: int = 0) -> None:
        """Report an error of the destination, wait a little, and write everything since the last good fsync again.

        ``to``: once the destination has so much, it works again.
        """
        self._tell_failed(e)
        self.failed_to = max(self.failed_to, to)
        self.written = self.durable
        self.sink.edges.go_back()
        self.sink.whereabouts.go_back(self.sink.offset(self.durable))
        self.trouble = True
        got = self.channel.receive(RETRY_S)
        if got is not None:
            self._order(got[0]["op"])
        self.gone = self.sink.reopen_if_stale(e.errno)

    def _begin_anew_if_gone(self) -> None:
        """Write what the ring still holds into another file, where nothing leads to this one any more."""
        if self.gone:
            self.gone = False
            self._insist(self.sink.create_anew)
            self._mend(0)

    def _tell_failed(self, e: SinkFailed, *, fatal: bool = False) -> None:
        failed = {"text": str(e), "errno": e.errno, "index": self.sink.index, "fatal": fatal}
        self._tell("sink_error", **failed, seen=self.sink.whereabouts.seen)

    def _insist(self, call: Callable[..., T], *args: Any) -> T:
        """Call until the destination lets it succeed."""
        while True:
            try:
                return call(*args)
            except SinkFailed as e:
                self._failed(e)

    # -- the end of a file ---------------------------------------------------------------------------

    def _finish(self, end: Event) -> None:
        """Make the file durable, get its report, give it its name; start over if the file is gone by then."""
        while not self._finished(end):
            self._begin_anew_if_gone()

    def _finished(self, end: Event) -> bool:
        self._make_durable(end.position)
        try:
            self._settle(end.position)
            measured = self.completion.measured(end.position, len(self.header))
        except SinkFailed as e:
            self._failed(e)
            return False
        self._advance()
        last = end.kind == events.END
        self.channel.send({"op": "segment", "recording": self.recording, "last": last, **measured})
        while True:
            got = self.channel.receive(LOOK_NS * 1e-9)
            if got is not None and got[0]["op"] == "commit":
                break
            if got is not None:
                self._order(got[0]["op"])
        return self._commit(got[0], end.position)

    def _make_durable(self, end: int) -> None:
        while True:
            while self.written < end:
                self._write(min(end - self.written, BLOCK_BYTES))
            if (self.durable >= end and not self.sink.dirty) or self._sync():
                return

    def _settle(self, end: int) -> None:
        """See to it that the file has its name, and that a copy of it is whole."""
        while not self.sink.whereabouts.is_named():
            self.sink.whereabouts.look()
            if not self.sink.whereabouts.copying:
                return
            self.sink.whereabouts.copy_on(self.sink.offset(end))

    def _commit(self, message: Message, end: int) -> bool:
        """Give the file its name; False if it is gone."""
        while not self.gone:
            try:
                self._settle(end)
                with self.sink.calls.timed(self.slot):
                    place = self.completion.commit(message["report"], self.header, arrived=message["arrived"])
            except SinkFailed as e:
                self._failed_commit(e)
                continue
            self._committed(place, message["index"])
            return True
        return False

    def _committed(self, place: dict[str, Any], index: int) -> None:
        file = {"index": index, **self.sink.finished}
        self._tell("committed", index=index, file=file, place=place)

    def _failed_commit(self, e: SinkFailed) -> None:
        fatal = e.errno == errno.EEXIST
        self._tell_failed(e, fatal=fatal)
        got = self.channel.receive(None if fatal else RETRY_S)
        if got is not None:
            self._order(got[0]["op"])
        self.gone = self.sink.reopen_if_stale(e.errno)

    def _skip_finished(self) -> None:
        """After a predecessor's death: begin with the file that the cursor stands in, or that still has no name."""
        self._insist(self.sink.open_again, self.message["device"])
        self.slot.wait(0, self.log.offset, 0.0)
        self._look()
        position, first_word, given = self.start.position if self.start else 0, 0, None
        while self.ends and self.ends[0].kind == events.MARK:
            if self.slot.cursor < self.ends[0].position:
                break
            if self._insist(self.sink.unfinished, first_word, given):
                break
            self.completion.find_finished()
            self._committed(
                self.completion.place(), self.sink.index
            )  # the dead one may not have come to say so
            mark = self.ends.pop(0)
            position, first_word, given = mark.position, mark.data["first_word"], mark.data.get("name")
            self.sink.step()
        self._insist(self.sink.continue_file, position, first_word, self.header, given)
        self.written = self.durable = self.slot.cursor
        there = self._insist(self.sink.present_bytes)
        if there < self.sink.offset(self.durable):
            self._mend(there)
