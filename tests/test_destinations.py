"""A destination that stalls, fails, fills or is slow: nothing is lost, and the report holds what was measured."""

from __future__ import annotations

import errno
import os
import resource
import threading

import pytest
from engine import (
    arrived_bytes,
    assert_exact,
    assert_only_the_file,
    assert_whole,
    begun_ns,
    counting,
    progress,
    recording,
    workers,
)  # fmt: skip
from support import wait_until

import fastcap as fc
from fastcap._ring import now_ns
from fastcap.errors import SinkError

WORDS = 2_000_000
BOARD = counting(WORDS, rate="2MHz")


# -- stalls --------------------------------------------------------------------------------------------


def test_rehearsed_stall_is_measured_and_survived(tmp_path):
    with recording(BOARD, tmp_path, stalls=[(0.2, 1.7)]) as (finish, _):
        cap = finish()

    assert_whole(cap, WORDS)
    (stall,) = [s for s in cap.report["sink"]["stalls"] if s["at_s"] + s["for_s"] > 1.8]
    assert stall["at_s"] + stall["for_s"] == pytest.approx(1.9, abs=0.3)


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_stalled_disk_costs_nothing_and_is_measured(tmp_path, faultfs, operation):
    fs = faultfs()
    rule = fs.stall(operation, seconds=1.2, count=1)
    with recording(BOARD, fs.mount) as (finish, board):
        fs.wait_fired(rule)
        begun = begun_ns(board)
        cap = finish()

    assert_whole(cap, WORDS)
    (injected,) = fs.log("stall")
    longest = max(cap.report["sink"]["stalls"], key=lambda s: s["for_s"])
    lasted_s = (injected.end_ns - injected.start_ns) * 1e-9
    assert longest["for_s"] == pytest.approx(lasted_s, abs=0.5)  # a busy machine wakes the writer late
    assert longest["at_s"] == pytest.approx((injected.start_ns - begun) * 1e-9, abs=0.5)


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["getattr", "create", "statfs"])
def test_source_does_not_wait_for_a_destination_that_stalls_at_the_start(tmp_path, faultfs, operation):
    fs = faultfs()
    rule = fs.stall(operation)
    with recording(BOARD, fs.mount / "run.bin") as (finish, board):
        assert arrived_bytes(board) > 0
        assert [i.op for i in fs.active()] == [operation]
        assert not list(fs.backing.glob("run.bin"))
        begun = begun_ns(board)
        wait_until(lambda: now_ns() - begun > 500_000_000, 5, "a stall")
        fs.clear(rule)
        cap = finish()

    assert_whole(cap, WORDS)
    assert_only_the_file(fs.backing)
    (injected,) = fs.log("stall")
    (stall,) = [s for s in cap.report["sink"]["stalls"] if s["at_s"] == 0]
    assert stall["for_s"] == pytest.approx((injected.end_ns - begun) * 1e-9, abs=0.1)


@pytest.mark.fuse
def test_source_waits_for_a_destination_that_is_to_be_checked_first(tmp_path, faultfs):
    fs = faultfs()
    rule = fs.stall("create", seconds=1.0)
    boards, captures = [], []

    def record() -> None:
        with fc.open(counting(WORDS // 4), ring="32MiB") as board:
            boards.append(board)
            captures.append(board.record(None, fs.mount / "run.bin", check_first=True))

    thread = threading.Thread(target=record)
    thread.start()
    fs.wait_fired(rule)
    wait_until(lambda: boards and progress(boards[0]), 20, "progress")
    seen = progress(boards[0])["elapsed_s"]
    wait_until(lambda: progress(boards[0])["elapsed_s"] > seen + 0.3 or not fs.active(), 20, "time to pass")
    assert fs.active()
    assert progress(boards[0])["state"] == "preparing"
    assert not arrived_bytes(boards[0])
    thread.join(20)
    assert_whole(captures[0], WORDS // 4)


@pytest.mark.fuse
def test_slow_disk_is_caught_up_with_afterwards(tmp_path, faultfs):
    fs = faultfs()
    fs.throttle(12_000_000)
    with fc.open(BOARD.replace("2MHz", "5MHz"), ring="64MiB") as board:
        cap = board.record(None, fs.mount, wait=False)
        assert cap.sampled
        assert not cap.done
        assert_whole(cap, WORDS)


@pytest.mark.netns
def test_network_disk_whose_server_stops_for_a_while(tmp_path, netdisk):
    disk = netdisk()
    with recording(BOARD, disk.mount) as (finish, board):
        disk.stop_server()
        wait_until(lambda: (progress(board).get("backlog_bytes") or 0) > 12_000_000, 20, "a backlog")
        disk.cont_server()
        cap = finish()
        assert_whole(cap, WORDS)


@pytest.mark.netns
def test_network_disk_whose_cable_is_pulled_for_a_while(tmp_path, netdisk):
    disk = netdisk()
    with recording(counting(rate="1MHz"), disk.mount) as (finish, board):
        wait_until(lambda: any(p.stat().st_size for p in disk.backing.glob("*.part")), 20, "a part file")
        disk.link_down()
        try:
            before = arrived_bytes(board)
            wait_until(lambda: arrived_bytes(board) > before + 4_000_000, 20, "more words")
            stalled_s = wait_until(lambda: _stall_above(board, 0.5), 20, "a call that does not return")
        finally:
            disk.link_up()
        board.session.finish(1)
        cap = finish()
        assert_whole(cap, cap.report["words"], cut=True)

    assert max(s["for_s"] for s in cap.report["sink"]["stalls"]) > stalled_s


def _stall_above(board, seconds):
    """Return for how long the writer's call has lasted, 0 if that is not above ``seconds``."""
    stalled_s = progress(board)["stalled_s"]
    return stalled_s if stalled_s > seconds else 0


# -- errors that pass ----------------------------------------------------------------------------------


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EROFS])
def test_error_that_passes_is_tried_again(tmp_path, faultfs, operation, number):
    fs = faultfs()
    rule = fs.error(operation, number, after=1, count=1)
    with recording(BOARD, fs.mount) as (finish, _):
        fs.wait_fired(rule)
        cap = finish()

    assert_whole(cap, WORDS)


@pytest.mark.fuse
@pytest.mark.parametrize("carry_out", [False, True])
@pytest.mark.parametrize("operation", ["rename", "fsyncdir", "flush", "fsync", "open", "create"])
def test_error_while_the_file_is_completed_is_tried_again(tmp_path, faultfs, operation, carry_out):
    fs = faultfs()
    with fc.open(counting(WORDS // 4), ring="32MiB") as board:
        cap = board.record(None, fs.mount, stalls=[(0.0, 0.6)], wait=False)
        fs.error(operation, errno.EIO, count=2, carry_out=carry_out)
        cap.wait(60)
        fs.clear()  # some of these calls are not made while a file is completed
        assert_whole(cap, WORDS // 4)

    assert_only_the_file(fs.backing)


@pytest.mark.fuse
def test_failed_fsync_that_threw_data_away_is_made_good(tmp_path, faultfs):
    fs = faultfs()
    rule = fs.error("fsync", errno.EIO, after=1, count=1, lose=True)
    with recording(BOARD, fs.mount) as (finish, _):
        fs.wait_fired(rule)
        cap = finish()

    assert_whole(cap, WORDS)


@pytest.mark.fuse
def test_failed_fsync_that_threw_a_split_files_header_away_is_made_good(faultfs):
    fs = faultfs()
    rule = fs.error("fsync", errno.EIO, path="run_0001.bin.part", count=1, lose=True)
    with fc.open(counting(300_000, rate="1MHz"), ring="16MiB") as board:
        reports = board.record(None, fs.mount / "run.bin", split="0.1s").reports
    fs.wait_fired(rule)

    word = 0
    for report in reports:
        word = assert_exact(report, first_word=word)
    assert word == 300_000
    assert len({r["header"]["bytes"] for r in reports}) == 1


@pytest.mark.fuse
def test_short_writes_are_continued(tmp_path, faultfs):
    fs = faultfs()
    fs.short_writes(300_001)
    with recording(BOARD, fs.mount) as (finish, _):
        cap = finish()

    assert_whole(cap, WORDS)


@pytest.mark.fuse
def test_short_writes_between_split_files_are_continued(tmp_path, faultfs):
    fs = faultfs()
    fs.short_writes(99)
    with fc.open(counting(3_000, rate="1MHz"), ring="16MiB") as board:
        reports = board.record(None, fs.mount, split="1ms").reports

    assert [r["words"] for r in reports] == [1000, 1000, 1000]
    assert len({r["header"]["bytes"] for r in reports}) == 1


@pytest.mark.fuse
def test_full_quota_is_waited_for(tmp_path, faultfs):
    fs = faultfs()
    rule = fs.full(3_000_000, errno.EDQUOT)
    with recording(BOARD, fs.mount) as (finish, board):
        fs.wait_fired(rule)
        trouble = wait_until(lambda: progress(board).get("trouble"), 20, "that it is told")
        fs.clear(rule)
        cap = finish()

    assert "quota" in trouble
    assert_whole(cap, WORDS)


@pytest.mark.root
def test_full_disk_is_waited_for(tmp_path, loopdisk):
    disk = loopdisk("32MiB")
    ballast = disk.mount / "ballast"
    with ballast.open("wb") as f:
        os.posix_fallocate(f.fileno(), 0, 20 << 20)
    with recording(BOARD, disk.mount) as (finish, board):
        trouble = wait_until(lambda: progress(board).get("trouble"), 20, "that it is told")
        ballast.unlink()
        cap = finish()
        assert_whole(cap, WORDS)

    assert "No space left" in trouble
    assert not progress(board).get("dropped_bytes")


def test_limit_on_file_sizes_is_waited_for(tmp_path):
    with recording(counting(rate="1MHz"), tmp_path, fsync_every="1MiB") as (finish, board):
        wait_until(lambda: list(tmp_path.glob("*.part")), 20, "a part file")
        writer = workers("nas_writer")[0]
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (6_000_001, resource.RLIM_INFINITY))
        trouble = wait_until(lambda: progress(board).get("trouble"), 20, "that it is told")
        before = arrived_bytes(board)
        wait_until(lambda: arrived_bytes(board) > before + 1_000_000, 20, "more words")
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: progress(board)["trouble"] is None, 20, "an end of the trouble")
        board.session.finish(1)
        cap = finish()

    assert "File too large; raise the limit on file sizes" in trouble
    assert cap.report["replaced"]["nas_writer"] == 0
    assert_whole(cap, cap.report["words"], cut=True)


# -- destinations that will not do ----------------------------------------------------------------------


def _refused(to, match):
    with fc.open(counting(WORDS // 4), ring="32MiB") as board, pytest.raises(SinkError, match=match):
        board.record(None, to)


def test_missing_directory_is_refused(tmp_path):
    _refused(tmp_path / "nowhere" / "run.bin", "create the directory")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.bin", "run.sigmf-meta", "run.bin.part"])
def test_what_exists_is_never_overwritten(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    _refused(tmp_path / "run.bin", "never overwritten")
    assert (tmp_path / name).read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    with recording(counting(rate="1MHz"), tmp_path / "run.bin") as (finish, board):
        (tmp_path / "run.bin").write_bytes(b"precious")
        board.session.finish(1)
        cap = finish()

    assert (tmp_path / "run.bin").read_bytes() == b"precious"
    assert cap.path.parent == tmp_path
    assert_whole(cap, cap.report["words"], cut=True)


@pytest.mark.fuse
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_destination_that_cannot_be_written_is_refused(tmp_path, faultfs, number):
    fs = faultfs()
    fs.error("create", number, count=None)
    _refused(fs.mount / "run.bin", os.strerror(number))
    assert list(fs.backing.iterdir()) == []


@pytest.mark.fuse
def test_mount_that_vanishes_does_not_turn_into_the_directory_beneath(tmp_path, faultfs):
    fs = faultfs()
    with recording(BOARD, fs.mount / "run.bin") as (finish, _):
        wait_until(lambda: list(fs.backing.glob("*.part")), 20, "a part file")
        fs.vanish()
        cap = finish()
        assert list(fs.mount.iterdir()) == []

    assert_only_the_file(fs.backing)
    assert (fs.backing / "run.bin").stat().st_size == cap.report["bytes"]
