"""What ends a recording from the user's side: stop(), close(), Ctrl-C; each keeps the file, and returns soon."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engine import arrived_bytes, assert_exact, assert_law, assert_whole, counting, recording, workers
from support import children_of, is_running, wait_until

import fastcap as fc


def assert_stopped(report: Any, *, interrupted: bool = False) -> None:
    """Assert that a recording was ended by the user, with whole words and none unaccounted for."""
    assert report["source"]["ended"] == ("interrupted" if interrupted else "stopped")
    assert (report["complete"], report["interrupted"]) == (not interrupted, interrupted)
    assert report["bytes"] == report["header"]["bytes"] + 8 * report["words"]
    assert_law(report)
    assert_exact(report)


def _stop(board: fc.Board) -> None:
    board.stop()


def _stop_capture(board: fc.Board) -> None:
    board._captures[0].stop()


@pytest.mark.parametrize("stop", [_stop, _stop_capture], ids=["board", "capture"])
def test_stop_completes_the_file_and_the_board_goes_on(
    tmp_path: Path, stop: Callable[[fc.Board], None]
) -> None:
    with recording(counting(), tmp_path) as (finish, board):
        stop(board)
        stop(board)
        assert_stopped(finish().report)
        stop(board)
        assert_whole(board.record(None, tmp_path, samples=100_000), 100_000, cut=True)


def test_stop_while_the_ring_drops_counts_what_was_dropped(tmp_path: Path) -> None:
    with recording(counting(), tmp_path, ring="16MiB", stalls=[(0.1, 3.0)]) as (finish, board):
        wait_until(lambda: board.session.recordings[1].progress.get("dropped_bytes"), 20, "drops")
        board.stop()
        report = finish().report

    assert report["words_lost"] > 0
    assert_stopped(report)


def test_stop_of_a_program_that_ends_in_the_middle_of_words_keeps_whole_ones(tmp_path: Path) -> None:
    board = fc.open(["sh", "-c", "while :; do head -c 8003 /dev/zero; sleep 0.01; done"], ring="64MiB")
    board.source = msgspec.structs.replace(board.source, expect_header=False)
    for number in (1, 2, 3):
        threading.Thread(target=_once_it_runs, args=(board, number, board.stop)).start()
        report = board.record(None, tmp_path).report
        assert report["complete"]
        assert report["bytes"] == 8 * report["words"]
        assert_law(report)
    board.close()


def test_stop_from_a_signal_handler(tmp_path: Path) -> None:
    with fc.open(counting(), ring="64MiB") as board:
        before = signal.signal(signal.SIGUSR1, lambda *_: board.stop())
        try:
            threading.Thread(target=_once_it_runs, args=(board, 1, _interrupts(signal.SIGUSR1))).start()
            assert_stopped(board.record(None, tmp_path).report)
        finally:
            signal.signal(signal.SIGUSR1, before)


def _once_it_runs(board: fc.Board, number: int, what: Callable[[], None]) -> None:
    """Do something once a recording has given its first bytes."""

    def runs() -> bool:
        recordings = board.session.recordings if board.session else {}
        return number in recordings and (recordings[number].progress.get("bytes") or 0) > 1 << 16

    wait_until(runs, 30, "first bytes")
    what()


def _interrupts(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_exception_in_record_ends_that_recording_and_keeps_its_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def raises(*_: object) -> None:
        raise error

    board = fc.open(counting(), ring="64MiB")
    before = signal.signal(signal.SIGINT, raises)
    try:
        threading.Thread(target=_once_it_runs, args=(board, 1, _interrupts(signal.SIGINT))).start()
        with pytest.raises(error):
            board.record(None, tmp_path / "first.bin")
        assert_whole(board.record(None, tmp_path / "second.bin", samples=100_000), 100_000, cut=True)
        (first,) = [r for r in board.session.recordings.values() if r.number == 1]
        first.wait_for(lambda: first.done)
        assert_stopped(first.reports[0], interrupted=True)
    finally:
        signal.signal(signal.SIGINT, before)
        board.close()
    assert children_of(os.getpid(), "fastcap.sim.board") == []


def test_interruption_at_any_moment_of_a_record_leaves_nothing_running(tmp_path: Path) -> None:
    board = fc.open(counting(), ring="64MiB")
    for k in range(12):
        timer = threading.Timer(0.02 * k, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come as soon as the timer runs
            timer.start()
            board.record("600s", "none")
        timer.join()
    assert board.record(samples=100_000, to=tmp_path).report["words"] == 100_000
    board.close()
    wait_until(lambda: children_of(os.getpid(), "fastcap") == [], 20, "the end of all processes")


def test_close_stops_what_runs(tmp_path: Path) -> None:
    with recording(counting(), tmp_path) as (finish, board):
        board.close()
        assert_stopped(finish().report)
    assert children_of(os.getpid(), "fastcap") == []


def test_close_ends_a_source_that_ignores_sigterm(tmp_path: Path) -> None:
    code = "import os, signal; signal.signal(15, signal.SIG_IGN)\nwhile True: os.write(1, bytes(8000))"
    board = fc.open([sys.executable, "-c", code], ring="64MiB")
    thread = threading.Thread(target=lambda: board.record(None, "none"))
    thread.start()
    wait_until(lambda: arrived_bytes(board), 30, "first bytes")
    board.close()
    thread.join(20)
    assert not thread.is_alive()
    assert children_of(os.getpid(), code) == []


def test_leaving_a_stream_completes_its_file(tmp_path: Path) -> None:
    with fc.open(counting(), ring="64MiB") as board:
        with board.stream(save=tmp_path / "left.bin") as left:
            next(iter(left.blocks()))
        with pytest.raises(IndexError), board.stream(save=tmp_path / "failed.bin") as failed:
            next(iter(failed.blocks())).words[1 << 30]
        reports = [stream.recording.reports[0] for stream in (left, failed)]

    assert_stopped(reports[0])
    assert_stopped(reports[1], interrupted=True)


# -- boards that nobody closes -------------------------------------------------------------------------


def test_board_that_nobody_has_any_more_is_closed(tmp_path: Path) -> None:
    for k in range(3):
        board = fc.open(counting(100_000), ring="64MiB")
        assert_whole(board.record(None, tmp_path / f"{k}.bin"), 100_000)
    wait_until(lambda: len(workers("supervisor")) == 1, 20, "the end of all but the last one's session")
    del board
    gc.collect()
    wait_until(lambda: children_of(os.getpid(), "fastcap") == [], 20, "the end of all processes")


def test_idle_boards_that_somebody_keeps_give_their_rings_back(tmp_path: Path) -> None:
    boards = []
    for k in range(4):
        boards.append(fc.open(counting(100_000), ring="64MiB"))
        assert_whole(boards[-1].record(None, tmp_path / f"{k}.bin"), 100_000)
    wait_until(
        lambda: len(workers("supervisor")) == 3, 20, lambda: f"three sessions, {workers('supervisor')}"
    )
    for k, board in enumerate(boards):
        assert_whole(board.record(None, tmp_path / f"again_{k}.bin"), 100_000)
        board.close()
    assert children_of(os.getpid(), "fastcap") == []


def test_board_that_records_keeps_its_session_whatever_others_begin(tmp_path: Path) -> None:
    with recording(counting(), tmp_path / "first.bin") as (finish, board):
        others = [fc.open(counting(1000), ring="64MiB") for _ in range(3)]
        for other in others:
            other.record(None, "none")
        board.stop()
        assert_stopped(finish().report)
        for other in others:
            other.close()


def test_capture_outlives_its_board(tmp_path: Path) -> None:
    cap = fc.open(counting(100_000), ring="64MiB").record(None, tmp_path, stalls=[(0.0, 1.0)], wait=False)
    gc.collect()
    assert_whole(cap.wait(60), 100_000)


# -- the user's process --------------------------------------------------------------------------------

SCRIPT = """
    import multiprocessing, os, signal, sys, threading, time
    import fastcap as fc
    def until(what):
        while not what(): time.sleep(0.01)
    def bytes_of(board):
        return board.session and 1 in board.session.recordings and board.session.recordings[1].progress.get("bytes")
    def sleeps():
        time.sleep(1000)
"""
FORKED = (
    SCRIPT
    + """
    if __name__ == "__main__":
        with fc.open({source!r}, ring="64MiB") as board:
            threading.Thread(target=lambda: board.record("600s", {folder!r}), daemon=True).start()
            until(lambda: bytes_of(board))
            {fork}
            print("forked", flush=True)
            time.sleep(1000)
"""
)


def _script(code: str, folder: Path, **given: Any) -> subprocess.Popen[str]:
    """Start a script that records, and return it once it has said so."""
    text = textwrap.dedent(code.format(folder=str(folder), source=counting(), **given))
    path = folder / "script.py"
    path.write_text(text)
    process = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "forked\n"
    return process


FORKS = {
    "os.fork": "os.fork() or time.sleep(1000)",
    "multiprocessing": "multiprocessing.get_context('fork').Process(target=sleeps).start()",
    "spawn": "multiprocessing.get_context('spawn').Process(target=sleeps).start()",
}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("fork", FORKS)
def test_script_that_dies_is_finished_though_its_child_lives(
    tmp_path: Path, fork: str, number: signal.Signals
) -> None:
    process = _script(FORKED, tmp_path, fork=FORKS[fork])
    (supervisor,) = children_of(process.pid, "fastcap.workers.supervisor")
    family = children_of(supervisor)
    children = [pid for pid in children_of(process.pid) if pid not in family and pid != supervisor]
    assert children
    process.send_signal(number)
    process.wait(20)
    try:
        wait_until(lambda: not any(is_running(p) for p in [supervisor, *family]), 30, "the session's end")
        assert any(is_running(p) for p in children)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    (path,) = tmp_path.glob("*.bin")
    report = json.loads(path.with_suffix(".sigmf-meta").read_text())["global"]["fastcap:report"]
    assert_stopped(report, interrupted=True)
