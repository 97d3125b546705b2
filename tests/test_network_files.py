"""What others do to a file on the server of a network disk: its mount tells of names there, not of open files."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest
from engine import (
    assert_exact,
    assert_law,
    assert_whole,
    counting,
    disturbed_before_its_name,
    kill,
    progress,
    recording,
)
from support import InThread, remove_tree, requires_netns, wait_until

import fastcap as fc
from fastcap import spec

BOARD = counting(rate="1MHz")
MIB = 1 << 20


def _remove(part: Path) -> None:
    part.unlink()


def _move_away(part: Path) -> None:
    part.rename(part.parent / "elsewhere")


def _replace(part: Path) -> None:
    (part.parent / "other").write_bytes(b"precious")
    (part.parent / "other").rename(part)


def _replace_by_one_as_large(part: Path) -> None:
    (part.parent / "other").write_bytes(bytes(part.stat().st_size))
    (part.parent / "other").rename(part)


def _remove_directory(part: Path) -> None:
    remove_tree(part.parent)


@requires_netns
@pytest.mark.parametrize("what", [_remove, _move_away, _replace, _replace_by_one_as_large, _remove_directory])
def test_file_that_goes_on_the_server_is_copied_from_the_open_one(netdisk, what):
    disk = netdisk()
    (disk.mount / "run").mkdir()
    part = disk.backing / "run" / "run.bin.part"
    with recording(BOARD, disk.mount / "run" / "run.bin", fsync_every="1MiB") as (finish, board):
        wait_until(lambda: part.exists() and part.stat().st_size >= 3 * MIB, 20, "3 MiB on the server")
        what(part)
        wait_until(lambda: progress(board).get("trouble"), 20, "that it is told")
        before = progress(board)["bytes"]
        wait_until(lambda: progress(board)["bytes"] > before + 2 * MIB, 20, "more words")
        board.session.finish(1)
        cap = finish()

    (incident,) = cap.report["sink"]["incidents"]
    assert "it is copied to" in incident["text"]
    assert_whole(cap, cap.report["words"], cut=True)
    assert cap.report.exit_status == 0
    assert cap.path == disk.mount / "run" / "run-2.bin"
    if "replace" in what.__name__:
        assert part.read_bytes()[:8] in (b"precious", bytes(8))


@requires_netns
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("split", [None, "0.3s"])
def test_mount_that_died_and_came_back_is_gone_on_in(netdisk, split, killed):
    disk = netdisk()
    held = os.open(disk.mount, os.O_RDONLY)  # its device number is not given to the next one
    with recording(BOARD, disk.mount / "run.bin", split=split, fsync_every="1MiB") as (finish, board):
        seen = "run_0001.bin.part" if split else "run.bin.part"
        part = disk.backing / seen
        wait_until(lambda: part.exists() and part.stat().st_size >= MIB, 20, "the file on the server")
        disk.kill_client()
        wait_until(lambda: "not connected" in (progress(board).get("trouble") or ""), 20, "that it is told")
        if killed:
            kill("nas_writer")
        disk.mount_anew()
        wait_until(lambda: progress(board)["trouble"] is None, 20, lambda: f"an end of {progress(board)}")
        before = progress(board)["bytes"]
        wait_until(lambda: progress(board)["bytes"] > before + 4 * MIB, 20, "more words")
        board.session.finish(1)
        reports = finish().reports
    os.close(held)

    index = 0
    for report in reports:
        assert report["complete"], report["sink"]
        assert Path(report["path"]).parent == disk.mount
        index = assert_exact(report, first_word=index)
    assert_law(*reports, cut=True)
    assert all(report["words_lost"] == 0 for report in reports)
    assert not list(disk.backing.glob("*.part"))


@pytest.mark.fuse
@pytest.mark.parametrize(
    "held", [("fsync", "run.sigmf-meta.part"), ("rename", "run.bin.part"), ("fsyncdir", "*")]
)
def test_mount_that_dies_while_a_file_gets_its_name_and_comes_back(faultfs, held):
    fs = faultfs()
    op, path = held
    rule = fs.stall(op, path=path)
    with recording(counting(300_000, rate="1MHz"), fs.mount / "run.bin") as (finish, _):
        fs.wait_fired(rule)
        fs.kill_server()
        fs.vanish()
        faultfs()
        cap = finish()

    assert_whole(cap, 300_000)
    assert cap.path == fs.mount / "run.bin"
    assert not list(fs.backing.glob("*.part"))


@requires_netns
@pytest.mark.parametrize("killed", [False, True])
def test_directory_beneath_a_mount_that_died_is_not_taken_for_it(netdisk, killed):
    disk = netdisk()
    with recording(BOARD, disk.mount / "run.bin", fsync_every="1MiB") as (finish, board):
        part = disk.backing / "run.bin.part"
        wait_until(lambda: part.exists() and part.stat().st_size >= 10 * MIB, 20, "the file on the server")
        held = os.open(disk.mount, os.O_RDONLY)
        disk.kill_client()
        disk.vanish()
        other = disk.mount / "run.bin.part"
        other.write_bytes(bytes(12 * MIB))
        if killed:
            kill("nas_writer")
        wait_until(lambda: progress(board).get("trouble"), 20, "that it is told")
        before = progress(board)["bytes"]
        wait_until(lambda: progress(board)["bytes"] > before + 16 * MIB, 20, "some tries")
        assert other.read_bytes() == bytes(12 * MIB)
        assert os.listdir(disk.mount) == [other.name]
        disk.mount_anew()
        cap = _end(board, finish)
    os.close(held)

    assert_whole(cap, cap.report["words"], cut=True)
    assert cap.path == disk.mount / "run.bin"


@requires_netns
@pytest.mark.parametrize("killed", [False, True])
def test_mount_that_comes_back_before_the_last_sidecar_gets_it(netdisk, tmp_path, killed):
    disk, opened, go = netdisk(), tmp_path / "opened", tmp_path / "go"

    def analyse(tr):
        words = len(tr)
        opened.touch()
        while not go.exists():
            time.sleep(0.01)
        return {"words": words}

    with fc.open(counting(300_000), ring="32MiB") as board:
        held = os.open(disk.mount, os.O_RDONLY)  # its device number is not given to the next one
        call = InThread(lambda: board.record(None, disk.mount / "run.bin", analyse=analyse))
        wait_until(opened.exists, 20, "the complete file, and its analysis")
        disk.kill_client()
        if killed:
            kill("nas_writer")
        disk.mount_anew()
        go.touch()
        cap = call.join()
    os.close(held)

    assert_whole(cap, 300_000)
    sidecar = json.loads((disk.backing / "run.sigmf-meta").read_text())["global"]["fastcap:report"]
    assert sidecar["analysis"]["function"]["result"] == {"words": 300_000}
    assert sidecar["complete"]


@pytest.mark.fuse
@pytest.mark.parametrize("at", [0, -1])
def test_finished_file_that_is_replaced_by_one_as_large_on_the_server_is_told(faultfs, at):
    fs = faultfs()
    with recording(BOARD, fs.mount / "run.bin", split="0.2s") as (finish, board):
        files = board.session.recordings[1].files
        wait_until(lambda: files, 20, "a complete file")
        there = fs.backing / "run_0000.bin"
        changed = bytearray(there.read_bytes())
        changed[at] ^= 1
        (fs.backing / "other").write_bytes(changed)
        (fs.backing / "other").rename(there)
        reports = _end(board, finish).reports

    assert [r["complete"] for r in reports] == [False] + [True] * (len(reports) - 1)
    assert "run_0000.bin is not the file any more that was written" in reports[0]["sink"]["file_error"]


def _end(board, finish):
    board.session.finish(1)
    return finish()


@pytest.mark.fuse
def test_file_that_is_gone_for_good_costs_what_the_ring_does_not_hold(faultfs):
    fs = faultfs()
    part = fs.mount / "run.bin.part"
    with recording(BOARD, fs.mount / "run.bin", fsync_every="1MiB") as (finish, board):
        wait_until(lambda: part.exists() and part.stat().st_size >= 3 * MIB, 20, "3 MiB on the disk")
        rule = fs.error(("write", "fsync"), errno.ESTALE, path="run.bin.part", count=None)
        fs.wait_fired(rule)
        part.unlink()
        wait_until(lambda: "cannot mend" in (progress(board).get("trouble") or ""), 20, "another file")
        fs.clear(rule)
        board.session.finish(1)
        cap = finish()

    assert not cap.report["complete"]
    assert cap.report.exit_status == 3
    assert {e["stage"] for e in cap.report["ledger"]} == {"sink"}
    assert_law(cap.report, cut=True)
    assert_exact(cap.report)


@pytest.mark.fuse
@pytest.mark.parametrize("what", [_replace, _replace_by_one_as_large])
def test_file_that_is_replaced_between_its_last_fsync_and_its_name(faultfs, what):
    fs = faultfs()
    cap = disturbed_before_its_name(fs, lambda: what(fs.mount / "run.bin.part"))

    assert_whole(cap, 300_000)
    assert cap.path == fs.mount / "run-2.bin"
    others = [path for path in fs.backing.iterdir() if not path.name.startswith("run-2.")]
    assert [path.read_bytes()[:8] for path in others] in ([b"precious"], [bytes(8)])


@pytest.mark.fuse
def test_another_file_of_the_same_size_is_not_called_complete(faultfs):
    """Put there behind the mount: to this disk, open file and name are one."""
    fs = faultfs()
    cap = disturbed_before_its_name(fs, lambda: _replace_by_one_as_large(fs.backing / "run.bin.part"))

    report = cap.report
    if report["complete"]:  # the open file still led to what was written, and was copied
        assert_whole(cap, 300_000)
    else:
        assert report.exit_status == 3
        assert (report["words"], report["words_lost"]) == (0, 300_000)
    assert_law(cap.report)
    assert cap.path == fs.mount / "run-2.bin"
    assert not (fs.backing / "run.sigmf-meta").exists()
    assert not list(fs.backing.glob("*.part"))
    assert (fs.backing / "run.bin").read_bytes().strip(b"\0") == b""


@pytest.mark.fuse
def test_file_that_cannot_be_found_at_the_end_is_not_said_to_be_there(faultfs):
    fs = faultfs()
    rule = fs.stall("fsync", path="run.sigmf-meta.part")
    with fc.open(counting(300_000, rate="1MHz"), ring="32MiB") as board:
        message, fds = spec.recording(board.source, to=fs.mount / "run.bin", ring_bytes=board.ring_bytes())
        message["sink"]["give_up_s"] = 0.5
        capture = board.begin(message, fds)
        fs.wait_fired(rule)
        fs.error(("write", "fsync", "getattr", "read"), errno.ESTALE, path="run.bin*", count=None)
        (fs.backing / "run.bin.part").unlink()
        fs.clear(rule)
        with pytest.raises(fc.SinkError) as failed:
            capture.wait()
        board.session.discard()

    assert "bytes were written to" in str(failed.value)
    assert "the last file as .part, which cannot be found now" in str(failed.value)


@pytest.mark.fuse
def test_file_that_is_gone_for_good_at_the_end_is_not_waited_for(faultfs):
    fs = faultfs()
    rule = fs.stall("fsync", path="run.sigmf-meta.part")
    with recording(counting(300_000, rate="1MHz"), fs.mount / "run.bin") as (finish, board):
        fs.wait_fired(rule)
        stale = fs.error("read", errno.ESTALE, path="*", count=None)
        (fs.backing / "run.bin.part").unlink()
        fs.clear(rule)
        wait_until(lambda: "cannot find" in (progress(board).get("trouble") or ""), 20, "that it is told")
        fs.clear(stale)
        cap = finish()

    assert not cap.report["complete"]
    assert cap.report["words_lost"] == 300_000
    assert_law(cap.report)
    assert not list(fs.backing.glob("*.part"))


@pytest.mark.fuse
def test_file_that_is_cut_between_its_last_fsync_and_its_name_is_not_complete(faultfs):
    fs = faultfs()
    rule = fs.stall("fsync", path="run.sigmf-meta.part")
    with recording(counting(300_000, rate="1MHz"), fs.mount / "run.bin") as (finish, _):
        fs.wait_fired(rule)
        os.truncate(fs.mount / "run.bin.part", 1_000_000)
        fs.clear(rule)
        cap = finish()

    assert not cap.report["complete"]
    assert cap.report.exit_status == 3
    assert "has not the size any more that was written" in cap.report["sink"]["file_error"]
