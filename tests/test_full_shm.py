"""/dev/shm is filled by somebody else: what was promised stays, and what is said is what happened."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Engine, counter

from fastcap.errors import RingError
from fastcap.events import END, GAP, HEADER, MARK
from fastcap.stream import build_header
from fastcap.workers.eventlog import RESERVE_BYTES, STEP_BYTES

SCRIPT = """
import json, os, sys
from engine import counting
import fastcap as fc

said = []
with fc.open(counting(200_000), ring="64MiB") as board:
    first = board.record(None, sys.argv[1] + "/first.bin", on_full="wait")
    left = os.statvfs("/dev/shm")
    with open("/dev/shm/somebody-else", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_bsize)
    second = board.record(None, sys.argv[1] + "/second.bin", on_full="drop")
    said += board.session.recordings[2].warnings
    os.unlink("/dev/shm/somebody-else")
    third = board.record(None, sys.argv[1] + "/third.bin", on_full="drop")
reports = [cap.report for cap in (first, second, third)]
print(json.dumps({"said": said, "complete": [r["complete"] for r in reports], "words": [r["words"] for r in reports]}))
"""


def _run_in_small_shm(folder: Path, script: str, size: str) -> Any:
    """Run a script with a `/dev/shm` of its own; return the JSON that it prints."""
    (folder / "script.py").write_text(script)
    mount = f'mount -t tmpfs -o size={size},mode=1777 tmpfs /dev/shm && exec "$@"'
    command = [sys.executable, str(folder / "script.py"), str(folder)]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", *command], capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


HEADERS = """
import json, os, sys
from fastcap.stream import build_header
import fastcap as fc

folder, words = sys.argv[1], b"".join(k.to_bytes(8, "little") for k in range(100_000))
header = build_header(["teststream", "-l", "-b", "x" * 500_000], None)
with open(folder + "/stream", "wb") as file:
    file.write(header + words)
reports = []
with fc.open(["cat", folder + "/stream"], ring="8MiB") as board:
    for n in range(8):
        cap = board.record(None, f"{folder}/{n}.bin", on_full="drop")
        with open(cap.path, "rb") as file:
            assert file.read() == header + words
        reports.append((cap.report["complete"], cap.report["header"]["error"], cap.report["accounting"]["lost_bytes"]))
        if n == 0:
            left = os.statvfs("/dev/shm")
            with open("/dev/shm/somebody-else", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_bsize)
    os.unlink("/dev/shm/somebody-else")
    reports.append((board.record(None, folder + "/last.bin").report["complete"], None, 0))
print(json.dumps(reports))
"""


@pytest.mark.root
def test_session_goes_on_while_headers_have_no_room_in_the_log(tmp_path: Path) -> None:
    """Every byte of every recording is kept; what could not be told of the words is said."""
    reports = _run_in_small_shm(tmp_path, HEADERS, "14m")

    untold = [error for complete, error, _ in reports if not complete]
    assert untold
    assert all("/dev/shm is full" in error for error in untold)
    assert not any(lost for _, _, lost in reports)
    assert reports[-1][0]


@pytest.mark.root
def test_ring_that_cannot_grow_goes_on_with_what_it_has(tmp_path: Path) -> None:
    found = _run_in_small_shm(tmp_path, SCRIPT, "100m")
    assert found["words"] == [200_000] * 3
    assert found["complete"] == [True] * 3
    assert any("No space left on device" in text for text in found["said"]), found


GROWS = """
import json, os, sys, threading
from engine import WAIT_S, assert_exact, assert_law, counting, hold_writer_until_words_are_dropped, recording
from support import wait_until

other = os.open("/dev/shm/somebody-else", os.O_CREAT | os.O_RDWR)

def used():
    there = os.statvfs("/dev/shm")
    return (there.f_blocks - there.f_bfree) * there.f_bsize

def take_the_rest():
    wait_until(lambda: used() > 64 << 20, WAIT_S, "a ring that grows")
    step = 4 << 20
    while step >= 4096:
        try:
            os.posix_fallocate(other, os.fstat(other).st_size, step)
        except OSError:
            step //= 4

taker = threading.Thread(target=take_the_rest)
taker.start()
with recording(counting(), sys.argv[1] + "/run.bin", ring="400MiB", on_full="drop") as (finish, board):
    taker.join()
    hold_writer_until_words_are_dropped(board)
    said = board.session.recordings[1].warnings
    os.ftruncate(other, 0)
    ring = board.session.attach()
    wait_until(lambda: ring.room == ring.capacity, WAIT_S, "that it grows on")
    ring.close()
    hold_writer_until_words_are_dropped(board)
    board.stop()
    report = finish().report
assert_law(report)
assert_exact(report)
print(json.dumps({"said": said, "ledger": report["ledger"], "high_water": report["ring"]["high_water_bytes"]}))
"""


@pytest.mark.root
def test_ring_whose_memory_somebody_took_while_it_grew_uses_what_it_has(tmp_path: Path) -> None:
    """What it cannot hold is counted; once there is room it grows on."""
    found = _run_in_small_shm(tmp_path, GROWS, "500m")

    lacks = [text for text in found["said"] if "cannot allocate" in text]
    used = int(lacks[0].split("until then ")[1].split()[0])  # it is told again where it got some more
    assert 32 << 20 <= used < 400 << 20
    assert found["high_water"] > used
    assert [entry["certainty"] for entry in found["ledger"]] == ["exact"] * len(found["ledger"])
    assert found["ledger"][0]["after_word"] * 8 >= used - (1 << 20)


def test_event_log_has_its_room_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of gaps are written, and the end, while nothing more can be allocated."""

    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    engine = Engine()
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    engine.begin()
    assert engine.splitter.now is not None
    for n in range(2000):
        engine.splitter.emit(GAP, 0, {"after_word": n, "words": 1, "odd_bytes": 0, "drop": 0})
    engine.feed(counter(0, 100))
    engine.end()

    seen = engine.events()
    assert sum(event.kind == GAP for event in seen) == 2000
    assert seen[-1].kind == END
    engine.close()


def test_event_that_is_written_in_part_is_an_error() -> None:
    engine = Engine()
    engine.begin()
    log = engine.splitter.log
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.nbytes + 16, hard))
    try:
        with pytest.raises(RingError, match="took 16 of 48 bytes"):
            log.append(bytes(48))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    engine.close()


def _fill_log(engine: Engine, monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Leave room for ``left`` bytes in the event log, and let nothing be allocated."""

    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    engine.splitter.log._room = engine.splitter.log.nbytes + left
    monkeypatch.setattr(os, "posix_fallocate", refuse)


def _said(engine: Engine) -> list[str]:
    return [m["text"] for m in engine.told() if m["op"] == "log_full"]


FILES = {"rate": [1000, 1], "split_seconds": [1, 20]}  # of 50 words


def test_full_log_holds_the_stream_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a file's begin nothing is framed behind it; with room all goes on, each word in its place."""
    engine = Engine()
    start = engine.begin(**FILES)
    _fill_log(engine, monkeypatch, RESERVE_BYTES)
    engine.feed(counter(0, 120))
    engine.split()
    assert engine.ring.framed == start + 400
    assert engine.claim().cursor == start + 400
    said = _said(engine)
    assert len(said) == 1
    assert "No space left on device" in said[0]

    monkeypatch.undo()
    engine.split()
    assert engine.ring.framed == start + 960
    engine.end()
    seen = engine.events()
    assert [event.position - start for event in seen if event.kind == MARK] == [400, 800]
    assert (seen[-1].kind, seen[-1].data["words"]) == (END, 120)
    engine.close()


def test_recording_ends_with_all_that_came_while_the_log_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    engine.begin(**FILES)
    _fill_log(engine, monkeypatch, RESERVE_BYTES)
    engine.feed(counter(0, 120))
    engine.split()
    engine.end()

    end = engine.events()[-1]
    assert (end.kind, end.data["words"], end.data["words_lost"]) == (END, 120, 0)
    engine.close()


def test_recording_of_a_given_length_ends_while_the_log_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    engine.begin(max_words=100)
    _fill_log(engine, monkeypatch, RESERVE_BYTES)
    engine.feed(counter(0, 120))
    engine.split()

    end = engine.events()[-1]
    assert (end.kind, end.data["words"], end.data["why"]) == (END, 100, "cut")
    engine.close()


def test_end_without_room_for_its_files_makes_one_gap_of_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    engine.begin(**FILES)
    _fill_log(engine, monkeypatch, STEP_BYTES - 1)
    engine.feed(counter(0, 120))
    engine.end()

    gap, end = engine.events()[-2:]
    assert (gap.kind, gap.data["after_word"], gap.data["words"]) == (GAP, 50, 70)
    assert (end.kind, end.data["words"], end.data["words_lost"]) == (END, 50, 70)
    engine.close()


def test_header_without_room_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    header = build_header(["teststream", "x" * 400_000], None)
    engine = Engine()
    engine.begin(header="yes")
    _fill_log(engine, monkeypatch, RESERVE_BYTES + 2 * STEP_BYTES)
    engine.feed(header + counter(0, 100))
    engine.split()
    assert not [event for event in engine.events() if event.kind == HEADER]
    assert len(_said(engine)) == 1

    monkeypatch.undo()
    engine.end()
    seen = engine.events()
    assert [event.payload for event in seen if event.kind == HEADER] == [header]
    assert seen[-1].data["words"] == 100
    engine.close()
