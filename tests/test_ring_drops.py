"""The log of drops: as long as it is, and no longer; and more gaps than it has entries."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from harness import Engine, counter, gaps_of

from fastcap._pump import COMMAND, EOF, Reader
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES

C = MIN_RING_BYTES
ENTRIES = 1024  # FC_DROPS


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def test_words_wait_in_the_pipe_while_the_log_is_full_and_no_entry_is_written_over(engine: Engine) -> None:
    """Recordings that begin in a full ring, without a splitter that frames them: each drops, and needs an entry."""
    control, peer = socket.socketpair()
    engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, C // 8))
    reader = Reader(engine.ring, control.fileno())

    def give(recording: int) -> tuple[str, int]:
        ours, theirs = os.pipe()
        os.write(theirs, counter(0, recording))
        os.close(theirs)
        reader.begin(ours, recording, word_bytes=8, can_wait=False, gather_s=0)
        told = reader.run()
        os.close(ours)
        return told

    made = engine.ring.reader_state()["drops"]  # of the first one, which has found the ring full
    for recording in range(2, 2 + ENTRIES - made):
        assert give(recording) == (EOF, 0)
    peer.send(b"x")
    assert give(2 + ENTRIES - made) == (COMMAND, 0), "it waits for room"

    entries = [engine.ring.drop(n) for n in range(ENTRIES)]
    assert engine.ring.reader_state()["drops"] == ENTRIES
    assert [(position, nbytes) for position, nbytes, recording, _ in entries if recording > 1] == [
        (C, 8 * recording) for recording in range(2, 2 + ENTRIES - made)
    ]
    for each in (control, peer):
        each.close()


def test_more_gaps_than_the_log_has_entries_are_exact(engine: Engine) -> None:
    piece = C // 8
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, C // 8 + 1))
    engine.split()
    gaps = [(C, C // 8, 1)]
    data = bytes(piece + 24)
    for n in range(ENTRIES + 100):
        writer.advance((n + 1) * piece)
        engine.split()
        lost = 1 + n % 3
        engine.feed(data[: piece + 8 * lost])
        _, after, words = gaps[-1]
        gaps.append((C + (n + 1) * piece, after + words + piece // 8, lost))
        engine.split()
    engine.end()

    assert gaps_of(engine.events()) == gaps
