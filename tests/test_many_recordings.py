"""A session of many recordings: what is over takes no room, and whoever is replaced goes on without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import assert_whole, counting
from harness import Engine, counter

import fastcap as fc
from fastcap import events
from fastcap._ring import LOG_BYTES
from fastcap.errors import OverrunError
from fastcap.events import EventReader
from fastcap.live import Stream


def test_session_keeps_no_recording_that_is_over(tmp_path: Path) -> None:
    with fc.open(counting(1000)) as board:
        caps = [board.record(None, tmp_path / f"{n}.bin") for n in range(3)]
        assert board.session is not None
        assert list(board.session.recordings) == [3]
    for cap in caps:
        assert_whole(cap, 1000)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def _record(engine: Engine, number: int, marks: int) -> None:
    engine.begin(number)
    for n in range(marks):
        engine.splitter.emit(events.MARK, engine.ring.framed, {"n": n, "text": "x" * 4000})
    engine.feed(counter(0, 10))
    engine.end()


def test_recordings_that_are_not_over_keep_their_events(engine: Engine) -> None:
    for number in range(1, 7):
        _record(engine, number, 150)
    engine.supervisor.send({"op": "give_up_events", "over": 2})
    engine.split()
    kept = {e.recording for e in EventReader(engine.ring).poll()}
    assert kept == {3, 4, 5, 6}

    engine.new_splitter()
    engine.supervisor.send({"op": "give_up_events", "over": 6})
    engine.split()
    kept = {e.recording for e in EventReader(engine.ring).poll()}
    assert kept == {5, 6}, "the last MiB stays"
    assert engine.ring.events - engine.ring.events_from >= LOG_BYTES
    assert os.fstat(engine.ring.events_fd).st_blocks * 512 < 4 * LOG_BYTES


def test_blocks_of_a_recording_whose_events_are_given_up_raise(engine: Engine) -> None:
    class Over:
        number, over = 1, True

    slot = engine.claim()
    stream = Stream(engine.ring, slot, Over(), 512, "raise")  # type: ignore[arg-type]
    for number in range(1, 5):
        _record(engine, number, 150)
    engine.supervisor.send({"op": "give_up_events", "over": 4})
    engine.split()
    with pytest.raises(OverrunError, match="recording 1 were given up"):
        next(stream.blocks(1.0))
