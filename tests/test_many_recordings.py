"""A session of many recordings: what is over takes no room, and whoever is replaced goes on without it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import WAIT_S, assert_law, assert_whole, counting, kill, workers
from harness import Engine, counter
from support import assert_counter_file, wait_until

import fastcap as fc
from fastcap import events
from fastcap._ring import LOG_BYTES
from fastcap.errors import OverrunError
from fastcap.events import EventReader
from fastcap.live import Stream
from fastcap.stream import build_header


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


HELD_SOURCE = """
import sys
folder, begin, words = sys.argv[1], 100_000, 200_000
out = sys.stdout.buffer
out.write(open(folder + "/header", "rb").read())
out.write(b"".join(k.to_bytes(8, "little") for k in range(begin)))
out.flush()
open(folder + "/go").read()
out.write(b"".join(k.to_bytes(8, "little") for k in range(begin, words)))
"""


def test_deaths_cost_nothing_while_the_event_log_is_given_up(tmp_path: Path) -> None:
    """Headers of half a megabyte fill the log's limit with four recordings; then each role dies, twice."""
    header = build_header(["teststream", "-l", "-b", "x" * 500_000], None)
    (tmp_path / "header").write_bytes(header)
    (tmp_path / "source.py").write_text(HELD_SOURCE)
    os.mkfifo(tmp_path / "go")
    roles = [None] * 4 + ["splitter", "nas_writer", "reader"] * 2

    with fc.open([sys.executable, str(tmp_path / "source.py"), str(tmp_path)]) as board:
        for number, role in enumerate(roles, start=1):
            cap = _record_through_a_death(board, tmp_path, number, role)
            assert cap.report["complete"]
            assert_law(cap.report)
            assert cap.report["header"]["bytes"] == len(header)
            assert cap.path is not None
            assert assert_counter_file(cap.path, 200_000) == []
        assert board.session is not None
        ring = board.session.attach()
        given_up = ring.events_from
        ring.close()
    assert given_up > LOG_BYTES


def _record_through_a_death(board: fc.Board, folder: Path, number: int, role: str | None) -> fc.Capture:
    """Record; once half of it has arrived a worker is killed, and when it is replaced the source goes on."""
    caps: list[fc.Capture] = []
    thread = threading.Thread(target=lambda: caps.append(board.record(None, folder / f"{number}.bin")))
    thread.start()

    def arrived() -> bool:
        recordings = board.session.recordings if board.session is not None else {}
        return number in recordings and (recordings[number].progress.get("bytes") or 0) >= 1_300_000

    wait_until(arrived, WAIT_S, "half of the recording")
    if role is not None:
        dead = kill(role)
        wait_until(lambda: workers(role) and dead not in workers(role), WAIT_S, f"another {role}")
    (folder / "go").write_text("")
    thread.join(WAIT_S)
    assert caps, f"recording {number} does not end"
    return caps[0]
