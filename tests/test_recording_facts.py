"""What the report says of a recording is what was measured; the rest is null."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastcap.workers.recording import Recording


def recording(bytes_read: int | None) -> Recording:
    """Return a recording of 1,000 bytes kept, with a reader's count or without."""
    ring: Any = SimpleNamespace(capacity=1 << 20)
    r = Recording({"recording": 1, "word_bytes": 8, "source": {"kind": "command"}}, ring, 0)
    r.ended = {"bytes": 1000, "words_lost": 0, "odd_lost": 0}
    r.end_state = {"start": 4096, "end": 5096, "dropped_bytes": 0}
    r.bytes_read = bytes_read
    return r


def test_bytes_in_flight_are_what_was_read_and_did_not_arrive():
    told = recording(1024).accounting()

    assert told is not None
    assert told["in_flight_bytes"] == 24


def test_bytes_in_flight_are_null_where_nobody_counted_what_was_read():
    told = recording(None).accounting()

    assert told is not None
    assert told["bytes_read"] is None
    assert told["in_flight_bytes"] is None
