"""Captures to disks of the kernel's own that are unmounted, lose power, freeze, crawl, fill or are cut off.

The board is endless, and a test ends its recording when it has seen what it wants to see, however long that takes.
"""

from __future__ import annotations

import pytest
from engine import assert_whole, counting, kill, progress, recording
from support import wait_until

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
    assert "disk that was unmounted" in repr(cap.report)
    disk.remount()
    assert_whole(cap, cap.report["words"])


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

    assert_whole(cap, cap.report["words"])


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
    assert_whole(cap, cap.report["words"])
