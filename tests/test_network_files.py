"""What others do to a file on the server of a network disk: its mount tells of names there, not of open files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from engine import assert_exact, assert_law, assert_whole, counting, progress, recording
from support import remove_tree, requires_netns, wait_until

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
    rule = fs.stall("fsync", path="run.sigmf-meta.part")
    with recording(counting(300_000, rate="1MHz"), fs.mount / "run.bin") as (finish, _):
        fs.wait_fired(rule)
        what(fs.mount / "run.bin.part")
        fs.clear(rule)
        cap = finish()

    assert_whole(cap, 300_000)
    assert cap.path == fs.mount / "run-2.bin"
    others = [path for path in fs.backing.iterdir() if not path.name.startswith("run-2.")]
    assert [path.read_bytes()[:8] for path in others] in ([b"precious"], [bytes(8)])


@pytest.mark.fuse
def test_another_file_of_the_same_size_is_not_called_complete(faultfs):
    """Put there behind the mount: to this disk, open file and name are one."""
    fs = faultfs()
    rule = fs.stall("fsync", path="run.sigmf-meta.part")
    with fc.open(counting(300_000, rate="1MHz"), ring="32MiB") as board:
        message, fds = spec.recording(board.source, to=fs.mount / "run.bin", ring_bytes=board.ring_bytes())
        message["sink"]["give_up_s"] = 0.5
        capture = board.begin(message, fds)
        fs.wait_fired(rule)
        _replace_by_one_as_large(fs.backing / "run.bin.part")
        fs.clear(rule)
        with pytest.raises(fc.SinkError):
            capture.wait()
        board.session.discard()

    assert not list(fs.backing.glob("*.sigmf-meta"))
    assert [path.name for path in fs.backing.glob("*.bin")] == ["run.bin"]


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
