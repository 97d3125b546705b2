"""The event log: what is committed is read once and in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap.errors import RingError
from fastcap.events import END, GAP, HEADER, MARK, START, Event, EventReader, encode

largest = st.integers(0, 255).map(lambda byte: bytes([byte]) * 8 * 65_536)  # a header can have
payloads = st.one_of(st.binary(max_size=70), largest)
words = st.integers(0, 2**64 - 1)
logged = st.builds(Event, st.sampled_from([START, HEADER, GAP, MARK, END]), words, words, words, payloads)


class Log:
    """An event file and its committed length, as a ring has them."""

    def __init__(self, path: Path) -> None:
        self.events_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.events = 0
        self.written = self.events_from = 0

    def write(self, event: Event) -> None:
        self.written += os.pwrite(self.events_fd, encode(event), self.written)

    def commit(self) -> None:
        self.events = self.written


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "events")
    yield log
    os.close(log.events_fd)


def event(position: int, payload: bytes = b"{}") -> Event:
    return Event(MARK, position, 1, 5, payload)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(logged, st.booleans()), max_size=12))
def test_events_come_out_as_they_went_in_and_only_once(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[Event, bool]]
) -> None:
    log = Log(tmp_path_factory.getbasetemp() / "events")
    reader = EventReader(log)
    want: list[Event] = []
    for written, commit in plan:
        log.write(written)
        want.append(written)
        if commit:
            log.commit()
            assert list(reader.poll()) == want
            want.clear()
    assert list(reader.poll()) == [], "what is not committed is not there"
    log.commit()
    assert list(reader.poll()) == want
    assert reader.offset == log.events
    os.close(log.events_fd)


def test_reader_can_begin_in_the_middle(log: Log) -> None:
    log.write(event(1, b'{"first_word":1}'))
    log.commit()
    before = EventReader(log)
    assert [e.position for e in before.poll()] == [1]
    log.write(event(2))
    log.commit()

    assert [e.position for e in EventReader(log, before.offset).poll()] == [2]


def test_poll_may_be_given_up_half_way(log: Log) -> None:
    for position in range(5):
        log.write(event(position))
    log.commit()
    reader = EventReader(log)
    assert next(iter(reader.poll())).position == 0
    assert [e.position for e in reader.poll()] == [1, 2, 3, 4]


@pytest.mark.parametrize("kept", [0, 20])
@pytest.mark.parametrize("zeros", [False, True], ids=["short", "zeros"])
def test_log_that_somebody_truncated_is_an_error(log: Log, kept: int, zeros: bool) -> None:
    log.write(event(0, b"{}"))
    begin, _ = log.written, log.write(event(8))
    log.commit()
    os.ftruncate(log.events_fd, begin + kept * (not zeros))
    if zeros:
        os.ftruncate(log.events_fd, log.events)
    reader = EventReader(log).poll()

    assert next(reader).position == 0
    with pytest.raises(RingError, match=f"truncated by another program: nothing at {begin}"):
        next(reader)


def test_records_are_whole_words_long() -> None:
    for n in range(20):
        assert len(encode(event(0, bytes(n)))) % 8 == 0


def test_payload_is_json_but_for_the_header() -> None:
    assert event(0, b'{"words": 3}').data == {"words": 3}
    assert event(0, b"").data == {}


def test_reader_that_was_overtaken_goes_on_where_the_log_begins(log: Log) -> None:
    for position in range(3):
        log.write(event(position))
    log.commit()
    reader = EventReader(log)
    seen = reader.poll()
    assert next(seen).position == 0

    second = reader.offset
    log.events_from = second + (second - 0)
    os.pwrite(log.events_fd, bytes(log.events_from), 0)  # as a hole reads

    assert [e.position for e in seen] == [2]
    assert reader.overtaken
    late = EventReader(log)
    assert [e.position for e in late.poll()] == [2]
    assert not late.overtaken
