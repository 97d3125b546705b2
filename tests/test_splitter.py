"""The splitter's answers: header, gaps, new files, cut and end, also after its own death."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness import Engine, announcement, counter, gaps_of
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap import events
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES, Ring
from fastcap.events import END, GAP, HEADER, MARK, START

C = MIN_RING_BYTES
TEXT = b"# command line: teststream -U /dev/usbhybrid0 -s 4 -l -b -v 3\n"
RAW = (0x123456ABCDEF << 16 | 9).to_bytes(8, "little") + TEXT.ljust(64, b"\0")


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def kinds(seen: list[events.Event]) -> list[tuple[str, int]]:
    return [(events.NAMES[e.kind], e.position) for e in seen]


# -- header ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(RAW) - 1), unique=True, max_size=5).map(sorted))
def test_header_is_found_however_it_is_torn(cuts: list[int]) -> None:
    engine = Engine()
    start = engine.begin(header="yes")
    stream = RAW + counter(0, 100)
    for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        engine.feed(stream[low:high])
        engine.split()
        assert engine.ring.framed == start + high // 8 * 8, "what has arrived may be read, header or not"

    header = next(e for e in engine.events() if e.kind == HEADER)
    assert (header.position, header.payload) == (start, RAW)
    said = next(m for m in engine.told() if m["op"] == "header")
    assert (said["header_bytes"], said["header_error"], said["rate"]) == (len(RAW), None, [2_000_000, 1])
    engine.close()


def test_stream_without_a_header_has_an_empty_one(engine: Engine) -> None:
    engine.begin(header="no")
    engine.feed(counter(0, 5))
    engine.end()
    assert kinds(engine.events()) == [("START", 0), ("HEADER", 0), ("END", 40)]


def test_header_s_memory_is_kept_until_it_is_whole(engine: Engine) -> None:
    engine.begin(header="yes")
    engine.feed(RAW[:16])
    engine.split()
    rest = (C - 40 - len(RAW)) // 8
    engine.feed(RAW[16:] + counter(0, rest))
    engine.splitter.loop.run(0)  # frames and frees, and has not looked at the header yet
    engine.feed(counter(rest, 14))
    engine.split()

    assert next(e.payload for e in engine.events() if e.kind == HEADER) == RAW


def test_stream_that_ends_in_its_header_says_so(engine: Engine) -> None:
    engine.begin(header="yes")
    engine.feed(RAW[:30])
    engine.end()

    assert kinds(engine.events()) == [("START", 0), ("HEADER", 0), ("END", 30)]
    said = next(m for m in engine.told() if m["op"] == "header")
    assert "torn" in said["header_error"]


# -- length and files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [8, 24, 1000, 8000])
def test_recording_is_cut_at_the_exact_word(engine: Engine, piece: int) -> None:
    engine.begin(max_words=700)
    data = counter(0, 1000)
    for at in range(0, len(data), piece):
        engine.feed(data[at : at + piece])
        engine.split()

    ended = next(m for m in engine.told() if m["op"] == "ended")
    assert (ended["why"], ended["bytes"], ended["words_lost"]) == ("cut", 5600, 0)
    assert engine.ring.framed == 5600
    assert engine.ring.ended_recording == 1


def test_drop_that_stands_at_the_cut_ends_the_recording(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(max_words=C // 8)
    engine.feed(counter(0, C // 8 + 1000))
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(counter(C // 8 + 1000, 1000))
    engine.split()

    assert kinds(engine.events())[-1] == ("END", C)
    ended = next(m for m in engine.told() if m["op"] == "ended")
    assert (ended["why"], ended["words"], ended["words_lost"]) == ("cut", C // 8, 0)


def test_drop_at_the_cut_that_is_seen_only_after_the_reader_s_end_ends_it_too(engine: Engine) -> None:
    engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(max_words=C // 8)
    engine.feed(counter(0, C // 8 + 1000))
    engine.end()

    assert kinds(engine.events())[1:] == [("HEADER", 0), ("END", C)]
    assert [m["why"] for m in engine.told() if m["op"] == "ended"] == ["cut"]


class Meanwhile:
    """A ring on which something happens after an entry of the drop log was read."""

    def __init__(self, ring: Ring, then: Callable[[], None]) -> None:
        self._ring, self._then = ring, then

    def drop(self, n: int) -> tuple[int, int, int, int]:
        entry = self._ring.drop(n)
        self._then()
        return entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)


def test_drop_that_closes_while_it_is_looked_at_is_counted_whole(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, C // 8 + 1000))
    engine.split()

    def close_it() -> None:
        engine.splitter.ring = engine.ring
        engine.feed(counter(C // 8 + 1000, 500))  # dropped, too
        writer.advance(C // 2)
        engine.splitter.loop.run(0)
        engine.feed(counter(C // 8 + 1500, 100))

    engine.splitter.ring = Meanwhile(engine.ring, close_it)  # type: ignore[assignment]
    engine.splitter.on_drops()
    engine.split()
    engine.end()

    assert gaps_of(engine.events()) == [(C, C // 8, 1500)]


def test_room_that_came_before_another_byte_makes_no_gap(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, C // 8))
    engine.feed(b"")
    assert engine.ring.reader_state()["dropping"]
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(counter(C // 8, 100))
    engine.split()
    engine.end()

    assert [e.kind for e in engine.events()] == [START, HEADER, END]
    assert engine.ring.reader_state()["drops"] == 1


def test_gap_over_the_cut_loses_only_what_was_wanted(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(max_words=C // 8 + 10)
    engine.feed(counter(0, C // 8 + 1000))
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(counter(C // 8 + 1000, 1000))
    engine.split()

    assert gaps_of(engine.events()) == [(C, C // 8, 10)]
    ended = next(m for m in engine.told() if m["op"] == "ended")
    assert (ended["why"], ended["bytes"], ended["words_lost"]) == ("cut", C, 10)


def test_file_s_border_before_a_gap_comes_before_it_however_late_both_are_seen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event log is full while the border, a drop and the end come."""
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    border = C // 16 + 100  # words; the next one is among those that are dropped
    engine.begin(rate=[border, 1], split_seconds=[1, 1])
    with monkeypatch.context() as full:
        full.setattr(engine.splitter.log, "has_room", lambda *_: False)
        engine.feed(counter(0, C // 8 + 1000))
        engine.split()
        assert engine.ring.framed == 8 * border
        writer.advance(8 * border)
        engine.split()
        engine.feed(counter(C // 8 + 1000, 500))
        engine.reader.end()
    engine.split()

    seen = engine.events()
    assert [(e.kind, e.position) for e in seen[2:]] == [
        (MARK, 8 * border),
        (GAP, C),
        (MARK, C),
        (END, C + 4000),
    ]
    assert gaps_of(seen) == [(C, C // 8, 1000)]


def test_words_dropped_behind_the_cut_are_not_the_next_recording_s(engine: Engine) -> None:
    engine.claim(LOSSLESS | ESSENTIAL).leave()
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(max_words=100)
    engine.feed(counter(0, C // 8 + 1000))
    engine.end()
    engine.events()
    writer.advance(engine.ring.framed)
    engine.begin(2)
    engine.feed(counter(0, 100))
    engine.end()

    seen = [e for e in engine.events() if e.recording == 2]
    assert gaps_of(seen) == []
    assert (seen[-1].kind, seen[-1].data["bytes"]) == (END, 800)


@pytest.mark.parametrize("words", [2999, 3000, 3001])
def test_no_file_begins_where_the_stream_ends(engine: Engine, words: int) -> None:
    engine.begin(rate=[1000, 1], split_seconds=[1, 1])
    engine.feed(counter(0, words))
    engine.split()
    engine.end()

    marks = [e for e in engine.events() if e.kind == MARK]
    assert [m.data["first_word"] for m in marks] == [n for n in (1000, 2000, 3000) if n < words]
    assert [m.position for m in marks] == [8 * m.data["first_word"] for m in marks]


# -- the splitter's own death ----------------------------------------------------------------------------


def test_successor_repeats_no_event(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(rate=[1000, 1], split_seconds=[100, 1], header="auto")
    engine.feed(RAW + counter(0, C // 8))
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(counter(C // 8, 20_000))
    engine.split()

    engine.new_splitter()
    engine.announce(**{k: v for k, v in engine.message.items() if k not in ("op", "recording")})
    engine.feed(counter(C // 8 + 20_000, 1000))
    engine.split()
    engine.end()

    seen = engine.events()
    assert [e.kind for e in seen] == [START, HEADER, MARK, GAP, END]
    end = seen[-1].data
    assert end["bytes"] + 8 * end["words_lost"] == len(RAW) + 8 * (C // 8 + 21_000)


def test_successor_of_one_that_died_between_end_and_its_publication_writes_no_second(engine: Engine) -> None:
    engine.begin()
    engine.feed(counter(0, 10))
    engine.split()
    now = engine.splitter.now
    assert now is not None
    engine.splitter.emit(
        END, 80, {**now.summary(80), "why": "end"}, ended=0
    )  # `ended_recording` not stored yet
    engine.reader.end()

    engine.new_splitter()
    engine.told()
    engine.announce()
    engine.split()

    assert [e.kind for e in engine.events()] == [START, HEADER, END]
    assert engine.ring.ended_recording == 1
    assert [m["op"] for m in engine.told()] == ["ended"]


class AtOnce:
    """A supervisor who announces recording 2 when 1 has ended, and whose reader has begun it by the answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._channel, self._announced = engine, engine.splitter.channel, False

    def poll(self) -> Any:
        if self._announced or self._engine.splitter.now is not None:
            return self._channel.poll()
        self._announced = True
        return announcement(2, header="no"), ()

    def send(self, message: dict[str, Any]) -> None:
        self._channel.send(message)
        if message["op"] == "announced":
            self._engine.reader.begin(-1, 2, word_bytes=8, can_wait=False, gather_s=0)

    def flush(self) -> None:
        self._channel.flush()


def test_recording_that_begins_while_the_last_one_s_end_is_seen_to_is_not_ended_with_it(
    engine: Engine,
) -> None:
    engine.begin(header="no")
    engine.feed(counter(0, 10))
    engine.split()
    engine.splitter.channel = AtOnce(engine)  # type: ignore[assignment]
    engine.end()
    engine.message, engine.taken = announcement(2, header="no"), 0
    engine.feed(counter(0, 5))
    engine.end()

    assert [(e.recording, e.data["words"]) for e in engine.events() if e.kind == END] == [(1, 10), (2, 5)]


def test_successor_of_one_that_died_between_a_gap_and_its_entry_makes_no_second(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, C // 8 + 1000))
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(counter(C // 8 + 1000, 100))
    now = engine.splitter.now
    assert now is not None
    engine.splitter.emit(GAP, C, {**now.take_gap(C, 8000), "drop": 0, "dropped_ns": 1})

    engine.new_splitter()
    engine.announce()
    engine.split()
    engine.end()

    seen = engine.events()
    assert gaps_of(seen) == [(C, C // 8, 1000)]
    assert (seen[-1].kind, seen[-1].data["words_lost"]) == (END, 1000)


def test_successor_tells_again_how_a_recording_ended(engine: Engine) -> None:
    engine.begin()
    engine.feed(counter(0, 10))
    engine.end()
    first = engine.told()[-1]

    engine.new_splitter()
    engine.announce()

    again = engine.told()
    assert [m["op"] for m in again] == ["ended"]
    assert {k: again[0][k] for k in ("bytes", "words", "words_lost", "why")} == {
        k: first[k] for k in ("bytes", "words", "words_lost", "why")
    }


def test_slot_of_a_dead_consumer_is_freed_when_told(engine: Engine) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.supervisor.send({"op": "free_slot", "slot": slot.index})
    engine.split()
    assert engine.ring.slot_state(slot.index)["state"] == "FREE"


# -- the board's clock -------------------------------------------------------------------------------------


def test_board_s_clock_is_told_of_words_that_were_dropped_too(engine: Engine) -> None:
    """At a word a second whatever comes later is less late: the last sample is the last word's."""
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(rate=[1, 1])
    engine.feed(counter(0, C // 8 + 1000))
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(counter(C // 8 + 1000, 500))
    engine.split()
    engine.end()

    (gap,) = gaps_of(engine.events())
    assert gap[2] == 1000
    assert [m["words"] for m in engine.told() if m["op"] == "clock"][-1] == C // 8 + 1500


def test_sample_of_the_board_s_clock_is_taken_once(engine: Engine) -> None:
    engine.begin(rate=[1, 1])
    engine.feed(counter(0, 1000))
    engine.split()
    assert engine.splitter.loop.take_sample() is None, "one was sent"
    engine.feed(counter(1000, 500))
    engine.split()

    assert engine.splitter.loop.take_sample()[1] == 8 * 1500
    assert engine.splitter.loop.take_sample() is None


def test_sample_of_the_board_s_clock_is_the_one_that_was_least_late(engine: Engine) -> None:
    """At a thousand million words a second whatever comes later is later."""
    engine.begin(rate=[10**9, 1])
    engine.feed(counter(0, 1000))
    engine.split()
    for first in (1000, 1500, 2000):
        engine.feed(counter(first, 500))
        engine.splitter.loop.run(0)

    assert engine.splitter.loop.take_sample()[1] == 8 * 1500


def test_successor_tells_again_how_the_very_recording_ended(engine: Engine) -> None:
    for recording, words in ((1, 10), (2, 20)):
        engine.begin(recording)
        engine.feed(counter(0, words))
        engine.end()
    engine.told()
    engine.new_splitter()

    for recording, words in ((1, 10), (2, 20)):
        engine.announce(recording)
        assert [(m["recording"], m["words"]) for m in engine.told()] == [(recording, words)]


def test_slot_is_granted_where_consumers_may_read(engine: Engine) -> None:
    engine.begin(header="yes")
    engine.feed(RAW + counter(0, 3) + b"odd")
    engine.split()
    slot = engine.claim(LOSSLESS)
    assert slot.cursor == engine.ring.framed == len(RAW) + 24


def test_recording_ends_while_its_last_word_is_among_those_that_are_dropped(engine: Engine) -> None:
    """Nobody makes room: the entry stays open, and is looked at whenever nothing else happens."""
    engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(max_words=C // 8 + 100)
    engine.feed(counter(0, C // 8 + 99))
    engine.split()
    assert [e.kind for e in engine.events()] == [START, HEADER]

    engine.feed(counter(C // 8 + 99, 1))
    engine.split()

    gap, end = engine.events()
    assert (gap.data["words"], end.data["words_lost"], end.data["why"]) == (100, 100, "cut")


def test_peaks_are_the_most_bytes_that_were_held(engine: Engine) -> None:
    writer, lossy = engine.claim(LOSSLESS | ESSENTIAL), engine.claim(0)
    engine.begin()
    for words, done in ((100, 80), (1000, 8800), (50, 8848)):
        engine.feed(counter(0, words))
        engine.split()
        writer.advance(done)
        engine.split()

    assert engine.ring.high_water == engine.ring.slot_state(writer.index)["high_water"] == 8720
    assert engine.ring.slot_state(lossy.index)["high_water"] == 8 * 1150
