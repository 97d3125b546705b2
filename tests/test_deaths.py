"""Whoever dies is replaced, and no word is lost, repeated or moved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from engine import assert_law, assert_whole, kill, recording, workers
from support import assert_counter_file, children_of, is_running, wait_until

from fastcap.workers import statusfile

WORDS = 20_000_000
# a FIFO that a busy machine cannot overflow: what is missing is then missing through us
BOARD = f"sim://?rate=10MHz&pattern=counter&q={WORDS}&fifo=512MiB"


def test_readers_die_and_no_byte_is_lost(tmp_path):
    words = 3 * WORDS
    with recording(BOARD.replace(f"q={WORDS}", f"q={words}"), tmp_path) as (finish, _):
        for _ in range(3):
            kill("reader", standing=2)
        cap = finish()

    assert cap.report["replaced"]["reader"] == 3
    assert_whole(cap, words)


@pytest.mark.parametrize("role", ["splitter", "nas_writer"])
def test_worker_dies_and_its_successor_goes_on(tmp_path, role):
    with recording(BOARD, tmp_path) as (finish, _):
        dead = kill(role)
        wait_until(lambda: [p for p in workers(role) if p != dead], 20, f"another {role}")
        cap = finish()

    assert cap.report["replaced"][role] == 1
    assert_whole(cap, WORDS)


def test_analysis_dies_and_costs_the_capture_nothing(tmp_path):
    with recording(BOARD, tmp_path, statistics=True) as (finish, _):
        kill("analysis")
        cap = finish()

    assert cap.report["replaced"]["analysis"] == 1
    assert cap.report["analysis"]["restarts"] == 1
    assert_whole(cap, WORDS)


def test_reader_dies_while_it_drops_and_the_count_stays_exact(tmp_path):
    with recording(BOARD, tmp_path, ring="16MiB", stalls=[(0.3, 1.2)]) as (finish, board):
        progress = board.session.recordings[1]
        wait_until(lambda: progress.progress.get("dropped_bytes"), 20, "drops")
        kill("reader", standing=2)
        cap = finish()

    report = cap.report
    assert_law(report)
    assert report["replaced"]["reader"] == 1
    assert report["words_lost"] > 0
    jumps = assert_counter_file(str(cap.path))
    assert sum(missing for _, missing in jumps) == report["words_lost"]
    assert [missing for _, missing in jumps] == [e["words"] for e in report["ledger"]]


CONTROLLER = """
    import fastcap as fc
    with fc.open("sim://?rate=10MHz&pattern=counter", ring="64MiB") as board:
        board.record("60s", {folder!r})
"""


def _controller(folder):
    code = textwrap.dedent(CONTROLLER.format(folder=str(folder)))
    process = subprocess.Popen([sys.executable, "-c", code])
    part = wait_until(lambda: [p for p in folder.glob("*.part") if p.stat().st_size], 30, "a part file")
    return process, part[0]


def test_controller_dies_and_its_capture_is_closed_as_interrupted(tmp_path):
    controller, _ = _controller(tmp_path)
    family = children_of(controller.pid)
    controller.kill()
    controller.wait()
    wait_until(lambda: not any(is_running(p) for p in family), 30, "the end of all processes")

    sidecar = json.loads(next(tmp_path.glob("*.sigmf-meta")).read_text())
    report = sidecar["global"]["fastcap:report"]
    assert report["interrupted"]
    assert not report["complete"]
    assert_law(report)
    assert assert_counter_file(report["path"], report["words"]) == []


def test_supervisor_dies_and_its_workers_and_source_end(tmp_path):
    controller, _ = _controller(tmp_path)
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
    shutil.rmtree(folders[0])
    for status in Path(statusfile.directory()).glob(f"*{os.path.basename(folders[0])}.json"):
        status.unlink()
