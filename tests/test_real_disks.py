"""Captures to disks of the kernel's own that are unmounted, lose power, freeze, crawl, fill or are cut off.

The board is endless, and a test ends its recording when it has seen what it wants to see, however long that takes.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from engine import arrived_bytes, assert_exact, assert_law, assert_whole, counting, kill, progress, recording
from support import assert_counter_file, need, wait_until

import fastcap as fc
from fastcap import events
from fastcap._ring import SLOTS
from fastcap.events import EventReader

MIB = 1 << 20
BOARD = counting(rate="1MHz")
OFTEN = {"fsync_every": "1MiB"}


def _wait_for_part(folder, size=1):
    """Wait until so much of the file is on the disk."""

    def arrived():
        return any(p.stat().st_size >= size for p in folder.glob("*.part"))

    wait_until(arrived, 20, f"a part file of {size} bytes")


def _wait_told(board, text):
    """Wait until the user is told that something is wrong, in these words."""
    wait_until(lambda: text in (progress(board).get("trouble") or ""), 20, f"'{text}' to be told")


def _wait_well(board):
    """Wait until nothing is wrong any more."""
    wait_until(lambda: progress(board)["trouble"] is None, 20, lambda: f"an end of {progress(board)}")


def _end(board, finish):
    """End the recording with the words that came so far; return the capture."""
    board.session.finish(1)
    return finish()


# -- unmounted -------------------------------------------------------------------------------------------


@pytest.mark.root
def test_disk_unmounted_in_mid_capture_is_told_and_written_on(loopdisk):
    disk = loopdisk("256MiB")
    with recording(BOARD, disk.mount / "run.bin", **OFTEN) as (finish, board):
        _wait_for_part(disk.mount)
        disk.vanish()
        _wait_told(board, "was unmounted")
        assert list(disk.mount.iterdir()) == []
        cap = _end(board, finish)

    assert list(disk.mount.iterdir()) == []
    assert cap.report["sink"]["path_lost_at_s"] > 0
    assert "was unmounted" in repr(cap.report)
    assert not cap.report["complete"]  # nothing is at its path
    assert cap.report.exit_status == 3
    disk.remount()
    assert_exact(cap.report)
    assert cap.report["words_lost"] == 0


@pytest.mark.root
def test_disk_mounted_again_in_mid_capture_is_told(loopdisk):
    disk = loopdisk("256MiB")
    with recording(BOARD, disk.mount / "run.bin", **OFTEN) as (finish, board):
        _wait_for_part(disk.mount)
        disk.vanish()
        _wait_told(board, "was unmounted")
        disk.remount()
        _wait_well(board)
        cap = _end(board, finish)

    assert_whole(cap, cap.report["words"], cut=True)


@pytest.mark.root
def test_writer_whose_predecessors_disk_was_unmounted_waits_for_that_disk(loopdisk):
    disk = loopdisk("256MiB")
    with recording(BOARD, disk.mount / "run.bin", **OFTEN) as (finish, board):
        _wait_for_part(disk.mount, 4 * MIB)
        disk.vanish()
        (disk.mount / "run.bin").write_bytes(b"precious")
        kill("nas_writer")
        _wait_told(board, "mount the one again")
        assert [(p.name, p.read_bytes()) for p in disk.mount.iterdir()] == [("run.bin", b"precious")]
        (disk.mount / "run.bin").unlink()
        disk.remount()
        _wait_well(board)
        cap = _end(board, finish)

    assert cap.report["replaced"]["nas_writer"] == 1
    assert_whole(cap, cap.report["words"], cut=True)


# -- power cuts ------------------------------------------------------------------------------------------


def _durable_bytes(board):
    """Return how many bytes of the stream the writer has reported to be safe on the disk."""
    ring = board.session.attach()
    try:
        begin = next(e.position for e in EventReader(ring).poll() if e.kind == events.START)
        (writer,) = [s for s in map(ring.slot_state, range(SLOTS)) if s["state"] != "FREE"]
        return writer["cursor"] - begin
    finally:
        ring.close()


def _named_reports(folder):
    """Return the reports of the files that have their names, in the order of their words."""
    sidecars = [json.loads(p.with_suffix(".sigmf-meta").read_text())["global"] for p in folder.glob("*.bin")]
    return [g["fastcap:report"] for g in sorted(sidecars, key=lambda g: g["fastcap:first_word"])]


@pytest.mark.root
def test_power_cut_in_mid_capture_leaves_all_that_was_synced(loopdisk):
    disk = loopdisk("256MiB")
    with recording(BOARD, disk.mount, split="0.3s", **OFTEN) as (finish, board):
        told = board.session.recordings[1].files
        wait_until(lambda: len(told) >= 2, 20, "two files")
        named, durable = [f["path"] for f in told], _durable_bytes(board)
        disk.power_cut()
        _wait_told(board, "Input/output error")
        board.session.discard()  # as the machine went down with the disk
        with pytest.raises(fc.WorkerError):
            finish()
    disk.remount()

    reports, word = _named_reports(disk.mount), 0
    for report in reports:
        assert report["complete"]
        word = assert_exact(report, first_word=word)
    assert [r["path"] for r in reports][: len(named)] == named
    header = reports[0]["header"]["bytes"]
    for part in disk.mount.glob("*.bin.part"):
        size = part.stat().st_size - header
        if size > 0:
            assert assert_counter_file(part, start=word, odd_bytes=size % 8) == []
            word += size // 8
    assert word >= (durable - header) // 8


@pytest.mark.root
def test_file_reported_complete_outlives_a_power_cut(loopdisk):
    disk = loopdisk("64MiB")
    with fc.open(counting(100_000), ring="32MiB") as board:
        cap = board.record(None, disk.mount / "run.bin")
        disk.power_cut()
    disk.remount()

    assert sorted(p.name for p in disk.mount.glob("run*")) == ["run.bin", "run.index", "run.sigmf-meta"]
    assert_whole(cap, 100_000)


# -- frozen ----------------------------------------------------------------------------------------------


def _status(board):
    """Return what `fastcap status` says of the recording."""
    argv = [sys.executable, "-P", "-m", "fastcap", "status", "--json"]
    said = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=20).stdout)
    (session,) = [s for s in said["sessions"] if s["folder"] == board.session.folder]
    return session["recordings"][0]


def _stall_in(told, seconds):
    """Return what is told of a recording if a call has lasted longer than that."""
    return told if told["stalled_s"] > seconds else None


@pytest.mark.root
def test_frozen_disk_holds_up_nobody_and_is_told(loopdisk):
    disk = loopdisk("256MiB")
    with recording(BOARD, disk.mount, **OFTEN) as (finish, board):
        _wait_for_part(disk.mount)
        with disk.frozen():
            before = arrived_bytes(board)
            wait_until(lambda: arrived_bytes(board) > before + 4 * MIB, 20, "more words")
            told = wait_until(lambda: _stall_in(_status(board), 0.5), 20, "a call that does not return")
        cap = _end(board, finish)
        assert_whole(cap, cap.report["words"], cut=True)

    assert told["bytes"] >= told["backlog_bytes"] > 2 * MIB
    assert max(s["for_s"] for s in cap.report["sink"]["stalls"]) > told["stalled_s"]


# -- slow ------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_disk_slower_than_the_board_costs_words_that_are_counted_and_no_more(loopdisk):
    need("blkio")
    disk = loopdisk("1GiB")
    board_words = counting(rate="4MHz")
    with recording(board_words, disk.mount, ring="16MiB", **OFTEN) as (finish, board):
        disk.limit(4 * MIB)
        wait_until(lambda: progress(board)["dropped_bytes"], 40, "words that are dropped")
        disk.limit(None)
        dropped, reached = _caught_up(board)
        wait_until(lambda: arrived_bytes(board) > reached + 4 * MIB, 20, "more words")
        cap = _end(board, finish)

        report = cap.report
        assert_law(report, cut=True)
        assert report["complete"]
        assert report["words_lost"] * 8 >= dropped > 0
        assert report["ledger"][0]["after_word"] < report["words"]
        assert_exact(report)


def _caught_up(board):
    """Wait until the ring is all but empty; return the bytes dropped and those that have arrived by then."""
    wait_until(lambda: progress(board)["backlog_bytes"] < 4 * MIB, 40, "an end of the backlog")
    return progress(board)["dropped_bytes"], arrived_bytes(board)


# -- no room behind the disk -----------------------------------------------------------------------------


@pytest.mark.root
def test_what_a_failed_fsync_had_taken_is_written_again(loopdisk):
    disk = loopdisk("64MiB", thin=True)
    disk.exhaust()
    with recording(counting(rate="500kHz"), disk.mount / "run.bin", **OFTEN) as (finish, board):
        _wait_told(board, "cannot fsync")
        disk.relieve()
        _wait_well(board)
        cap = _end(board, finish)
    disk.remount()  # the page cache holds what the disk may not

    assert_whole(cap, cap.report["words"], cut=True)
