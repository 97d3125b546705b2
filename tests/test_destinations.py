"""A destination that stalls, fails or is slow: nothing is lost, and the report holds what was measured."""

from __future__ import annotations

import errno

import pytest
from engine import assert_law, assert_whole, recording
from support import assert_counter_file, sha256_file, wait_until

import fastcap as fc

WORDS = 4_000_000
BOARD = f"sim://?rate=2MHz&pattern=counter&q={WORDS}"


def test_injected_stall_is_measured_and_survived(tmp_path):
    with recording(BOARD, tmp_path, stalls=[(0.5, 1.0)]) as (finish, _):
        cap = finish()

    assert_whole(cap, WORDS)
    (stall,) = [s for s in cap.report["sink"]["stalls"] if s["for_s"] > 0.4]
    assert stall["at_s"] + stall["for_s"] == pytest.approx(1.5, abs=0.1)


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_stalled_disk_costs_nothing_and_is_measured(tmp_path, faultfs, operation):
    fs = faultfs()
    rule = fs.stall(operation, seconds=1.5, after=1, count=1)
    with recording(BOARD, fs.mount) as (finish, _):
        fs.wait_fired(rule)
        cap = finish()

    assert_whole(cap, WORDS)
    longest = max(s["for_s"] for s in cap.report["sink"]["stalls"])
    (injected,) = fs.log("stall")
    assert longest == pytest.approx((injected.end_ns - injected.start_ns) * 1e-9, rel=0.05)


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["write", "fsync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_error_that_passes_is_tried_again(tmp_path, faultfs, operation, number):
    fs = faultfs()
    rule = fs.error(operation, number, after=1, count=1)
    with recording(BOARD, fs.mount) as (finish, _):
        fs.wait_fired(rule)
        cap = finish()

    assert_whole(cap, WORDS)


@pytest.mark.fuse
def test_failed_fsync_that_threw_data_away_is_made_good(tmp_path, faultfs):
    fs = faultfs()
    rule = fs.error("fsync", errno.EIO, after=1, count=1, lose=True)
    with recording(BOARD, fs.mount) as (finish, _):
        fs.wait_fired(rule)
        cap = finish()

    assert_whole(cap, WORDS)


@pytest.mark.fuse
def test_short_writes_are_continued(tmp_path, faultfs):
    fs = faultfs()
    fs.short_writes(300_001)
    with recording(BOARD, fs.mount) as (finish, _):
        cap = finish()

    assert_whole(cap, WORDS)


@pytest.mark.netns
def test_network_disk_whose_server_stops_for_a_while(tmp_path, netdisk):
    disk = netdisk()
    with recording(BOARD, disk.mount) as (finish, board):
        disk.stop_server()
        seen = board.session.recordings[1]
        wait_until(lambda: (seen.progress.get("backlog_bytes") or 0) > 12 << 20, 20, "a backlog")
        disk.cont_server()
        cap = finish()
        assert_whole(cap, WORDS)


def test_full_ring_drops_whole_words_and_counts_them(tmp_path):
    board = BOARD.replace("rate=2MHz", "rate=10MHz").replace(f"q={WORDS}", "q=14000000")
    with recording(board, tmp_path, ring="16MiB", stalls=[(0.1, 0.6)]) as (finish, _):
        cap = finish()

    report = cap.report
    assert_law(report)
    jumps = assert_counter_file(str(cap.path))
    assert report["words_lost"] > 0
    assert [(at, n) for at, n in jumps] == [
        (e["after_word"] - sum(x["words"] for x in report["ledger"][:k]), e["words"])
        for k, e in enumerate(report["ledger"])
    ]
    assert sha256_file(str(cap.path)) == report["checksum"]["value"]


def test_next_recording_begins_while_the_last_drains(tmp_path):
    source = BOARD.replace(f"q={WORDS}", "q=400000")
    with fc.open(source, ring="64MiB") as board:
        first = board.record(None, tmp_path, stalls=[(0.05, 2.0)], wait=False)
        second = board.record(None, tmp_path, wait=False)
        assert second.sampled
        assert not first.done
        for cap in (first, second):
            assert_whole(cap, 400_000)


def test_split_files_continue_each_other_to_the_word(tmp_path):
    with fc.open(BOARD.replace(f"q={WORDS}", "q=1500000"), ring="64MiB") as board:
        reports = board.record(None, tmp_path, split="0.2s").reports

    index = 0
    for report in reports:
        assert assert_counter_file(report["path"], report["words"], start=index) == []
        index += report["words"]
        assert sha256_file(report["path"]) == report["checksum"]["value"]
    assert index == 1_500_000
    assert len(reports) == 4
