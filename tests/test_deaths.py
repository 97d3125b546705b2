"""Whoever dies is replaced, and no word is lost, repeated or moved."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from engine import (
    arrived_bytes,
    assert_exact,
    assert_law,
    assert_whole,
    counting,
    kill,
    progress,
    recording,
    workers,
)  # fmt: skip
from support import assert_counter_file, children_of, is_running, wait_until

import fastcap as fc
from fastcap._launch import SupervisorProcess, new_folder
from fastcap._ring import SLOTS
from fastcap.workers.statusfile import PREFIX, directory

WORDS = 15_000_000


def _wait_for_bytes(board, count):
    wait_until(
        lambda: arrived_bytes(board) >= count, 20, lambda: f"{count} bytes; there are {arrived_bytes(board)}"
    )


# -- readers -------------------------------------------------------------------------------------------


def test_readers_die_and_no_byte_is_lost(tmp_path):
    words, moments = 3 * WORDS, sorted(random.SystemRandom().sample(range(8 * 2 * WORDS), 4))
    with recording(counting(words), tmp_path) as (finish, board):
        for moment in moments:
            _wait_for_bytes(board, moment)
            kill("reader", standing=2)
        cap = finish()

    assert cap.report["replaced"]["reader"] == len(moments), moments
    assert_whole(cap, words)


def test_reader_dies_together_with_its_successor(tmp_path):
    with recording(counting(WORDS), tmp_path) as (finish, _):
        wait_until(lambda: len(workers("reader")) == 2, 20, "a warm reader")
        for pid in workers("reader"):
            os.kill(pid, signal.SIGKILL)
        cap = finish()

    assert cap.report["replaced"]["reader"] >= 1
    assert_whole(cap, WORDS)


def test_reader_dies_while_it_drops_and_the_count_stays_exact(tmp_path):
    words = 2 * WORDS
    with recording(counting(words), tmp_path, ring="16MiB", stalls=[(0.3, 1.2)]) as (finish, board):
        wait_until(lambda: progress(board).get("dropped_bytes"), 20, "drops")
        kill("reader", standing=2)
        cap = finish()

    assert cap.report["replaced"]["reader"] == 1
    assert cap.report["words_lost"] > 0
    assert_law(cap.report)
    assert assert_exact(cap.report) == words


# -- the others ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["splitter", "nas_writer"])
def test_worker_dies_again_and_again_and_its_successors_go_on(tmp_path, role):
    dead = []
    with recording(counting(WORDS), tmp_path) as (finish, board):
        for at in (1, 5, 9):
            _wait_for_bytes(board, at * WORDS * 8 // 16)
            wait_until(lambda: workers(role), 20, role)
            dead.append(kill(role))
            wait_until(lambda: [p for p in workers(role) if p not in dead], 20, f"another {role}")
        cap = finish()

    assert cap.report["replaced"][role] >= 2  # a warm writer may have been hit
    assert_whole(cap, WORDS)


def test_all_workers_die_at_once(tmp_path):
    with recording(counting(WORDS), tmp_path) as (finish, _):
        wait_until(lambda: len(workers("reader")) == 2, 20, "a warm reader")
        for role in ("reader", "splitter", "nas_writer"):
            for pid in workers(role):
                os.kill(pid, signal.SIGKILL)
        cap = finish()

    assert_whole(cap, WORDS)


def test_splitter_dies_while_words_are_dropped_and_the_count_stays_exact(tmp_path):
    with recording(counting(WORDS), tmp_path, ring="16MiB", stalls=[(0.1, 0.9)]) as (finish, board):
        wait_until(lambda: progress(board).get("dropped_bytes"), 20, "drops")
        kill("splitter")
        cap = finish()

    assert cap.report["replaced"]["splitter"] == 1
    assert cap.report["words_lost"] > 0
    assert_law(cap.report)
    assert assert_exact(cap.report) == WORDS


@pytest.mark.parametrize("role", ["splitter", "nas_writer"])
def test_worker_dies_between_split_files(tmp_path, role):
    with recording(counting(WORDS), tmp_path, split="0.1s") as (finish, _):
        wait_until(lambda: len(list(tmp_path.glob("*.bin"))) >= 3, 20, "three files")
        kill(role)
        reports = finish().reports

    index = 0
    for report in reports:
        index = assert_exact(report, first_word=index)
    assert index == WORDS
    assert [r["words"] for r in reports] == [1_000_000] * (WORDS // 1_000_000)
    assert reports[-1]["replaced"][role] == 1
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["rename", "fsyncdir"])
def test_every_split_file_is_told_once_though_its_writer_dies_while_completing_it(
    tmp_path, faultfs, operation
):
    fs = faultfs()
    rule = fs.stall(operation, after=2, count=1, killable=True)
    with recording(counting(WORDS), fs.mount, split="0.3s") as (finish, _):
        fs.wait_fired(rule)
        kill("nas_writer")
        fs.clear()
        cap = finish()

    assert [f["path"] for f in cap.recording.files] == [r["path"] for r in cap.reports]
    assert [r["words"] for r in cap.reports] == [3_000_000] * (WORDS // 3_000_000)
    assert cap.report["replaced"]["nas_writer"] == 1


@pytest.mark.parametrize("role", ["reader", "splitter", "nas_writer"])
def test_worker_that_dies_for_ever_ends_the_recording_with_an_error(tmp_path, role):
    import fastcap as fc

    source = ["sh", "-c", "head -c 4096 /dev/zero; exec sleep 1000"]  # nothing moves: each dies at one place
    killed: list[int] = []
    errors: list[BaseException] = []

    def record() -> None:
        with fc.open(source, ring="16MiB") as board:
            try:
                board.record(None, tmp_path, samples=1_000_000)
            except fc.WorkerError as e:
                errors.append(e)
            folders.append(board.session.folder)

    folders: list[str] = []
    thread = threading.Thread(target=record)
    thread.start()
    wait_until(
        lambda: [p for p in tmp_path.glob("*.part") if p.stat().st_size >= 4096], 20, "the first bytes"
    )
    while thread.is_alive() and not errors:
        for pid in workers(role):
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
    thread.join(20)

    text = str(errors[0])
    if role == "nas_writer":
        times = re.search(r"the NAS writer died (\d+) times; ", text)
        assert times
        assert 8 < int(times[1]) <= len(killed)
    else:
        assert f"the {role} died again and again: see the errors above; " in text
    _assert_kept_where_it_says(text, tmp_path, folders[0], 4096)
    shutil.rmtree(folders[0])


def _assert_kept_where_it_says(text, to, folder, size):
    """Assert that an error tells of all bytes that came, and that they are where it says."""
    on_disk = re.search(r"its first (\d+) bytes were written to (\S+), the last file as \.part", text)
    in_ring = re.search(r"the other (\d+) bytes are in the ring in (\S+)$", text)
    assert on_disk, text
    assert on_disk[2] == str(to)
    (part,) = to.glob("*.part")
    assert part.stat().st_size >= int(on_disk[1])
    if in_ring:
        assert in_ring[2] == folder
        assert os.path.isdir(folder)
    assert int(on_disk[1]) + (int(in_ring[1]) if in_ring else 0) == size


@pytest.mark.parametrize("gone", [False, True])
def test_supervisor_s_end_is_told_with_the_folder_that_is_left(tmp_path, gone):
    with recording(counting(rate="1MHz"), tmp_path / "run.bin") as (finish, board):
        folder = board.session.folder
        (supervisor,) = children_of(os.getpid(), "fastcap.workers.supervisor")
        os.kill(supervisor, signal.SIGSTOP)
        if gone:
            shutil.rmtree(folder)
        os.kill(supervisor, signal.SIGKILL)
        with pytest.raises(fc.WorkerError) as ended:
            finish()

    where = f"its folder {folder} is gone, too" if gone else f"what arrived is in {folder}"
    assert str(ended.value) == f"the supervisor of this session ended unexpectedly; {where}"
    assert os.path.isdir(folder) != gone
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.fuse
@pytest.mark.parametrize("options", [{"checksum": "none"}, {"split": "0.1s"}])
def test_writer_that_dies_leaves_no_piece_of_an_index(faultfs, options):
    fs = faultfs()
    rule = fs.stall("write", path="run*.index.part", killable=True)
    with recording(counting(300_000, rate="1MHz"), fs.mount / "run.bin", **options) as (finish, _):
        fs.wait_fired(rule)
        kill("nas_writer")
        fs.clear(rule)
        cap = finish()

    assert [r["complete"] for r in cap.reports] == [True] * len(cap.reports)
    assert_law(*cap.reports)
    assert not list(fs.backing.glob("*.part"))


def test_writer_dies_while_the_source_has_ended_already(tmp_path):
    import fastcap as fc

    with fc.open(counting(2_000_000), ring="64MiB") as board:
        cap = board.record(None, tmp_path, stalls=[(0.05, 1.0)], wait=False)
        assert not cap.done
        for pid in workers("nas_writer"):
            os.kill(pid, signal.SIGKILL)
        assert_whole(cap, 2_000_000)
        assert cap.report["replaced"]["nas_writer"] in (
            1,
            2,
        )  # the warm one died with it: it may have had the work


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["write", "fsync", "rename", "fsyncdir"])
def test_writer_dies_in_a_stalled_call(tmp_path, faultfs, operation):
    fs = faultfs()
    rule = fs.stall(
        operation, seconds=20, after=1 if operation in ("write", "fsync", "rename") else 0, killable=True
    )
    with recording(counting(2_000_000), fs.mount) as (finish, _):
        fs.wait_fired(rule)
        for pid in workers("nas_writer"):
            os.kill(pid, signal.SIGKILL)
        fs.clear()
        cap = finish()

    # 0: the report is made before the last calls; 2: the warm one died with it, and may have had the work
    assert cap.report["replaced"]["nas_writer"] in (0, 1, 2)
    assert_whole(cap, 2_000_000)
    assert not list(fs.mount.glob("*.part"))


@pytest.mark.fuse
@pytest.mark.parametrize("in_call", [True, False], ids=["in the stall", "after it"])
def test_stall_of_a_writer_that_died_stays_in_the_report(tmp_path, faultfs, in_call):
    fs = faultfs()
    rule = fs.stall("write", seconds=20, after=3, killable=True)
    with recording(counting(rate="2MHz"), fs.mount) as (finish, board):
        fs.wait_fired(rule)
        wait_until(lambda: progress(board).get("stalled_s", 0) > 0.5, 20, "a stall")
        if not in_call:
            fs.clear()
            wait_until(lambda: progress(board)["backlog_bytes"] < 4 << 20, 20, "the writer to catch up")
        for pid in workers("nas_writer"):
            os.kill(pid, signal.SIGKILL)
        fs.clear()
        board.session.finish(1)
        report = finish().report

    assert [stall["for_s"] > 0.45 for stall in report["sink"]["stalls"]] == [True]
    assert report["sink"]["write_s"]["count"] >= 3


@pytest.mark.root
def test_writer_in_uninterruptible_sleep_is_not_replaced_before_it_is_gone(tmp_path, loopdisk):
    disk = loopdisk("64MiB")
    with recording(counting(4_000_000, rate="2MHz"), disk.mount) as (finish, board):
        with disk.frozen():
            (writer,) = wait_until(
                lambda: [pid for pid in workers("nas_writer") if _waits_for_disk(pid)],
                20,
                "a write that hangs",
            )
            os.kill(writer, signal.SIGKILL)
            wait_until(lambda: arrived_bytes(board) >= 20_000_000, 20, "more words")
            assert is_running(writer), "SIGKILL should not have reached it yet"
            assert [pid for pid in workers("nas_writer") if _has_open(pid, disk.mount)] == [writer]
            assert progress(board)["backlog_bytes"] > 0
        cap = finish()
        assert cap.report["replaced"]["nas_writer"] == 1
        assert_whole(cap, 4_000_000)


def _has_open(pid: int, folder: Path) -> bool:
    """Tell whether a process has a folder, or something in it, open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if link.readlink().is_relative_to(folder):
                return True
    return False


def _waits_for_disk(pid: int) -> bool:
    """Tell whether a process is in uninterruptible sleep."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("D")


@pytest.mark.fuse
def test_writer_that_dies_before_it_looked_replaces_nothing(tmp_path, faultfs):
    fs = faultfs()
    (fs.backing / "run.bin").write_bytes(b"precious")
    rule = fs.stall("getattr", seconds=20, path="run.bin", killable=True)
    with recording(counting(2_000_000), fs.mount / "run.bin") as (finish, _):
        fs.wait_fired(rule)
        for pid in workers("nas_writer"):
            os.kill(pid, signal.SIGKILL)
        fs.clear()
        cap = finish()

    assert (fs.backing / "run.bin").read_bytes() == b"precious"
    assert cap.path == fs.mount / "run-2.bin"  # the source ran already: its words are kept
    assert_whole(cap, 2_000_000)


def test_writer_that_dies_before_a_later_recording_begins_writes_all_of_it(tmp_path):
    """Its slot was granted where the recording before ended: that is not where this one begins."""
    with fc.open(counting(WORDS // 10), ring="192MiB") as board:
        board.record(None, tmp_path / "first.bin")
        reader = workers("reader")[0]
        os.kill(reader, signal.SIGSTOP)
        box = []
        thread = threading.Thread(target=lambda: box.append(board.record(None, tmp_path / "second.bin")))
        thread.start()
        try:
            recordings = board.session.recordings
            wait_until(lambda: 2 in recordings and recordings[2].destination, 20, "a part file")
            for pid in workers("nas_writer"):
                os.kill(pid, signal.SIGKILL)
        finally:
            os.kill(reader, signal.SIGCONT)
        thread.join(60)

    assert box[0].report["replaced"]["nas_writer"] == 1
    assert_whole(box[0], WORDS // 10)


def _states(ring, state):
    return [i for i in range(SLOTS) if ring.slot_state(i)["state"] == state]


@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL], ids=["wakes", "dies"])
@pytest.mark.parametrize("role", ["nas_writer", "analysis"])
def test_worker_that_dies_claiming_a_slot_keeps_none(tmp_path, role, then):
    with fc.open(counting(WORDS // 10), ring="192MiB") as board:
        board.record(None, tmp_path / "first.bin")
        ring = board.session.attach()
        splitter = workers("splitter")[0]
        os.kill(splitter, signal.SIGSTOP)  # grants nothing
        box = []
        options = {"statistics": True} if role == "analysis" else {}
        thread = threading.Thread(
            target=lambda: box.append(board.record(None, tmp_path / "second.bin", **options))
        )
        thread.start()
        try:
            wait_until(lambda: len(_states(ring, "WANT")) == 1 + len(options), 20, "slots are wanted")
            owners = {ring.slot_state(i)["owner_pid"] for i in _states(ring, "WANT")}
            os.kill((owners & set(workers(role))).pop(), signal.SIGKILL)
            wait_until(lambda: not owners <= set(workers("nas_writer") + workers("analysis")), 20, "its end")
        finally:
            os.kill(splitter, then)  # dead, it never read which slot is to be freed
        thread.join(60)
        wait_until(lambda: len(_states(ring, "FREE")) == SLOTS, 20, "free slots")
        ring.close()

    assert box[0].report["replaced"][role] == 1
    assert_whole(box[0], WORDS // 10)


def test_analysis_dies_and_costs_the_capture_nothing(tmp_path):
    with recording(counting(WORDS), tmp_path, statistics=True) as (finish, _):
        kill("analysis")
        cap = finish()

    assert cap.report["replaced"]["analysis"] == 1
    assert cap.report["analysis"]["restarts"] == 1
    assert_whole(cap, WORDS)


def test_source_is_killed_and_what_it_said_is_kept(tmp_path):
    with recording(counting(), tmp_path) as (finish, board):
        _wait_for_bytes(board, 8_000_000)
        (source,) = children_of(os.getpid(), "fastcap.sim.board")
        os.kill(source, signal.SIGKILL)
        report = finish().report

    assert report["source"]["exit_status"] == -signal.SIGKILL
    assert not report["complete"]
    assert not report["interrupted"]
    assert_law(report)
    assert assert_counter_file(report["path"], report["words"], odd_bytes=report["odd_bytes"]) == []


# -- supervisor and controller ---------------------------------------------------------------------------

CONTROLLER = """
    import fastcap as fc
    with fc.open({source!r}, ring="64MiB") as board:
        board.record("60s", {folder!r})
"""


def _controller(folder):
    code = textwrap.dedent(CONTROLLER.format(folder=str(folder), source=counting()))
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: [p for p in folder.glob("*.part") if p.stat().st_size], 30, "a part file")
    return process


def test_controller_dies_and_its_capture_is_closed_as_interrupted(tmp_path):
    controller = _controller(tmp_path)
    family = children_of(controller.pid)
    controller.kill()
    controller.wait()
    wait_until(lambda: not any(is_running(p) for p in family), 30, "the end of all processes")

    sidecar = json.loads(next(tmp_path.glob("*.sigmf-meta")).read_text())
    report = sidecar["global"]["fastcap:report"]
    assert report["interrupted"]
    assert not report["complete"]
    assert_law(report)
    assert_exact(report)
    assert not list(tmp_path.glob("*.part"))
    assert not [p for p in _session_folders() if f"-{controller.pid}-" in p.name]


def _session_folders() -> list[Path]:
    return [
        folder for base in Path("/dev/shm").glob("fastcap-*") if base.is_dir() for folder in base.iterdir()
    ]


def test_supervisor_dies_and_its_workers_and_source_end(tmp_path):
    controller = _controller(tmp_path)
    supervisor = children_of(controller.pid, "fastcap.workers.supervisor")[0]
    family = children_of(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not any(is_running(p) for p in family), 30, "the end of workers and source")
    assert controller.wait(30) != 0

    listed = subprocess.run(
        [sys.executable, "-P", "-m", "fastcap", "status", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    behind = [s["folder"] for s in json.loads(listed.stdout)["left_behind"]]
    folders = [f for f in behind if f"-{controller.pid}-" in f]
    assert folders, "the session is not listed as left behind"
    assert os.path.isdir(folders[0])
    (part,) = tmp_path.glob("*.part")
    assert assert_counter_file(part, odd_bytes=(part.stat().st_size % 8)) == []
    shutil.rmtree(folders[0])
    (note,) = Path(directory()).glob(f"{PREFIX}*-{Path(folders[0]).name}.json")
    note.unlink()


def test_supervisor_dies_and_the_caller_is_told_where_the_data_is(tmp_path):
    with recording(counting(), tmp_path) as (finish, board):
        folder = Path(board.session.folder)
        threading.Timer(0.1, kill, ["supervisor"]).start()
        with pytest.raises(Exception, match="ended unexpectedly; what arrived is in /dev/shm"):
            finish()
    assert (folder / "data").exists()
    shutil.rmtree(folder)


def test_controller_that_dies_before_its_session_is_open_leaves_nothing(capfd):
    process, folder = SupervisorProcess(), new_folder()
    message = {
        "op": "open", "folder": folder, "ring_bytes": 1 << 20, "label": "gone", "pid": os.getpid(),
        "user": "nobody", "started": "2026-11-22T03:10:00+00:00", "realtime": False, "writes": True,
    }  # fmt: skip
    process.channel.send(message)
    process.channel.close()

    assert process.wait(20)

    assert process.status == 0
    assert not Path(folder).exists()
    assert capfd.readouterr().err == ""
