"""The event log beside the ring: what happened, at which position.

Flow: the splitter appends records to the ``events`` file, then moves the ring's `events` word, then
`framed`. A reader loads `framed`, then `events`, then reads the file up to there. Records are never
changed. END and a last GAP stand *at* `framed`: look again when idle. The log of recordings that are over is
given up: it begins at the ring's `events_from`.

Record: ``<IIQQQ`` kind, payload bytes, position, recording, CLOCK_MONOTONIC ns; then the payload, padded to
8 bytes: raw bytes for HEADER, JSON otherwise.
"""

from __future__ import annotations

import os
import struct

from fastcap.errors import RingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    class _Ring(Protocol):
        @property
        def events(self) -> int: ...
        @property
        def events_from(self) -> int: ...
        @property
        def events_fd(self) -> int: ...


START, HEADER, GAP, MARK, END, SLIP = 1, 2, 3, 4, 5, 6
NAMES = {START: "START", HEADER: "HEADER", GAP: "GAP", MARK: "MARK", END: "END", SLIP: "SLIP"}
_HEAD = struct.Struct("<IIQQQ")


class Event:
    """One record of the log.

    Attributes
    ----------
    kind : int
        START (a recording begins), HEADER (its raw header, once that is
        whole; empty: there is none; words begin behind it), GAP (words dropped before this
        position), MARK (a new file begins here), END (no more of this recording), SLIP (bytes are missing somewhere
        below this position: where, says its data).
    position : int
        Ring position, bytes.
    recording : int
        The recording's number in its session, from 1.
    at_ns : int
        CLOCK_MONOTONIC when it was written.
    payload : bytes
        See `data`.
    """

    __slots__ = ("at_ns", "kind", "payload", "position", "recording")

    def __init__(self, kind: int, position: int, recording: int, at_ns: int, payload: bytes) -> None:
        self.kind = kind
        self.position = position
        self.recording = recording
        self.at_ns = at_ns
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    def __repr__(self) -> str:
        return f"Event({self.kind}, {self.position}, {self.recording}, {self.at_ns}, {self.payload!r})"

    @property
    def data(self) -> dict[str, Any]:
        """The JSON payload of every kind but HEADER."""
        import json

        result: dict[str, Any] = json.loads(self.payload or b"{}")
        return result


def encode(event: Event) -> bytes:
    """Return the record's bytes."""
    body = event.payload + bytes(-len(event.payload) % 8)
    return _HEAD.pack(event.kind, len(event.payload), event.position, event.recording, event.at_ns) + body


class EventReader:
    """Read a ring's events in order, each once.

    Parameters
    ----------
    ring : Ring
        Mapped in this process.
    offset : int, optional
        Where in the log to begin; `offset` tells how far it has come. Default: where the log begins.

    Attributes
    ----------
    overtaken : bool
        Events that it had not come to were given up; all are of recordings that are over.
    """

    def __init__(self, ring: _Ring, offset: int | None = None) -> None:
        self._ring = ring
        self.offset = ring.events_from if offset is None else offset
        self.overtaken = False

    def poll(self) -> Iterator[Event]:
        """Yield the events committed since the last call. Load `framed` before calling this."""
        committed = self._ring.events
        while self.offset < committed:
            head = os.pread(self._ring.events_fd, _HEAD.size, self.offset)
            if self._given_up():
                continue
            if not any(head) or len(head) < _HEAD.size:
                raise RingError(
                    f"the ring's event log was truncated by another program: nothing at {self.offset}"
                )
            kind, size, position, recording, at_ns = _HEAD.unpack(head)
            payload = os.pread(self._ring.events_fd, size, self.offset + _HEAD.size)
            if self._given_up():
                continue
            self.offset += _HEAD.size + size + -size % 8
            yield Event(kind, position, recording, at_ns, payload)

    def _given_up(self) -> bool:
        """Go on where the log begins, if what was just read lay before that."""
        begins = self._ring.events_from
        if self.offset >= begins:
            return False
        self.offset, self.overtaken = begins, True
        return True
