"""The ring against a plain model: any chunks, any pace of the consumers, storing and dropping."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from harness import Engine, counter, gaps_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ringmodel import PlainConsumer, PlainRing

from fastcap import events
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES, Slot

C = MIN_RING_BYTES
SOURCE = counter(0, 6 * C // 8)
ESSENTIAL_ONE, ORDINARY, LOSSY = 0, 1, 2
FLAGS = (LOSSLESS | ESSENTIAL, LOSSLESS, 0)

amounts = st.one_of(st.integers(0, 40), st.integers(0, C // 4), st.sampled_from([C // 8, C // 2, C - 3, C]))
firsts = st.sampled_from([C, C // 2, C // 16, C // 16 + 4096])
steps = st.one_of(
    st.tuples(st.just("feed"), amounts),
    st.tuples(st.just("split"), st.just(0)),
    st.tuples(st.sampled_from(["use 0", "use 1", "use 2"]), st.integers(0, 100)),
)


class Compared:
    """An engine and the plain model, moved together."""

    def __init__(self, first: int) -> None:
        self.engine = Engine(first=first)
        self.plain = PlainRing(C, first)
        self.slots: list[Slot] = []
        for flags in FLAGS:
            self.slots.append(self.engine.claim(flags))
            lossless, essential = bool(flags & LOSSLESS), bool(flags & ESSENTIAL)
            self.plain.consumers.append(PlainConsumer(0, lossless=lossless, essential=essential))
        self.engine.begin()
        self.got = [0, 0, 0]
        self.missed = [0, 0, 0]

    def feed(self, n: int) -> None:
        data = SOURCE[self.plain.fed : self.plain.fed + n]
        self.engine.feed(data)
        self.plain.feed(data)

    def split(self) -> None:
        self.engine.split()
        self.plain.split()

    def use(self, which: int, percent: int) -> None:
        """Let a consumer use some of what it may read, skipping what it was passed by."""
        ring, slot, consumer = self.engine.ring, self.slots[which], self.plain.consumers[which]
        behind = max(0, -(-ring.tail // 8) * 8 - consumer.cursor)  # tail may stand in the middle of a word
        assert not behind or not consumer.lossless, "a lossless consumer was passed"
        position = consumer.cursor + behind
        n = (ring.framed - position) * percent // 100 // 8 * 8
        assert ring.bytes_at(position, n) == self.plain.stored[position : position + n]
        assert slot.still_valid(position)
        slot.missed(behind)
        slot.advance(position + n)
        consumer.cursor = position + n
        self.got[which] += n
        self.missed[which] += behind

    def check(self) -> None:
        ring, plain = self.engine.ring, self.plain
        state = ring.reader_state()
        assert (ring.head, ring.framed, ring.tail) == (plain.head, plain.framed, plain.tail)
        assert ring.room == plain.in_use
        assert ring.tail <= ring.framed <= ring.head <= ring.tail + ring.room
        assert bool(state["dropping"]) == plain.dropping
        assert [list(ring.drop(n)[:2]) for n in range(state["drops"])] == plain.drops
        assert [slot.lossless for slot in self.slots] == [c.lossless for c in plain.consumers]

    def finish(self) -> None:
        """End the recording; every byte must be accounted for, to everybody."""
        self.split()
        self.engine.end()
        plain, seen = self.plain, self.engine.events()
        plain.framed = plain.head
        end = next(e for e in seen if e.kind == events.END)
        assert end.position == self.engine.ring.framed == plain.head
        assert gaps_of(seen) == plain.gaps()
        lost = end.data["words_lost"] * 8 + end.data["odd_lost"]
        assert end.data["bytes"] + lost == plain.fed
        assert end.data["words"] * 8 + end.data["odd_bytes"] == end.data["bytes"]
        whole = plain.head // 8 * 8
        for which, slot in enumerate(self.slots):
            self.use(which, 100)
            assert self.got[which] + self.missed[which] == whole
            assert self.engine.ring.slot_state(slot.index)["overrun_bytes"] == self.missed[which]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(firsts, st.lists(steps, max_size=24))
@example(
    C,
    [
        ("feed", C),
        ("split", 0),
        ("feed", 13),
        ("use 0", 60),
        ("split", 0),
        ("feed", 2),
        ("feed", 1),
        ("feed", 9),
    ],
)
@example(C, [("feed", C), ("split", 0), ("use 0", 90), ("split", 0), ("feed", C // 2), ("split", 0)])
@example(C, [("feed", C - 3), ("split", 0), ("use 0", 100), ("split", 0), ("feed", C // 2)])
@example(
    C, [("feed", C - 3), ("split", 0), ("feed", 3), ("split", 0), ("use 0", 20), ("split", 0), ("feed", 8)]
)
@example(C // 16, [("feed", 32776), ("split", 0), ("feed", 0)])
def test_ring_does_what_the_plain_model_does(first: int, plan: list[tuple[str, int]]) -> None:
    both = Compared(first)
    try:
        for what, amount in plan:
            if what == "feed":
                both.feed(amount)
            elif what == "split":
                both.split()
            else:
                both.use(int(what[-1]), amount)
            both.check()
        both.finish()
    finally:
        both.engine.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def test_drops_are_counted_to_the_word_and_end_with_an_eighth_free(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(SOURCE[: C + 5])
    engine.split()
    writer.advance(C // 8 - 8)
    engine.split()
    engine.feed(SOURCE[C + 5 : C + 100])
    assert engine.ring.reader_state()["dropping"], "room for less than an eighth"

    writer.advance(C // 8)
    engine.split()
    engine.feed(SOURCE[C + 100 : C + 160])  # four bytes end the torn word; 56 can be stored
    engine.split()

    assert not engine.ring.reader_state()["dropping"]
    assert gaps_of(engine.events()) == [(C, C // 8, 13)]
    assert engine.ring.bytes_at(C, 56) == SOURCE[C + 104 : C + 160]


def test_full_ring_that_lost_nothing_makes_no_gap(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(SOURCE[:C])
    engine.split()
    writer.advance(C // 2)
    engine.split()
    engine.feed(SOURCE[C : C + 800])
    engine.split()

    assert gaps_of(engine.events()) == []
    assert engine.ring.framed == C + 800


def test_cursor_beyond_framed_counts_for_nothing(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(SOURCE[: C - 8])
    engine.split()
    writer.advance(engine.ring.framed + 8)
    engine.split()
    assert engine.ring.tail == 0

    writer.advance(engine.ring.framed)
    engine.split()
    assert engine.ring.tail == C // 4 - 8


def test_guard_leaves_a_lossy_consumer_three_quarters_of_the_ring(engine: Engine) -> None:
    engine.begin()
    for at in range(0, 3 * C, C // 16):
        engine.feed(SOURCE[at : at + C // 16])
        engine.split()

    assert engine.ring.tail == engine.ring.head - C + C // 4


def test_memory_that_was_given_up_stays_so_when_the_ring_grows() -> None:
    """What a lossy consumer is kept for is more of a larger ring: not what lies below."""
    engine = Engine(first=C // 16)
    engine.claim(0)
    engine.begin()
    tails = []
    for at in range(0, C, C // 128):
        engine.feed(SOURCE[at : at + C // 128])
        engine.split()
        tails.append(engine.ring.tail)

    assert engine.ring.room == C
    assert tails[-1] > 0
    assert tails == sorted(tails)
    engine.close()


def test_consumer_that_would_cost_others_is_made_lossy(engine: Engine) -> None:
    plain, writer = engine.claim(LOSSLESS), engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(SOURCE[: C - C // 8])
    engine.split()
    assert plain.lossless

    engine.feed(SOURCE[C - C // 8 : C])
    engine.split()

    assert not plain.lossless
    assert writer.lossless


def test_nobody_is_made_lossy_for_a_source_that_can_wait(engine: Engine) -> None:
    plain = engine.claim(LOSSLESS)
    engine.begin(can_wait=True)
    engine.feed(SOURCE[: C - 8])
    engine.split()
    assert plain.lossless


def test_memory_that_is_not_allocated_is_full() -> None:
    engine = Engine(ready=C // 4)
    engine.begin()
    engine.feed(SOURCE[: C // 4 + 80])
    assert engine.ring.head == engine.ring.ready == C // 4
    assert engine.ring.reader_state()["dropped_bytes"] == 80

    engine.ring.allocate(C)
    engine.feed(SOURCE[C // 4 + 80 : C // 2])
    engine.split()

    assert gaps_of(engine.events()) == [(C // 4, C // 32, 10)]
    assert engine.ring.head == C // 2 - 80
    engine.close()


def test_recordings_begin_aligned_and_the_padding_is_nobody_s(engine: Engine) -> None:
    engine.begin(1)
    engine.feed(SOURCE[:1003])
    engine.end()
    start = engine.begin(2)
    engine.feed(SOURCE[:80])
    engine.end()

    seen = [(e.recording, e.kind, e.position) for e in engine.events()]
    first = [(1, events.START, 0), (1, events.HEADER, 0), (1, events.END, 1003)]
    assert start == 4096
    assert seen == [*first, (2, events.START, 4096), (2, events.HEADER, 4096), (2, events.END, 4176)]
    assert np.array_equal(np.frombuffer(engine.ring.bytes_at(4096, 80), "<u8"), np.arange(10))
