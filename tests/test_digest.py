"""What a file's bytes come to: the same whether they are taken in at once or in lanes, however they are cut."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Engine, counter
from hypothesis import given, settings
from hypothesis import strategies as st
from support.waiting import wait_until
from writer_thread import Writer

from fastcap._ring import ESSENTIAL, LOSSLESS, Slot
from fastcap.workers.digest import BESIDE_BYTES, Digest
from fastcap.workers.lane import Lane

MIB = 1 << 20
RING_BYTES = 32 * MIB
STREAM = counter(0, 16 * MIB // 8)


class Rows:
    """Stands for an index: keeps what it is given, in order."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def add(self, view: memoryview) -> None:
        self.taken += view

    def give_up(self) -> None:
        self.taken.clear()


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(RING_BYTES)
    yield made
    made.close()


@pytest.fixture
def stream(engine: Engine) -> tuple[Slot, int]:
    """A consumer's slot, and where 16 MiB begin that it may read."""
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    start = engine.begin()
    engine.feed(STREAM)
    engine.split()
    return slot, start


SIZES = (8, 4096, MIB, BESIDE_BYTES, 4 * MIB)


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.tuples(st.sampled_from(SIZES), st.booleans()), max_size=12))
def test_any_cut_into_pieces_and_lanes_comes_to_the_same(pieces: list[tuple[int, bool]]) -> None:
    engine = Engine(RING_BYTES)
    slot, start = engine.claim(LOSSLESS | ESSENTIAL), engine.begin()
    engine.feed(STREAM)
    engine.split()
    digest, at, end = Digest("sha256", start, Rows), start, start + len(STREAM)
    for wanted, beside in [*pieces, (len(STREAM), False)]:
        size = min(wanted, end - at)
        if beside:
            digest.take_beside(slot, at, size)
        digest.take(slot, at, size)
        at += size
        assert digest.done <= digest.position == at
    digest.settle()

    assert digest.done == at
    assert digest.checksum == hashlib.sha256(STREAM).hexdigest()
    ends = range(MIB, len(STREAM) + 1, MIB)
    assert digest.blocks == [hashlib.sha256(STREAM[:end]).hexdigest()[:16] for end in ends]
    assert digest.index.taken == STREAM
    engine.close()


def test_bytes_that_are_written_again_are_taken_in_once(stream: tuple[Slot, int]) -> None:
    slot, start = stream
    digest = Digest("sha256", start, Rows)
    for at, size in ((0, 4), (0, 4), (2, 4), (6, 2), (0, 8)):
        digest.take_beside(slot, start + at * MIB, size * MIB)
        digest.take(slot, start + at * MIB, size * MIB)
    digest.settle()

    assert digest.checksum == hashlib.sha256(STREAM[: 8 * MIB]).hexdigest()


def test_a_lane_tells_how_far_it_has_come() -> None:
    gates, taken = [threading.Event(), threading.Event()], []

    def take_in(piece: memoryview) -> None:
        assert gates[piece[0]].wait(20)
        taken.append(piece[0])

    lane = Lane(take_in)
    for number in range(2):
        lane.add(100 * number, memoryview(bytes([number])))
    assert lane.reached(200) == 0
    gates[0].set()
    wait_until(lambda: lane.reached(200) == 100, 20, "the first piece is taken in")
    gates[1].set()
    lane.close()

    assert lane.reached(200) == 200
    assert taken == [0, 1]


def test_a_lane_that_fails_says_so_and_takes_no_more() -> None:
    taken = []

    def take_in(piece: memoryview) -> None:
        if piece[0] == 1:
            raise MemoryError("no room for piece 1")
        taken.append(piece[0])

    lane = Lane(take_in)
    for number in range(3):
        lane.add(number, memoryview(bytes([number])))
    with pytest.raises(MemoryError, match="piece 1"):
        lane.close()
    with pytest.raises(MemoryError, match="piece 1"):
        lane.reached(3)
    assert taken == [0]


def test_the_ring_holds_what_the_digest_has_not_come_to(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = threading.Event(), Digest._add_to_hash

    def slow(self: Digest, view: memoryview) -> None:
        assert gate.wait(20)
        real(self, view)

    monkeypatch.setattr(Digest, "_add_to_hash", slow)
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    start = engine.begin()
    engine.feed(STREAM)
    writer = Writer(engine, slot, tmp_path)
    engine.split()
    end = start + len(STREAM)
    wait_until(lambda: writer.writer.durable == end, 20, "all is durable")

    assert slot.cursor == start
    gate.set()
    wait_until(lambda: slot.cursor == end, 20, "all is digested")
    writer.abandon()
    assert (tmp_path / "run.bin.part").read_bytes() == STREAM


@pytest.mark.parametrize("most", [2, 4, 6])
def test_running_checksums_that_are_too_many_are_of_blocks_twice_as_large(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("fastcap.workers.digest.MOST_BLOCKS", most)
    digest, data = Digest("sha256", 0, Rows), counter(0, 100)
    digest.block_bytes = 16
    for at in range(0, len(data), 24):
        digest.add(data[at : at + 24])

    ends = range(digest.block_bytes, len(data) + 1, digest.block_bytes)
    assert digest.block_bytes > 16
    assert most // 2 <= len(digest.blocks) < most
    assert digest.blocks == [hashlib.sha256(data[:end]).hexdigest()[:16] for end in ends]


def test_bytes_that_were_taken_in_already_are_not_taken_again(stream: tuple[Slot, int]) -> None:
    slot, start = stream
    digest = Digest("sha256", start, Rows)
    digest.take(slot, start, 4096)
    digest.take(slot, start + 2048, 4096)  # written again, from what was durable

    assert digest.done == start + 6144
    assert digest.checksum == hashlib.sha256(STREAM[:6144]).hexdigest()
