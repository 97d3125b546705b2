"""Framing against brute force: every byte of the source is looked at, one word at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from harness import announcement
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap.events import GAP, HEADER, MARK, Event
from fastcap.workers.framing import FOREVER, Framing
from fastcap.workers.marks import Windows

START = 3 * 4096
HEADER_TEXT = (
    b"# command line: teststream -U /dev/usbhybrid0 -s 4 -l -b -v 3\n"
    b"# recording start: 2023-11-23 17:03:08 +0800\n"
)


def header_of(words: int) -> bytes:
    """Return a raw header with ``words`` words of text, the last of which ends in NUL."""
    magic = (0x123456ABCDEF << 16 | words + 1).to_bytes(8, "little")
    return magic + HEADER_TEXT[: 8 * words - 1].ljust(8 * words, b"\0")


class Kept(NamedTuple):
    """A word that is in the ring: where, and which of the source's it is."""

    position: int
    source_word: int


class Brute:
    """A recording, word by word.

    Attributes
    ----------
    kept : list of Kept
        Data words in the ring, up to the cut.
    gaps : list of (position, bytes)
        What the reader dropped, as its log tells.
    end : int
        Where the recording ends.
    marks : list of Kept
        Where new files begin.
    """

    def __init__(
        self, header_bytes: int, pieces: list[tuple[int, int]], max_words: int | None, split: int | None
    ) -> None:
        position = START + header_bytes
        self.kept: list[Kept] = []
        self.gaps: list[tuple[int, int]] = []
        self.lost: list[int] = []
        self.marks: list[Kept] = []
        source, file = 0, 0
        over = max_words == 0
        for stored, dropped in pieces:
            for _ in range(stored):
                if over:
                    break
                if split is not None and source // split > file:
                    file = source // split
                    self.marks.append(Kept(position, source))
                self.kept.append(Kept(position, source))
                position, source = position + 8, source + 1
                over = source == max_words
            if over:
                break
            self.gaps.append((position, dropped * 8))
            lost = dropped if max_words is None else min(dropped, max_words - source)
            self.lost.append(lost)
            source += lost
            over = source == max_words
        self.end = position
        self.source_words = source
        self.over = over


def framing(header: str = "no", **given: Any) -> Framing:
    return Framing(announcement(header=header, **given), START)


# dropped words are at least one: entries without bytes are no gaps; the last piece's loss stands at the end
pieces = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 30),
    pieces,
    st.one_of(st.none(), st.integers(1, 90)),
    st.one_of(st.none(), st.integers(1, 20)),
)
def test_words_cuts_marks_and_losses_agree_with_brute_force(
    text_words: int, pieces: list[tuple[int, int]], max_words: int | None, split: int | None
) -> None:
    raw = header_of(text_words)
    want = Brute(len(raw), pieces, max_words, split)
    now = framing("yes", max_words=max_words, rate=[1, 1], split_seconds=[split, 1] if split else None)
    assert now.look_for_header(raw, final=False)

    marks, gaps = [], list(zip(want.gaps, want.lost, strict=True))
    for position in range(now.data_start, want.end + 8, 8):
        while gaps and gaps[0][0][0] == position:
            (_, dropped), lost = gaps.pop(0)
            after = now.source_word(position)
            taken = now.take_gap(position, dropped)
            assert taken == {"after_word": after, "words": lost, "odd_bytes": 0}
        if position == want.end:
            break
        if now.mark_due(position):
            assert position >= now.limit
            marks.append(Kept(position, now.take_mark(position)["first_word"]))
        assert position < now.cut
        kept = want.kept[(position - now.data_start) // 8]
        assert (position, now.source_word(position)) == kept
        assert position < now.limit, "nothing is to be decided inside a file"

    assert marks == want.marks
    assert now.lost_words == sum(want.lost)
    if want.over:
        assert now.cut == want.end
    assert len(want.kept) + now.lost_words == want.source_words
    assert now.summary(want.end) == {
        "bytes": want.end - START,
        "header_bytes": len(raw),
        "words": len(want.kept),
        "odd_bytes": 0,
        "words_lost": sum(want.lost),
        "odd_lost": 0,
    }


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 65534), st.integers(0, 40), st.data())
def test_header_of_any_size_is_found_when_it_is_whole(words: int, beyond: int, data: st.DataObject) -> None:
    wanted = 8 * (words + 1)
    raw = header_of(words) + b"\xff" * beyond
    have = data.draw(st.integers(0, wanted + beyond))
    now = framing("yes")

    found = now.look_for_header(raw[:have], final=False)

    assert found == (have >= wanted)
    if found:
        assert (now.header_bytes, now.data_start, now.header_error) == (wanted, START + wanted, None)
        assert now.limit == FOREVER
    elif have >= 8:
        assert now.limit == START + wanted, "what belongs to the header may be read before it is whole"
    else:
        assert now.limit == START + 8


@pytest.mark.parametrize("have", [0, 1, 7])
def test_stream_shorter_than_a_magic_word_has_no_header(have: int) -> None:
    for kind, error in (
        ("yes", f"ended after {have} bytes"),
        ("auto", None if have else "ended after 0 bytes"),
    ):
        now = framing(kind)
        assert now.look_for_header(header_of(4)[:have], final=True)
        assert (now.header_known, now.header_bytes) == (True, 0)
        assert now.header_error is None if error is None else error in str(now.header_error)


@pytest.mark.parametrize("kind", ["yes", "auto"])
def test_torn_header_is_data_and_is_told(kind: str) -> None:
    raw = header_of(20)
    now = framing(kind)
    assert not now.look_for_header(raw[:100], final=False)
    assert now.look_for_header(raw[:100], final=True)
    assert (now.header_bytes, now.data_start) == (0, START)
    assert "torn" in str(now.header_error)


def test_stream_without_magic_is_an_error_only_where_a_header_was_promised() -> None:
    promised, perhaps = framing("yes"), framing("auto")
    for now in (promised, perhaps):
        assert now.look_for_header(b"\1" * 16, final=False)
        assert now.header_bytes == 0
    assert promised.header_error
    assert perhaps.header_error is None


def test_length_in_seconds_waits_for_the_header_s_rate() -> None:
    now = framing("yes", max_seconds=[3, 2])
    raw = header_of(len(HEADER_TEXT) // 8 + 1)
    assert now.cut == FOREVER
    assert now.look_for_header(raw, final=False)
    now.parse(raw)
    assert now.rate == 2_000_000
    assert now.max_words == 3_000_000
    assert now.cut == START + len(raw) + 8 * 3_000_000
    assert now.header_report()["rate"] == [2_000_000, 1]


def test_stated_rate_stands_against_a_header_s() -> None:
    now = framing("yes", rate=[5, 2], split_seconds=[4, 1])
    now.parse(header_of(len(HEADER_TEXT) // 8 + 1))
    assert now.rate == 5 / 2
    assert now.split_words == 10


def test_odd_bytes_stand_at_the_end() -> None:
    now = framing()
    assert now.take_gap(START + 80, 8 * 5 + 3) == {"after_word": 10, "words": 5, "odd_bytes": 3}
    summary = now.summary(START + 80 + 6)
    assert (summary["words"], summary["odd_bytes"]) == (10, 6)
    assert (summary["words_lost"], summary["odd_lost"]) == (5, 3)


def test_gap_beyond_the_cut_is_lost_only_up_to_it() -> None:
    now = framing(max_words=15)
    assert now.take_gap(START + 80, 8 * 100 + 3) == {"after_word": 10, "words": 5, "odd_bytes": 0}
    assert now.cut == START + 80


def test_gap_over_several_files_begins_one() -> None:
    now = framing(rate=[1, 1], split_seconds=[4, 1])
    now.take_gap(START + 8 * 3, 8 * 14)
    assert now.mark_due(START + 8 * 3)
    assert now.take_mark(START + 8 * 3) == {"first_word": 17}
    assert now.limit == START + 8 * 3 + 8 * 3, "word 20 begins the next"


def test_successor_takes_over_what_was_written() -> None:
    raw = header_of(14)
    first = framing("yes", rate=[1, 1], split_seconds=[4, 1], max_words=60)
    first.look_for_header(raw, final=False)
    gap = first.take_gap(first.data_start + 24, 8 * 14)
    mark = first.take_mark(first.data_start + 24)
    past = [
        Event(HEADER, START, 1, 0, raw),
        Event(GAP, first.data_start + 24, 1, 0, _json({**gap, "drop": 0})),
        Event(MARK, first.data_start + 24, 1, 0, _json(mark)),
    ]

    second = framing("yes", rate=[1, 1], split_seconds=[4, 1], max_words=60)
    second.restore(past)

    for name in ("data_start", "lost_words", "odd_lost", "limit", "cut", "header_known", "payload"):
        assert getattr(second, name) == getattr(first, name), name


def _json(payload: dict[str, Any]) -> bytes:
    import json

    return json.dumps(payload).encode()


def test_a_word_that_is_looked_back_at_does_not_count_later_drops() -> None:
    framing = Framing(announcement(), START)
    framing.take_gap(START + 800, 80)
    framing.take_gap(START + 1600, 160)

    behind = [framing.source_word_behind(START + at) for at in (792, 800, 1592, 1600, 2400)]
    assert behind == [99, 110, 209, 230, 330]


def test_no_file_begins_at_the_cut() -> None:
    now = framing(max_words=10, rate=[1, 1], split_seconds=[5, 1])

    assert now.mark_due(START + 40)
    now.take_mark(START + 40)
    assert not now.mark_due(START + 80)


def test_odd_bytes_of_a_gap_that_reaches_the_cut_are_discarded() -> None:
    now = framing(max_words=10)

    assert now.take_gap(START + 8, 8 * 3 + 5) == {"after_word": 1, "words": 3, "odd_bytes": 5}
    assert now.take_gap(START + 16, 8 * 5 + 3) == {"after_word": 5, "words": 5, "odd_bytes": 0}
    assert (now.lost_words, now.odd_lost) == (8, 5)


@pytest.mark.parametrize(
    ("rate", "seconds", "words"), [([10_000_000, 7], [1, 1000], 1428), ([2_000_000, 1], [1, 3], 666_666)]
)
def test_a_length_in_seconds_holds_the_words_that_are_whole_by_then(
    rate: list[int], seconds: list[int], words: int
) -> None:
    now = framing(rate=rate, max_seconds=seconds, split_seconds=seconds)

    assert (now.max_words, now.split_words) == (words, words)
    assert framing(rate=[1, 1], split_seconds=[1, 3]).split_words == 1


def test_a_successor_knows_a_gap_s_odd_bytes_and_the_file_that_begins_behind_it() -> None:
    first, second = (framing(rate=[1, 1], split_seconds=[5, 1]) for _ in range(2))
    gap = first.take_gap(START + 24, 8 * 4 + 2)  # word 5, with which a file would begin, is lost
    second.restore([Event(HEADER, START, 1, 0, b""), Event(GAP, START + 24, 1, 0, _json({**gap, "drop": 0}))])

    assert first.limit == second.limit == START + 24
    assert first.odd_lost == second.odd_lost == 2


def test_a_window_holds_whole_words_wherever_it_is_asked_for() -> None:
    now = framing(windows=[])
    assert isinstance(now.marks, Windows)
    now.marks.ask({"name": "point", "position": START + 13, "words": 4}, START)

    assert now.limit == START + 16
    assert now.take_mark(START + 16) == {"first_word": 2, "name": "point", "until": 6}
    assert now.limit == START + 48


def test_a_recording_of_whole_words_ends_with_one() -> None:
    asked, not_asked = framing(whole_words=True), framing()

    assert [asked.end_of(START + n) - START for n in (0, 7, 8, 19)] == [0, 0, 8, 16]
    assert not_asked.end_of(START + 19) == START + 19


def test_a_header_that_the_ring_does_not_hold_is_not_waited_for() -> None:
    raw, now = header_of(14), framing("yes")

    assert now.look_for_header(raw, final=False, most=len(raw) - 1)
    assert now.header_known
    assert now.header_error == f"header of {len(raw)} bytes does not fit the ring: give a larger one (--ring)"


@pytest.mark.parametrize(("at", "words"), [(16, 2), (17, 3), (23, 3)])
def test_a_recording_that_is_stopped_ends_with_the_word_that_has_begun(at: int, words: int) -> None:
    now = framing()
    now.cut_from(START + at)

    assert (now.max_words, now.cut) == (words, START + 8 * words)


def test_a_file_that_a_predecessor_began_is_not_begun_again() -> None:
    first, second = (framing(rate=None, split_at=START + 16) for _ in range(2))
    assert first.limit == START + 16
    mark = first.take_mark(START + 16)
    assert not first.mark_due(START + 16), "it was asked for once"
    second.restore([Event(HEADER, START, 1, 0, b""), Event(MARK, START + 16, 1, 0, _json(mark))])
    assert second.limit == FOREVER

    second.split_at(START + 16)
    assert second.limit == FOREVER, "no word came since"
    second.split_at(START + 17)
    assert second.limit == START + 24


def test_a_successor_takes_each_window_once() -> None:
    windows = [{"name": name, "position": START + at, "words": 2} for name, at in (("a", 8), ("b", 40))]
    first, second = (framing(windows=windows) for _ in range(2))
    mark = first.take_mark(START + 8)
    second.restore([Event(HEADER, START, 1, 0, b""), Event(MARK, START + 8, 1, 0, _json(mark))])

    for now in (first, second):
        assert now.take_mark(START + 24) == {"first_word": 3, "ended": "a"}
        assert now.limit == START + 40
        assert now.take_mark(START + 40) == {"first_word": 5, "name": "b", "until": 7}


def test_a_window_that_is_asked_for_too_late_begins_with_what_is_to_come() -> None:
    now = framing(windows=[])
    assert isinstance(now.marks, Windows)
    now.marks.ask({"name": "late", "position": START + 8, "words": 4}, START + 83)

    assert now.limit == START + 88
