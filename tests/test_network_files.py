"""What others do to a file on the server of a network disk: its mount tells of names there, not of open files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from engine import assert_whole, counting, progress, recording
from support import requires_netns, wait_until

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
    shutil.rmtree(part.parent)


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
    assert_whole(cap, cap.report["words"])
    assert cap.report.exit_status == 0
    assert cap.path == disk.mount / "run" / "run-2.bin"
    if "replace" in what.__name__:
        assert part.read_bytes()[:8] in (b"precious", bytes(8))
