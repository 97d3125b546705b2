"""What the report says of a recording is what was measured; the rest is null."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from fastcap.events import GAP, Event
from fastcap.workers.recording import Recording


def recording(bytes_read: int | None) -> Recording:
    """Return a recording of 1,000 bytes kept, with a reader's count or without."""
    ring: Any = SimpleNamespace(capacity=1 << 20)
    r = Recording({"recording": 1, "word_bytes": 8, "source": {"kind": "command"}}, ring)
    r.ended = {"bytes": 1000, "words_lost": 0, "odd_lost": 0, "why": "end"}
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


def gap(words: int, odd_bytes: int) -> Event:
    data = {"after_word": 0, "words": words, "odd_bytes": odd_bytes, "drop": 0, "dropped_ns": 0}
    return Event(GAP, 4096, 1, 0, json.dumps(data).encode())


def test_odd_bytes_that_were_dropped_last_are_lost_and_nothing_is_discarded():
    r = recording(1027)
    r.gaps = [gap(3, 3)]
    r.ended = {"bytes": 1000, "words_lost": 3, "odd_lost": 3, "why": "end"}
    r.end_state = {"start": 4096, "end": 5096, "dropped_bytes": 27}

    assert r.accounting() == {
        "bytes_read": 1027,
        "kept_bytes": 1000,
        "lost_bytes": 27,
        "discarded_after_cut_bytes": 0,
        "in_flight_bytes": 0,
    }


@pytest.mark.parametrize(("stored", "dropped"), [(0, 0), (5, 0), (0, 11), (800, 1600)])
def test_behind_the_cut_what_was_stored_and_what_was_dropped_is_discarded(stored: int, dropped: int):
    before = 3 * 8
    r = recording(1000 + stored + before + dropped)
    r.gaps = [gap(3, 0)]
    r.ended = {"bytes": 1000, "words_lost": 3, "odd_lost": 0, "why": "cut"}
    r.end_state = {"start": 4096, "end": 5096 + stored, "dropped_bytes": before + dropped}

    told = r.accounting()

    assert told is not None
    assert (told["lost_bytes"], told["discarded_after_cut_bytes"]) == (before, stored + dropped)


def test_what_no_gap_tells_of_is_not_called_discarded():
    r = recording(1024)
    r.end_state = {"start": 4096, "end": 5096, "dropped_bytes": 24}

    told = r.accounting()

    assert told is not None
    assert (told["lost_bytes"], told["discarded_after_cut_bytes"]) == (0, 0), "the law is seen to be broken"


def test_writer_s_stalls_are_told_from_one_on_and_each_counts_once():
    r = recording(1000)
    told = {"index": 0, "since": 0, "stalls": ["a", "b"]}
    for so_far in (told, {**told, "since": 1, "stalls": ["B", "c"]}, {**told, "since": 3, "stalls": []}):
        r.take_so_far(so_far)
    assert r.sink_so_far is not None
    assert r.sink_so_far["stalls"] == ["a", "B", "c"]

    r.take_so_far({"index": 1, "since": 0, "stalls": ["d"]})
    assert r.sink_so_far["stalls"] == ["d"], "those of the file before are told with it"


def test_destination_that_works_again_is_no_trouble_and_its_next_error_is_news():
    r = recording(1000)
    assert r.sink_fails("full", 0)
    assert not r.sink_fails("full", 0)
    assert r.sink_fails("gone", 0)
    assert r.sink_trouble == "gone"
    assert r.errors_of(0)[0]["text"] == "full", "one entry, of how it began"

    assert r.sink_works() is not None
    assert r.sink_trouble is None
    assert r.sink_works() is None
    assert r.sink_fails("full", 1)
    assert [len(r.errors_of(index)) for index in (0, 1)] == [1, 1]
