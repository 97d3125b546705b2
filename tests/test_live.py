"""Live blocks: views that are valid until the next one, gaps, ends, and reading by number of words."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from live_capture import BLOCK, RING_WORDS, Live
from support.waiting import wait_until

from fastcap import words
from fastcap.errors import RingError, SourceError
from fastcap.live import Block, Stream

LONG_S = 20.0
HEADER = (0x123456ABCDEF << 16 | 9).to_bytes(8, "little") + b"# command line: teststream -s 4 -l -b\n".ljust(
    64, b"\0"
)


@pytest.fixture
def make() -> Iterator[Callable[..., Live]]:
    made: list[Live] = []

    def make(**options: Any) -> Live:
        made.append(Live(**options))
        return made[-1]

    yield make
    for live in made:
        live.close()


def assert_counts_up(block: Block) -> None:
    assert np.array_equal(block.words, np.arange(block.index, block.index + len(block)))


def test_blocks_hold_every_word_and_the_last_is_short(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.write(10 * BLOCK + 100)
    live.engine.end()

    seen = []
    for block in live.stream.blocks(LONG_S):
        assert_counts_up(block)
        seen.append((block.index, len(block), block.gap_before))

    assert seen == [*((n * BLOCK, BLOCK, 0) for n in range(10)), (10 * BLOCK, 100, 0)]


def test_odd_bytes_at_the_end_are_in_no_block(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.write(100)
    live.send(b"\1\2\3")
    live.engine.end()
    assert [len(b) for b in live.stream.blocks(LONG_S)] == [100]


def test_header_is_told_and_is_in_no_block(make: Callable[..., Live]) -> None:
    live = make()
    live.begin(header="yes")
    live.send(HEADER)
    live.write(BLOCK)
    block = next(live.stream.blocks(LONG_S))

    assert_counts_up(block)
    assert live.stream.header is not None
    assert live.stream.header.sample_rate_hz == 2_000_000


def test_block_is_a_read_only_view_of_the_ring(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.write(2 * BLOCK)
    blocks = live.stream.blocks(LONG_S)
    first = next(blocks).words
    second = next(blocks).words

    assert not first.flags.writeable
    assert not first.flags.owndata
    assert second.ctypes.data - first.ctypes.data == 8 * BLOCK, "neighbours in the ring, not copies"
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_block_s_time_is_over_when_the_next_is_asked_for(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.write(2 * BLOCK)
    blocks = live.stream.blocks(LONG_S)
    first = next(blocks)
    kept = first.copy()
    assert first.valid()
    next(blocks)

    assert not first.valid()
    with pytest.raises(RingError, match="no longer valid"):
        first.words  # noqa: B018
    with pytest.raises(RingError, match="no longer valid"):
        first.phase()
    assert np.array_equal(kept, np.arange(BLOCK))


def test_view_that_is_held_keeps_its_memory(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.write(BLOCK)
    blocks = live.stream.blocks(LONG_S)
    held = next(blocks).words[10:20]
    for _ in range(RING_WORDS * 3 // 4 // BLOCK):
        live.write(BLOCK)
        assert_counts_up(next(blocks))

    assert live.stream.slot.cursor == 0
    assert held.tolist() == list(range(10, 20))
    del held
    live.write(BLOCK)
    next(blocks)
    assert live.stream.slot.cursor == live.stream._position - 8 * BLOCK


def test_blocks_break_at_a_gap(make: Callable[..., Live]) -> None:
    live = make()
    writer = live.essential()
    live.begin()
    seen: list[tuple[int, int, int]] = []
    blocks = live.stream.blocks(LONG_S)

    def take(upto: int) -> None:
        while not seen or sum(seen[-1][:2]) < upto:
            block = next(blocks)
            assert_counts_up(block)
            seen.append((block.index, len(block), block.gap_before))

    live.write(RING_WORDS // 2 + 10)
    take(RING_WORDS // 2)
    live.write(RING_WORDS // 2 + 990)  # the last 1000 are dropped
    writer.advance(live.ring.framed)
    wait_until(lambda: not live.ring.reader_state()["dropping"], LONG_S, "the reader stores again")
    live.write(3 * BLOCK)
    take(RING_WORDS + 1000 + 3 * BLOCK - BLOCK)

    gap = next(i for i, block in enumerate(seen) if block[2])
    assert seen[gap] == (RING_WORDS + 1000, BLOCK, 1000)
    assert sum(seen[gap - 1][:2]) == RING_WORDS
    assert [b[2] for b in seen if b[2]] == [1000]
    assert live.stream.words_missed == 0


def test_gap_ends_a_block_that_is_not_full(make: Callable[..., Live]) -> None:
    live = make(block_words=RING_WORDS // 4)
    writer = live.essential()
    live.begin()
    blocks = live.stream.blocks(LONG_S)
    live.write(RING_WORDS // 2)
    for _ in range(2):
        assert len(next(blocks)) == RING_WORDS // 4
    writer.advance(8 * 200)
    live.write(RING_WORDS // 2 + 500)
    for _ in range(2):
        assert len(next(blocks)) == RING_WORDS // 4
    writer.advance(live.ring.framed)
    wait_until(lambda: not live.ring.reader_state()["dropping"], LONG_S, "the reader stores again")
    live.write(100)
    live.engine.end()

    rest = [(b.index, len(b), b.gap_before) for b in blocks]
    assert rest == [(RING_WORDS, 200, 0), (RING_WORDS + 500, 100, 300)]


def test_arithmetic_of_blocks_is_that_of_the_whole(make: Callable[..., Live]) -> None:
    live = make(block_words=500)
    live.begin()
    rng = np.random.default_rng(1)
    turns = (np.arange(2000) * 300 % 65536).astype("u8")  # rolls over now and then
    data = (turns << np.uint64(48)) | rng.integers(0, 2**48, 2000, dtype="u8")
    live.send(data.tobytes())
    live.engine.end()

    parts = [(b.phase(), b.radius(), b.i(), b.q(), b.m()) for b in live.stream.blocks(LONG_S)]

    phase: Any = words.phase(data, None, words.Carry())
    whole = (phase, words.radius(data), *words.split_iqm(data))
    assert len(parts) == 4
    for part, expected in zip(zip(*parts, strict=True), whole, strict=True):
        assert np.array_equal(np.concatenate(part), expected)


def test_silent_source_is_an_error_after_its_time(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.write(BLOCK + 1)
    blocks = live.stream.blocks(0.05)
    assert len(next(blocks)) == BLOCK
    with pytest.raises(SourceError, match=r"no block within 0\.05 s"):
        next(blocks)


def test_recording_s_error_is_raised(make: Callable[..., Live]) -> None:
    live = make()
    live.begin()
    live.recording.error = SourceError("the board is on fire")
    with pytest.raises(SourceError, match="on fire"):
        next(live.stream.blocks(LONG_S))


@pytest.mark.parametrize(
    "bad", [{"block_words": 0}, {"block_words": RING_WORDS // 4 + 1}, {"on_overrun": "ignore"}]
)
def test_nonsense_is_refused(make: Callable[..., Live], bad: dict[str, Any]) -> None:
    live = make()
    given = {"block_words": 1, "on_overrun": "mark", **bad}
    recording: Any = live.recording
    with pytest.raises(ValueError, match=next(iter(bad))):
        Stream(live.stream.ring, live.stream.slot, recording, **given)


def test_closing_tells_of_views_that_are_still_held() -> None:
    live = Live()
    live.begin()
    live.write(BLOCK)
    held = next(live.stream.blocks(LONG_S)).words
    with pytest.warns(ResourceWarning, match="1 views of ring memory"):
        live.stream.close()
    assert held[5] == 5
    live.engine.close()


def test_closing_gives_the_slot_back_without_a_word() -> None:
    live = Live()
    live.begin()
    live.write(BLOCK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with live.stream as stream:
            assert len(next(stream.blocks(LONG_S))) == BLOCK
    wait_until(lambda: live.ring.slot_state(0)["state"] == "FREE", LONG_S, "the splitter frees the slot")
    live.engine.close()
