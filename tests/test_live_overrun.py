"""Live streams that are passed by, and reading by number of words: every missing word is told, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from live_capture import BLOCK, LONG_S, RING_WORDS, Live, PassedWhileReading
from support.waiting import wait_until

from fastcap.errors import OverrunError, SourceError
from fastcap.live import Block


@pytest.fixture
def make() -> Iterator[Callable[..., Live]]:
    made: list[Live] = []

    def make(**options: Any) -> Live:
        made.append(Live(**options))
        made[-1].begin()
        return made[-1]

    yield make
    for live in made:
        live.close()


def assert_resumed_behind(block: Block, first_left: int) -> None:
    """The block begins soon behind what was given up, and holds what its index says."""
    assert first_left <= block.index <= first_left + RING_WORDS // 8
    assert np.array_equal(block.words, np.arange(block.index, block.index + BLOCK))
    assert block.valid()


def test_passed_stream_raises_with_the_exact_count_and_goes_on(make: Callable[..., Live]) -> None:
    live = make(on_overrun="raise")
    first_left = live.pass_by()

    with pytest.raises(OverrunError, match="words from word 0 were") as caught:
        next(live.stream.blocks(LONG_S))
    block = next(live.stream.blocks(LONG_S))

    assert_resumed_behind(block, first_left)
    told = {k: caught.value.entry[k] for k in ("stage", "after_word", "words", "certainty")}
    assert told == {"stage": "ring", "after_word": 0, "words": block.index, "certainty": "exact"}
    assert live.stream.words_missed == block.index
    assert live.ring.slot_state(live.stream.slot.index)["overrun_bytes"] == 8 * block.index


def test_passed_stream_marks_the_next_block_with_the_exact_count(make: Callable[..., Live]) -> None:
    live = make(on_overrun="mark")
    live.write(2 * BLOCK)
    assert next(live.stream.blocks(LONG_S)).gap_before == 0
    first_left = live.pass_by()

    block = next(live.stream.blocks(LONG_S))

    assert_resumed_behind(block, first_left)
    assert block.gap_before == block.index  # the first block was overwritten, too
    assert live.stream.words_missed == block.index


def test_stream_that_was_passed_over_a_gap_resumes_where_memory_is(make: Callable[..., Live]) -> None:
    live = make(on_overrun="mark")
    writer = live.essential()
    live.write(RING_WORDS + 1000)  # the last 1000 are dropped
    writer.leave()
    wait_until(lambda: not live.ring.reader_state()["dropping"], LONG_S, "the reader stores again")
    first_left = live.pass_by() + 1000

    block = next(live.stream.blocks(LONG_S))

    assert_resumed_behind(block, first_left)
    assert block.gap_before == block.index
    assert live.stream.words_missed == block.index - 1000, "the gap is everybody's"


def test_block_that_was_overwritten_says_so(make: Callable[..., Live]) -> None:
    live = make(on_overrun="mark")
    live.write(BLOCK)
    block = next(live.stream.blocks(LONG_S))
    live.pass_by()
    assert not block.valid()
    with pytest.raises(OverrunError, match=f"{BLOCK} words from word 0"):
        block.copy()


def hold_too_long(live: Live) -> np.ndarray[Any, Any]:
    """Hold a view of the first block while the stream goes on, until the ring has to give its memory up."""
    live.write(BLOCK)
    held = next(live.stream.blocks(LONG_S)).words
    for _ in range(RING_WORDS // BLOCK):
        live.write(BLOCK)
        wait_until(lambda: live.ring.head == 8 * live.words, LONG_S, "written")
        next(live.stream.blocks(LONG_S))
    return held


def test_block_that_was_copied_in_time_is_not_lost(make: Callable[..., Live]) -> None:
    live = make(on_overrun="mark")
    live.write(2 * BLOCK)
    copied = next(live.stream.blocks(LONG_S)).copy()
    live.pass_by()

    block = next(live.stream.blocks(LONG_S))

    assert np.array_equal(copied, np.arange(BLOCK))
    assert block.gap_before == live.stream.words_missed == block.index - BLOCK


def test_words_that_were_read_in_time_are_not_lost(make: Callable[..., Live]) -> None:
    live = make(on_overrun="raise")
    live.write(2 * BLOCK)
    first, missed = live.stream.read(BLOCK, timeout_s=LONG_S)
    live.pass_by()

    got, overrun = live.stream.read(BLOCK, timeout_s=LONG_S)

    assert missed == 0
    assert np.array_equal(first, np.arange(BLOCK))
    assert overrun == int(got[0]) - BLOCK


def test_held_view_that_cannot_be_kept_raises(make: Callable[..., Live]) -> None:
    live = make(on_overrun="raise")
    with pytest.raises(OverrunError, match=f"{BLOCK} words from word 0") as caught:
        hold_too_long(live)
    assert (caught.value.entry["after_word"], caught.value.entry["words"]) == (0, BLOCK)


def test_held_view_that_cannot_be_kept_is_marked(make: Callable[..., Live]) -> None:
    live = make(on_overrun="mark")
    held = hold_too_long(live)
    live.write(2 * BLOCK)
    for _ in range(2):
        next(live.stream.blocks(LONG_S))
    assert live.stream.words_missed == BLOCK
    assert held.size == BLOCK


def test_views_that_were_let_go_are_not_counted(make: Callable[..., Live]) -> None:
    live = make(on_overrun="raise")
    for _ in range(3 * RING_WORDS // BLOCK):
        live.write(BLOCK)
        next(live.stream.blocks(LONG_S))
    assert live.stream.words_missed == 0
    assert live.stream.slot.lossless


def test_stream_that_was_passed_at_the_end_ends_there(make: Callable[..., Live]) -> None:
    live = make(on_overrun="mark")
    live.write(4 * BLOCK)
    live.engine.end()
    live.begin(2)
    live.pass_by()

    got = sum(len(b) for b in live.stream.blocks(LONG_S))

    assert got + live.stream.words_missed == 4 * BLOCK


# -- read() ----------------------------------------------------------------------------------------------


def test_read_gives_any_number_of_words_in_order(make: Callable[..., Live]) -> None:
    live = make()
    live.write(5000)
    live.engine.end()
    got = [live.stream.read(n, timeout_s=LONG_S) for n in (1, 2000, 0, 1023, 1977, 10)]

    assert [w.size for w, _ in got] == [1, 2000, 0, 1023, 1976, 0], "fewer at the end"
    assert np.array_equal(np.concatenate([w for w, _ in got]), np.arange(5000))
    assert {overrun for _, overrun in got} == {0}


def test_read_fills_the_caller_s_array(make: Callable[..., Live]) -> None:
    live = make()
    live.write(2 * BLOCK)
    out = np.zeros(2 * BLOCK, "u8")
    got, _ = live.stream.read(1500, out, timeout_s=LONG_S)
    assert np.shares_memory(got, out)
    assert np.array_equal(out[:1500], np.arange(1500))
    assert not out[1500:].any()


def test_read_counts_what_was_passed_and_does_not_raise(make: Callable[..., Live]) -> None:
    live = make(on_overrun="raise")
    first_left = live.pass_by()
    got, overrun = live.stream.read(BLOCK, timeout_s=LONG_S)
    assert first_left <= overrun <= first_left + RING_WORDS // 8
    assert np.array_equal(got, np.arange(overrun, overrun + BLOCK))


def test_read_counts_a_block_that_was_passed_under_it_once(make: Callable[..., Live]) -> None:
    live = make(on_overrun="raise")
    live.write(3 * BLOCK)
    live.stream.slot = PassedWhileReading(live, 2)  # type: ignore[assignment]
    got, overrun = live.stream.read(2 * BLOCK, timeout_s=LONG_S)

    assert np.array_equal(got[:BLOCK], np.arange(BLOCK))
    assert overrun == int(got[BLOCK]) - BLOCK
    assert np.array_equal(got[BLOCK:], np.arange(got[BLOCK], got[BLOCK] + BLOCK))


def test_read_that_gives_up_loses_nothing(make: Callable[..., Live]) -> None:
    live = make()
    live.write(2 * BLOCK)
    with pytest.raises(SourceError, match="no block"):
        live.stream.read(3 * BLOCK, timeout_s=0.05)
    live.write(BLOCK)
    got, overrun = live.stream.read(3 * BLOCK, timeout_s=LONG_S)
    assert np.array_equal(got, np.arange(3 * BLOCK))
    assert overrun == 0
