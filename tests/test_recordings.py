"""What is recorded, to the word: lengths, splits, drops, torn streams, and recordings that follow each other."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from engine import (
    arrived_bytes,
    assert_exact,
    assert_law,
    assert_only_the_file,
    assert_whole,
    counting,
    hold_writer_until_words_are_dropped,
    recording,
    workers,
)  # fmt: skip
from support import assert_counter_file, sha256_file, wait_until

import fastcap as fc
from fastcap.errors import SourceError
from fastcap.stream import build_header, header_bytes, parse_header
from fastcap.workers.statusfile import read_all

WORDS = 400_000


def _file(folder: Path, words: int) -> Path:
    """Write a counter-patterned capture as a board would, and return its path."""
    path = folder / "source.bin"
    with path.open("wb") as f:
        argv = [
            sys.executable,
            "-P",
            "-m",
            "fastcap.sim.board",
            "-q",
            str(words),
            "-s",
            "0",
            "-l",
            "-b",
            "-v",
            "3",
        ]
        subprocess.run([*argv, "--pattern", "counter", "--speed", "max"], stdout=f, check=True)
    return path


# -- one after the other -----------------------------------------------------------------------------


def test_recordings_of_one_board_share_a_session(tmp_path):
    with fc.open(counting(WORDS), ring="64MiB") as board:
        captures = [board.record(None, tmp_path / f"{n}.bin") for n in range(4)]
        sessions = {cap.recording.session.folder for cap in captures}
        for cap in captures:
            assert_whole(cap, WORDS)

    assert len(sessions) == 1


@pytest.mark.fuse
def test_next_recording_begins_while_the_last_drains(faultfs):
    fs = faultfs()
    fs.stall("fsync")
    with fc.open(counting(WORDS), ring="64MiB") as board:
        first = board.record(None, fs.mount, wait=False)
        second = board.record(None, fs.mount, wait=False)
        assert second.sampled
        assert not first.done
        fs.clear()
        for cap in (first, second):
            assert_whole(cap, WORDS)
        assert first.path != second.path


@pytest.mark.fuse
def test_more_recordings_than_the_ring_has_slots_wait_for_their_turn(tmp_path, faultfs):
    fs = faultfs()
    rule = fs.stall("fsync", path="*.bin.part")
    captures, errors = [], []

    def record_many():
        try:
            for k in range(30):
                captures.append(board.record(samples=1000, to=str(fs.mount / f"r{k}.bin"), wait=False))
        except BaseException as error:
            errors.append(error)

    with fc.open("sim://?rate=2MHz&pattern=counter", ring="32MiB") as board:
        thread = threading.Thread(target=record_many)
        thread.start()
        wait_until(lambda: len(captures) >= 20, 60, "20 recordings to be sampled")
        thread.join(3)  # the others would begin in this time
        assert len(captures) < 24
        fs.clear(rule)
        thread.join(120)
        assert errors == []
        reports = [capture.report for capture in captures]

    assert [report["words"] for report in reports] == [1000] * 30
    assert all(report["complete"] and report["words_lost"] == 0 for report in reports)
    assert all(not any(report["replaced"].values()) for report in reports)


@pytest.mark.fuse
def test_oldest_recording_is_written_first(tmp_path, faultfs):
    fs = faultfs()
    fs.throttle(4 << 20)
    with fc.open("sim://?rate=2MHz&pattern=counter", ring="64MiB") as board:
        captures = [
            board.record(samples=250_000, to=str(fs.mount / f"r{k}.bin"), wait=False) for k in range(5)
        ]

        seen = []
        while not all(capture.done for capture in captures):
            seen.append([_size(fs.backing / f"r{k}.bin") for k in range(5)])
        assert all(capture.report["complete"] for capture in captures)

    whole = _size(fs.backing / "r0.bin")
    partly = [sum(0 < size < whole for size in sizes) for sizes in seen]
    assert max(partly) == 1


def _size(path):
    """Return the size of a file, complete or not; 0 if there is none."""
    for name in (path, path.with_name(f"{path.name}.part")):
        with contextlib.suppress(FileNotFoundError):
            return name.stat().st_size
    return 0


def test_recordings_that_are_not_waited_for_are_complete_when_the_board_is_closed(tmp_path):
    with fc.open(counting(WORDS), ring="64MiB") as board:
        captures = [board.record(None, tmp_path / f"{n}.bin", wait=False) for n in range(3)]

    for cap in captures:
        assert cap.done
        assert_whole(cap, WORDS)


def test_recording_is_stopped_by_an_error_of_the_caller_and_kept(tmp_path):
    def record_and_fail() -> None:
        with fc.open(counting(), ring="64MiB") as board:
            recorder = threading.Thread(target=lambda: board.record(None, tmp_path))
            recorder.start()
            threads.append(recorder)
            wait_until(
                lambda: [p for p in tmp_path.glob("*.part") if p.stat().st_size > 1 << 20], 20, "bytes"
            )
            raise RuntimeError("mine")

    threads: list[threading.Thread] = []
    with pytest.raises(RuntimeError, match="mine"):
        record_and_fail()
    threads[0].join(20)

    (sidecar,) = tmp_path.glob("*.sigmf-meta")
    report = json.loads(sidecar.read_text())["global"]["fastcap:report"]
    assert report["interrupted"]
    assert not report["complete"]
    assert_law(report)
    assert_exact(report)


def test_two_boards_record_at_once(tmp_path):
    with fc.open(counting(WORDS), ring="32MiB") as one, fc.open(counting(WORDS), ring="32MiB") as other:
        captures = [b.record(None, tmp_path / f"{n}.bin", wait=False) for n, b in enumerate((one, other))]
        for cap in captures:
            assert_whole(cap, WORDS)


# -- lengths and splits ------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [1, 12_345, 262_144])
def test_samples_are_cut_at_the_exact_word_whatever_the_source_goes_on_to_say(tmp_path, words):
    source = _file(tmp_path, WORDS)
    (to := tmp_path / "to").mkdir()
    with fc.open(["cat", str(source)], ring="32MiB") as board:
        cap = board.record(None, to, samples=words)

    assert_whole(cap, words, cut=True)
    assert_only_the_file(to)


def test_seconds_are_cut_at_the_exact_word_by_the_rate_that_the_header_tells(tmp_path):
    source = _file(tmp_path, WORDS)
    with fc.open(["cat", str(source)], ring="32MiB") as board:
        cap = board.record("12.3456ms", tmp_path)

    assert_whole(cap, 123_456, cut=True)
    assert cap.report["duration_s"] == pytest.approx(0.0123456, abs=1e-9)


def test_source_shorter_than_asked_is_not_complete(tmp_path):
    source = _file(tmp_path, WORDS)
    with fc.open(["cat", str(source)], ring="32MiB") as board:
        report = board.record(None, tmp_path, samples=WORDS + 1).report

    assert not report["complete"]
    assert report["words"] == WORDS
    assert_law(report)


def test_source_that_never_ends_is_stopped_at_the_cut(tmp_path):
    with fc.open(["sh", "-c", f"cat {_file(tmp_path, WORDS)}; exec sleep 1000"], ring="32MiB") as board:
        cap = board.record(None, tmp_path, samples=100_001)

    assert_whole(cap, 100_001, cut=True)
    assert cap.report["source"]["exit_status"] == -15


def test_split_files_continue_each_other_to_the_word(tmp_path):
    words = 5_500_000
    with fc.open(counting(words), ring="64MiB") as board:
        reports = board.record(None, tmp_path, split="0.2s").reports

    assert [r["words"] for r in reports] == [2_000_000, 2_000_000, 1_500_000]
    index = 0
    for report in reports:
        meta = json.loads(Path(report["path"]).with_suffix(".sigmf-meta").read_text())["global"]
        assert meta["fastcap:first_word"] == index
        index = assert_exact(report, first_word=index)
    assert index == words
    assert_law(*reports)


def test_split_files_have_headers_that_tell_their_own_start(tmp_path):
    with fc.open(counting(2_500_000, rate="1MHz", speed="max"), ring="64MiB") as board:
        reports = board.record(None, tmp_path, split="1s").reports

    headers = []
    for report in reports:
        raw = Path(report["path"]).read_bytes()[:4096]
        headers.append(parse_header(raw[: header_bytes(raw)]))
    assert [(h.start - headers[0].start).total_seconds() for h in headers] == [0, 1, 2]
    assert {h.argv for h in headers} == {headers[0].argv}


def test_split_files_stay_true_over_words_that_were_dropped(tmp_path):
    words = 12_000_000
    with recording(counting(words), tmp_path, ring="16MiB", split="0.13s") as (finish, board):
        hold_writer_until_words_are_dropped(board)
        reports = finish().reports

    assert sum(r["words_lost"] for r in reports) > 0
    index = 0
    for report in reports:
        meta = json.loads(Path(report["path"]).with_suffix(".sigmf-meta").read_text())["global"]
        assert meta["fastcap:first_word"] == index
        index = assert_exact(report, first_word=index)
    assert index == words
    assert_law(*reports)
    assert sum(r["words_lost"] for r in reports) * 8 == reports[-1]["accounting"]["lost_bytes"]


# -- a full ring -------------------------------------------------------------------------------------


def test_full_ring_drops_whole_words_and_counts_them(tmp_path):
    words = 12_000_000
    with recording(counting(words), tmp_path, ring="16MiB") as (finish, board):
        hold_writer_until_words_are_dropped(board)
        report = finish().report

    assert_law(report)
    assert report["words_lost"] > 0
    assert assert_exact(report) == words


def test_drops_are_exact_whatever_the_sizes_of_the_writes(tmp_path):
    words = 16_000_000
    source = counting(words, chunk="random:7", rate="5MHz")
    with recording(source, tmp_path, ring="8MiB") as (finish, board):
        hold_writer_until_words_are_dropped(board)
        hold_writer_until_words_are_dropped(board)
        report = finish().report

    assert_law(report)
    assert len(report["ledger"]) >= 2
    assert assert_exact(report) == words


def test_source_that_can_wait_is_never_dropped(tmp_path):
    words = 8_000_000
    source = _file(tmp_path, words)
    with fc.open(f"file://{source}", ring="8MiB") as board:
        cap = board.record(None, tmp_path, stalls=[(0.02, 0.7)])

    assert_whole(cap, words)
    assert cap.report["ring"]["high_water_bytes"] > 6 << 20


def test_board_can_be_made_to_wait(tmp_path):
    with fc.open(counting(8_000_000, speed="max"), ring="8MiB") as board:
        cap = board.record(None, tmp_path, stalls=[(0.02, 0.7)], on_full="wait")

    assert_whole(cap, 8_000_000)


# -- streams that are not as they should be ------------------------------------------------------------


def test_source_that_dies_in_a_word_leaves_its_odd_bytes_in_the_file(tmp_path):
    with fc.open(counting(fault=f"die@{WORDS}+3"), ring="32MiB") as board:
        report = board.record(None, tmp_path).report

    assert_law(report)
    assert report["words"] == WORDS
    assert report["odd_bytes"] == 3
    assert not report["complete"]
    assert report["source"]["exit_status"] == 1
    assert assert_counter_file(report["path"], WORDS, odd_bytes=3) == []
    assert sha256_file(report["path"]) == report["checksum"]["value"]


def test_exit_status_of_the_source_is_told(tmp_path):
    with fc.open(counting(fault=f"exit@{WORDS}:7"), ring="32MiB") as board:
        report = board.record(None, tmp_path).report

    assert report["source"]["exit_status"] == 7
    assert not report["complete"]
    assert assert_counter_file(report["path"], WORDS) == []
    assert_law(report)


def _start_of(trace):
    return {"start": trace.start.timestamp()}


def test_start_is_when_the_first_bytes_came(tmp_path):
    source = _file(tmp_path, WORDS)
    before = time.time()
    with fc.open(["sh", "-c", f"sleep 1; exec cat {source}"], ring="32MiB") as board:
        cap = board.record(None, tmp_path, analyse=_start_of)

    started = datetime.fromisoformat(cap.report["started"])
    assert abs(cap.report["analysis"]["function"]["result"]["start"] - started.timestamp()) < 0.1
    assert before + 1 <= started.timestamp() <= time.time()
    assert cap.trace().start == started


def test_stream_without_a_byte_is_an_error_and_the_session_goes_on(tmp_path):
    flag = tmp_path / "second"
    source = _file(tmp_path, WORDS)
    (to := tmp_path / "to").mkdir()
    script = f"if test -e {flag}; then exec cat {source}; fi; echo no light >&2; exit 4"
    with fc.open(["sh", "-c", script], ring="32MiB") as board:
        with pytest.raises(SourceError, match=r"exit status 4.*no light"):
            board.record(None, to)
        wait_until(lambda: not list(to.iterdir()), 20, "nothing left of it")
        flag.touch()
        cap = board.record(None, to)

    assert_whole(cap, WORDS)
    assert_only_the_file(to)


def test_source_that_is_no_program_and_gives_no_byte_has_no_exit_status(tmp_path):
    (tmp_path / "empty").touch()
    _assert_refused(tmp_path / "empty", r"ended without a byte$")


def test_source_that_cannot_be_read_from_the_first_byte_on_says_why():
    _assert_refused(Path("/proc/self/mem"), r"cannot be read: Input/output error$")


def _assert_refused(source: Path, message: str) -> None:
    """Assert that recording from an open descriptor of ``source`` ends with an error."""
    with (
        source.open("rb") as file,
        fc.open(file.fileno(), ring="32MiB") as board,
        pytest.raises(SourceError, match=message),
    ):
        board.record(None, "none")


@pytest.mark.parametrize("header", ["torn", "garbage", "missing"])
def test_bytes_after_a_wrong_header_are_kept_as_they_came(tmp_path, header):
    argv = [
        sys.executable,
        "-P",
        "-m",
        "fastcap.sim.board",
        "-q",
        str(WORDS),
        "-s",
        "4",
        "-l",
        "-b",
        "-v",
        "3",
    ]
    argv += ["--pattern", "counter", "--speed", "max", "--header", header]
    said = tmp_path / "said"
    with fc.open(["sh", "-c", f"{' '.join(argv)} | tee {said}"], ring="32MiB") as board:
        report = board.record(None, tmp_path).report

    assert report["header"]["error"]
    assert not report["complete"]
    assert Path(report["path"]).read_bytes() == said.read_bytes()
    assert report["bytes"] == said.stat().st_size
    assert sha256_file(report["path"]) == report["checksum"]["value"]
    assert_law(report)


def test_header_that_ends_with_the_stream_is_kept(tmp_path):
    header = build_header(
        ["teststream", "-s", "4", "-l", "-b"], __import__("datetime").datetime.now().astimezone()
    )
    (torn := tmp_path / "torn").write_bytes(header[:-5])
    with fc.open(["cat", str(torn)], ring="32MiB") as board:
        report = board.record(None, tmp_path).report

    assert "torn" in report["header"]["error"]
    assert Path(report["path"]).read_bytes() == header[:-5]
    assert_law(report)


# -- other sources, other sinks ------------------------------------------------------------------------


def test_descriptor_is_read_to_its_end(tmp_path):
    raw = _file(tmp_path, WORDS).read_bytes()
    ours, theirs = os.pipe()

    def write() -> None:
        with os.fdopen(theirs, "wb") as f:
            f.write(raw)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with fc.open(ours, ring="8MiB") as board:
            cap = board.record(None, tmp_path)
    finally:
        writer.join(20)
        os.close(ours)

    assert_whole(cap, WORDS)


def test_standard_input_is_read_to_its_end(tmp_path):
    (to := tmp_path / "to").mkdir()
    code = (
        f"import fastcap as fc\nwith fc.open('-', ring='8MiB') as b: print(b.record(None, {str(to)!r}).path)"
    )
    with _file(tmp_path, WORDS).open("rb") as f:
        ended = subprocess.run(
            [sys.executable, "-c", code], stdin=f, stdout=subprocess.PIPE, text=True, check=True
        )

    assert assert_counter_file(ended.stdout.strip(), WORDS) == []
    assert_only_the_file(to)


def test_analysis_runs_without_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with fc.open(counting(WORDS), ring="32MiB") as board:
        cap = board.record(None, "none", statistics=True)

    report = cap.report
    assert cap.path is None
    assert report["words"] == WORDS
    assert report["analysis"]["words"] == WORDS
    assert report["complete"]
    assert_law(report)
    assert list(tmp_path.iterdir()) == []


def test_device_is_refused_while_it_is_read_and_free_while_the_file_drains(tmp_path):
    (device := tmp_path / "device").touch()
    argv = [
        sys.executable,
        "-P",
        "-m",
        "fastcap.sim.board",
        "-U",
        str(device),
        "-l",
        "-s",
        "4",
        "-b",
        "-v",
        "3",
    ]
    argv += ["--pattern", "counter", "--fifo", "512MiB"]
    with fc.open(argv, ring="64MiB") as one, fc.open(argv, ring="64MiB") as other:
        first = one.begin_capture = threading.Thread(
            target=lambda: one.record(
                None, tmp_path / "1.bin", samples=4_000_000, stalls=[(0.1, 8.0)], wait=False
            )
        )
        first.start()
        wait_until(
            lambda: one.session and one.session.recordings and one.session.recordings[1].running, 20, "it"
        )
        with pytest.raises(SourceError, match="in use"):
            other.record(None, tmp_path / "2.bin", samples=1000)
        first.join(20)
        assert not one.session.recordings[1].done
        second = other.record(None, tmp_path / "3.bin", samples=1000)
        assert not one.session.recordings[1].done
        assert_whole(second, 1000)

    assert assert_counter_file(tmp_path / "1.bin", 4_000_000) == []
    assert not (tmp_path / "2.bin").exists()
    assert not (tmp_path / "2.bin.part").exists()


@pytest.mark.parametrize("chunk", [4096, 2056])  # a page each; half a page, whose rest stays empty
def test_time_that_the_pipe_stood_full_is_counted(tmp_path, chunk):
    options = {"ring": "4MiB", "on_full": "wait", "fsync_every": "256KiB", "stalls": [(0.2, 4.0)]}
    with recording(counting(6_000_000, rate="2MHz", chunk=chunk), tmp_path, **options) as (finish, _):
        cap = finish()

    assert_whole(cap, 6_000_000)
    assert (
        0.5 < cap.report["pipe_full_s"] < 4.0
    )  # ring and pipe hold 0.33 s of the stall; a busy board is later


def test_time_that_a_pipe_stood_full_before_a_late_reader_is_counted(tmp_path):
    with recording(counting(10_000_000), tmp_path) as (finish, board):
        wait_until(lambda: arrived_bytes(board) > 8_000_000, 30, "a rate is known")
        reader = workers("reader")[0]
        start_s = time.monotonic()
        os.kill(reader, signal.SIGSTOP)
        wait_until(lambda: time.monotonic() - start_s > 0.4, 5, "the pipe is full long enough to be told")
        os.kill(reader, signal.SIGCONT)
        stopped_s = time.monotonic() - start_s
        cap = finish()

    assert_whole(cap, 10_000_000)
    assert stopped_s - 0.1 < cap.report["pipe_full_s"] < stopped_s + 0.3


def test_a_silent_source_that_then_sends_a_burst_did_not_fill_the_pipe(tmp_path):
    quiet = counting(6_000_000, rate="2MHz", fault="stall@2000000:1s")

    with fc.open(quiet) as board:
        cap = board.record(None, tmp_path / "run.bin")

    assert_whole(cap, 6_000_000)
    assert cap.report["pipe_full_s"] < 0.4


def test_status_holds_a_recording_as_soon_as_it_runs(tmp_path):
    with fc.open(counting(2_000_000, rate="2MHz"), ring="32MiB") as board:
        thread = threading.Thread(target=lambda: board.record(None, tmp_path / "run.bin"))
        thread.start()
        wait_until(
            lambda: board.session and board.session.recordings and board.session.recordings[1].running,
            20,
            "it",
        )
        (own,) = [s for s in read_all() if s["folder"] == board.session.folder]
        thread.join()

    assert [r["recording"] for r in own["recordings"]] == [1]


def test_closed_board_leaves_no_socket(tmp_path):
    there = _sockets()
    gc.disable()  # which would hide what is not closed
    try:
        with fc.open(counting(1000, speed="max"), ring="32MiB") as board:
            board.record(None, tmp_path)
        left = _sockets() - there
    finally:
        gc.enable()

    assert left == set()


def _sockets() -> set[str]:
    """Return this process's open sockets."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}
