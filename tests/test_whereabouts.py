"""What others do to the file that is being written: it is said within seconds, and mended where that can be."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from cli_runs import CommandLine
from engine import (
    assert_exact,
    assert_law,
    assert_whole,
    counting,
    disturbed_before_its_name,
    kill,
    progress,
    recording,
    workers,
)
from support import assert_counter_file, remove_tree, sha256_file, wait_until

import fastcap as fc
from fastcap import spec
from fastcap.workers.statusfile import read_all

pytest_plugins = ["command_line"]

BOARD = counting(rate="1MHz")
OFTEN = {"fsync_every": "1MiB"}
MIB = 1 << 20


def _part(folder: Path, size: int = 3 * MIB) -> Path:
    """Return the part file once so much of it is on the disk."""
    part = folder / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size >= size, 20, f"{size} bytes")
    return part


def _told(board, text="") -> str:
    """Return what `status` and the progress line say is wrong, as soon as they do, and ``text`` is among that."""

    def told():
        trouble = progress(board).get("trouble")
        return trouble if trouble and text in trouble else None

    return wait_until(told, 20, "that it is told")


def _end(board, finish):
    board.session.finish(1)
    return finish()


def _more(board) -> None:
    """Wait until some more has come."""
    before = progress(board)["bytes"]
    wait_until(lambda: progress(board)["bytes"] > before + 2 * MIB, 20, "more words")


def _assert_whole_in(cap, path: Path) -> None:
    assert_whole(cap, cap.report["words"], cut=True)
    assert cap.path == path
    assert cap.report.exit_status == 0
    assert not list(path.parent.glob("*.part"))


# -- the file ------------------------------------------------------------------------------------------


def _remove(part: Path) -> None:
    part.unlink()


def _move_away(part: Path) -> None:
    part.rename(part.parent / "elsewhere")


def _keep_a_link(part: Path) -> None:
    os.link(part, part.parent / "elsewhere")
    part.unlink()


def _move_to_another_directory(part: Path) -> None:
    (part.parent / "sub").mkdir()
    part.rename(part.parent / "sub" / part.name)


@pytest.mark.parametrize("what", [_remove, _move_away, _keep_a_link, _move_to_another_directory])
def test_file_that_loses_its_name_gets_it_again(tmp_path, what):
    with recording(BOARD, tmp_path / "run.bin", **OFTEN) as (finish, board):
        what(_part(tmp_path))
        told = _told(board)
        _more(board)
        cap = _end(board, finish)

    assert "run.bin.part was removed or moved" in told
    assert [i["text"] for i in cap.report["sink"]["incidents"]] == [told]
    _assert_whole_in(cap, tmp_path / "run.bin")


def test_file_that_somebody_gives_its_last_name_keeps_no_other(tmp_path):
    with recording(BOARD, tmp_path / "run.bin", **OFTEN) as (finish, board):
        _part(tmp_path).rename(tmp_path / "run.bin")
        _told(board)
        cap = _end(board, finish)

    _assert_whole_in(cap, tmp_path / "run.bin")
    assert os.stat(tmp_path / "run.bin").st_nlink == 1


def _by_another_file(part: Path) -> None:
    (part.parent / "other").write_bytes(b"precious")
    (part.parent / "other").rename(part)


def _by_a_link(part: Path) -> None:
    (part.parent / "other").write_bytes(b"precious")
    part.unlink()
    part.symlink_to("other")


@pytest.mark.parametrize("what", [_by_another_file, _by_a_link])
def test_file_that_is_replaced_takes_another_name(tmp_path, what):
    with recording(BOARD, tmp_path / "run.bin", **OFTEN) as (finish, board):
        what(_part(tmp_path))
        _told(board, "was replaced by another file")
        _more(board)
        cap = _end(board, finish)

    assert (tmp_path / "run.bin.part").read_bytes() == b"precious"
    assert cap.path != tmp_path / "run.bin"
    assert cap.path.parent == tmp_path
    assert cap.report["sink"]["wanted_path"] == str(tmp_path / "run.bin")
    assert_whole(cap, cap.report["words"], cut=True)
    assert cap.report.exit_status == 0


@pytest.mark.parametrize("size", [0, 8 * 100_000, 8 * 100_000 + 3])
def test_file_that_is_cut_short_costs_what_was_cut_and_says_so(tmp_path, size):
    with recording(BOARD, tmp_path / "run.bin", **OFTEN) as (finish, board):
        os.truncate(_part(tmp_path), size)
        told = _told(board, "words that were on the disk are lost")
        _more(board)
        cap = _end(board, finish)

    assert "did not hold any more what was written" in told
    report = cap.report
    assert not report["complete"]
    assert report.exit_status == 3
    assert {e["stage"] for e in report["ledger"]} == {"sink"}
    assert report["words_lost"] > 0
    assert report["ledger"][0]["after_word"] >= (size - 200) // 8 - 1
    assert_law(report, cut=True)
    assert_exact(report)


def test_file_whose_cut_part_the_ring_still_holds_loses_nothing(tmp_path):
    with recording(BOARD, tmp_path / "run.bin", fsync_every="24MiB") as (finish, board):
        part = _part(tmp_path, 2 * MIB)
        os.truncate(part, part.stat().st_size - 3)  # before the first fsync, or after one that was just now
        _more(board)
        cap = _end(board, finish)

    assert_law(cap.report, cut=True)
    assert_exact(cap.report)
    assert cap.report["words_lost"] < 2_500_000


# -- its directory -------------------------------------------------------------------------------------


def test_directory_that_is_moved_is_followed(tmp_path):
    there, moved = tmp_path / "run", tmp_path / "moved"
    there.mkdir()
    with recording(BOARD, there / "run.bin", **OFTEN) as (finish, board):
        _part(there)
        there.rename(moved)
        there.mkdir()  # another one in its place
        told = _told(board)
        cap = _end(board, finish)

    assert f"{there} was moved to {moved}" in told
    assert list(there.iterdir()) == []
    assert cap.report["sink"]["wanted_path"] == str(there / "run.bin")
    _assert_whole_in(cap, moved / "run.bin")


def test_directory_that_is_removed_is_made_again(tmp_path):
    there = tmp_path / "a" / "run"
    there.mkdir(parents=True)
    with recording(BOARD, there / "run.bin", **OFTEN) as (finish, board):
        _part(there)
        remove_tree(tmp_path / "a")
        told = _told(board)
        _more(board)
        cap = _end(board, finish)

    assert "its directory, which is made again" in told
    _assert_whole_in(cap, there / "run.bin")


@pytest.mark.root
@pytest.mark.parametrize("how", ["unmounted", "covered"])
def test_directory_that_no_path_leads_to_is_not_called_complete(loopdisk, how):
    disk = loopdisk("256MiB")
    with recording(BOARD, disk.mount / "run.bin", **OFTEN) as (finish, board):
        _part(disk.mount)
        if how == "unmounted":
            disk.vanish()
        else:
            subprocess.run(["mount", "-t", "tmpfs", "none", disk.mount], check=True)
        told = _told(board)
        cap = _end(board, finish)
        if how == "covered":
            assert list(disk.mount.iterdir()) == []
            subprocess.run(["umount", disk.mount], check=True)

    assert "was unmounted" in told
    assert not cap.report["complete"]
    assert cap.report.exit_status == 3
    assert "was unmounted" in cap.report["sink"]["file_error"]
    assert cap.report["words_lost"] == 0
    if how == "unmounted":
        disk.remount()
    assert assert_counter_file(disk.mount / "run.bin", cap.report["words"]) == []
    assert sha256_file(disk.mount / "run.bin") == cap.report["checksum"]["value"]


# -- and a writer that dies ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", [_by_another_file, _remove])
def test_successor_does_not_take_a_strangers_file_for_its_own(tmp_path, what):
    with recording(BOARD, tmp_path / "run.bin", **OFTEN) as (finish, board):
        part = _part(tmp_path)
        what(part)
        kill("nas_writer")
        told = _told(board)
        _more(board)
        cap = _end(board, finish)

    if part.exists():
        assert part.read_bytes() == b"precious"
    assert told
    assert_law(cap.report, cut=True)
    assert_exact(cap.report)
    if cap.report["words_lost"]:  # unless the first one had linked it, or begun with a copy, before it died
        assert not cap.report["complete"]
        assert {e["stage"] for e in cap.report["ledger"]} == {"sink"}


def test_successor_does_not_write_behind_the_end_of_a_file_that_was_cut(tmp_path):
    with recording(BOARD, tmp_path / "run.bin", **OFTEN) as (finish, board):
        part = _part(tmp_path)
        os.kill(workers("nas_writer")[0], signal.SIGSTOP)  # it is not to see it
        os.truncate(part, 8 * 100_000)
        kill("nas_writer")
        told = _told(board, "words that were on the disk are lost")
        _more(board)
        cap = _end(board, finish)

    assert "did not hold any more what was written" in told
    assert {e["stage"] for e in cap.report["ledger"]} == {"sink"}
    assert cap.report["ledger"][0]["after_word"] >= (8 * 100_000 - 200) // 8 - 1
    assert_law(cap.report, cut=True)
    assert_exact(cap.report)


def test_successor_finds_a_directory_that_was_moved(tmp_path):
    there, moved = tmp_path / "run", tmp_path / "moved"
    there.mkdir()
    with recording(BOARD, there / "run.bin", **OFTEN) as (finish, board):
        _part(there)
        there.rename(moved)
        _told(board)
        _more(board)
        kill("nas_writer")
        cap = _end(board, finish)

    assert cap.report["replaced"]["nas_writer"] == 1
    _assert_whole_in(cap, moved / "run.bin")


def test_split_goes_on_in_a_directory_that_was_moved(tmp_path):
    there, moved = tmp_path / "run", tmp_path / "moved"
    there.mkdir()
    with recording(BOARD, there / "run.bin", split="0.2s") as (finish, board):
        wait_until(lambda: len(board.session.recordings[1].files) >= 2, 20, "two files")
        there.rename(moved)
        wait_until(lambda: progress(board).get("trouble"), 20, "that it is told")
        _more(board)
        reports = _end(board, finish).reports

    word = 0
    for report in reports:
        assert report["complete"]
        assert Path(report["path"]).parent == moved
        word = assert_exact(report, first_word=word)


def test_split_goes_on_in_a_directory_that_was_removed(tmp_path):
    there = tmp_path / "run"
    there.mkdir()
    with recording(BOARD, there / "run.bin", split="0.2s") as (finish, board):
        files = board.session.recordings[1].files
        wait_until(lambda: len(files) >= 2, 20, "two files")
        remove_tree(there)
        before = len(files)
        wait_until(lambda: len(files) >= before + 2, 20, "two more files")
        reports = _end(board, finish).reports

    gone = [r for r in reports if not r["complete"]]
    assert 2 <= len(gone) < len(reports)
    assert all("somebody removed or moved" in r["sink"]["file_error"] for r in gone)
    for report in reports[len(gone) :]:
        jumps = assert_counter_file(report["path"], report["words"], start=_first_word(report))
        assert jumps == []
        assert sha256_file(report["path"]) == report["checksum"]["value"]


def _first_word(report) -> int:
    sidecar = json.loads(Path(report["path"]).with_suffix(".sigmf-meta").read_text())
    return int(sidecar["global"]["fastcap:first_word"])


# -- at the very end -----------------------------------------------------------------------------------


@pytest.mark.fuse
def test_file_that_goes_between_its_last_fsync_and_its_name(faultfs):
    fs = faultfs()
    cap = disturbed_before_its_name(fs, (fs.mount / "run.bin.part").unlink)

    assert cap.report["sink"]["incidents"]
    assert_whole(cap, 300_000)


@pytest.mark.fuse
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC])
def test_name_that_is_never_given_says_where_the_bytes_are(faultfs, number):
    fs = faultfs()
    fs.error("rename", number, path="run.bin*", count=None)
    with fc.open(counting(300_000, rate="1MHz"), ring="32MiB") as board:
        message, fds = spec.recording(board.source, to=fs.mount / "run.bin", ring_bytes=board.ring_bytes())
        message["sink"]["give_up_s"] = 0.5
        capture = board.begin(message, fds)
        with pytest.raises(fc.SinkError) as failed:
            capture.wait()
        board.session.discard()

    size = (fs.backing / "run.bin.part").stat().st_size
    assert os.strerror(number) in str(failed.value)
    assert f"its first {size} bytes were written to {fs.mount}, the last file as .part" in str(failed.value)
    assert "/dev/shm" not in str(failed.value)
    assert assert_counter_file(fs.backing / "run.bin.part", 300_000) == []


# -- a full disk ---------------------------------------------------------------------------------------


@pytest.mark.root
def test_full_disk_is_said_at_once_by_name_and_again_when_there_is_room(clean_cli: CommandLine, loopdisk):
    disk = loopdisk("32MiB")
    ballast = disk.mount / "ballast"
    with ballast.open("wb") as f:
        os.posix_fallocate(f.fileno(), 0, 24 << 20)
    process = clean_cli.start(
        "capture", counting(2_000_000, rate="2MHz"), "--to", disk.mount / "run.bin", "--json"
    )
    said = _lines_upto(process, "No space left")
    still_running = process.poll() is None
    status = json.loads(clean_cli("status", "--json").out)
    ballast.unlink()
    ended = clean_cli.finish(process)

    assert still_running
    assert "run.bin.part: No space left on device; free space there" in said[-1]
    assert any("No space left" in (r["trouble"] or "") for s in status["sessions"] for r in s["recordings"])
    assert "takes the words again" in ended.err
    assert ended.status == 0
    (error,) = ended.json["sink"]["errors"]
    assert "No space left on device" in error["text"]
    assert error["for_s"] > 0
    assert assert_counter_file(disk.mount / "run.bin", 2_000_000) == []


@pytest.mark.fuse
def test_what_is_said_of_trouble_is_in_the_status_file_by_then(faultfs):
    fs, stood = faultfs(), []

    def look(message) -> None:
        if message["op"] == "warning":
            stood.append((message["text"], [r["trouble"] for s in read_all() for r in s["recordings"]]))

    with recording(BOARD, fs.mount / "run.bin", **OFTEN) as (finish, board):
        board.session.on_message = look
        rule = fs.error("write", errno.EIO, path="run.bin*", count=None)
        wait_until(lambda: stood, 20, "that it is said")
        fs.clear(rule)
        _end(board, finish)

    text, troubles = stood[0]
    assert "Input/output error" in text
    assert text in troubles


@pytest.mark.fuse
def test_full_disk_that_still_takes_a_part_is_not_said_to_work_again(faultfs):
    fs = faultfs()
    rule = fs.full(3_000_001)
    with recording(BOARD, fs.mount / "run.bin", fsync_every="24MiB") as (finish, board):
        fs.wait_fired(rule)
        fs.wait_fired(fs.stall("fsync", seconds=0.001))  # of the part that was taken
        before = len(fs.log("full"))
        wait_until(lambda: len(fs.log("full")) > before + 2, 20, "more tries")
        said = list(board.session.recordings[1].warnings)
        fs.clear(rule)
        _more(board)
        cap = _end(board, finish)

    (full,) = said
    assert "No space left on device" in full
    (_, works) = cap.recording.warnings
    assert "takes the words again" in works
    assert len(cap.report["sink"]["errors"]) == 1
    _assert_whole_in(cap, fs.mount / "run.bin")


@pytest.mark.root
def test_directory_that_is_closed_to_its_owner_is_said_once_and_written_to_all_the_same(
    cli: CommandLine, tmp_path
):
    there = tmp_path / "there"
    there.mkdir()
    unprivileged = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    to = ("--to", there / "run.bin", "--fsync-every", "256KiB", "--json")
    process = cli.start("capture", BOARD, *to, prefix=unprivileged)
    part = _part(there)
    there.chmod(0)
    said = _lines_upto(process, "Permission denied")
    size = part.stat().st_size
    wait_until(lambda: part.stat().st_size > size + 30 * MIB, 60, "what comes in several seconds, and looks")
    there.chmod(0o700)
    said += _lines_upto(process, "takes the words again")
    process.terminate()
    ended = cli.finish(process)

    (denied, _) = [line for line in said if line.startswith("warning: ")]
    assert "cannot look at" in denied
    assert ended.status == 130
    assert len(ended.json["sink"]["errors"]) == 1
    assert_counter_file(there / "run.bin", ended.json["words"])


def _lines_upto(process, text: str) -> list[str]:
    """Return the lines of a capture's stderr up to the one that holds ``text``."""
    lines = [""]
    while text not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], f"the capture ended without '{text}': {lines}"
    return lines


@pytest.mark.fuse
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE, errno.EDQUOT])
def test_error_is_said_while_it_lasts_and_costs_nothing(clean_cli: CommandLine, faultfs, number):
    fs = faultfs()
    rule = fs.error(("write", "fsync"), number, path="run.bin*", count=None)
    process = clean_cli.start("capture", counting(300_000), "--to", fs.mount / "run.bin", "--json")
    said = _lines_upto(process, os.strerror(number))[-1]
    still_running = process.poll() is None
    fs.clear(rule)
    ended = clean_cli.finish(process)

    assert still_running
    assert str(fs.mount / "run.bin.part") in said
    assert ended.status == 0
    assert ended.json["complete"]
    assert os.strerror(number) in ended.json["sink"]["errors"][0]["text"]
    assert assert_counter_file(fs.mount / "run.bin", 300_000) == []
