"""The end of a recording: the analysis is in the sidecar, the files are there, or the report says what is not."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from engine import assert_whole, counting, workers
from support import InThread, is_running, sha256_file, wait_until

import fastcap as fc
from fastcap import spec
from fastcap.verdict import judge

WORDS = 200_000
BOARD = counting(WORDS)


def analyse(tr: Any) -> dict[str, float]:
    """Be called once the file is complete."""
    return {"words": len(tr)}


def _sidecar_report(path: Path | str | None) -> dict[str, Any]:
    assert path is not None
    return json.loads(Path(path).with_suffix(".sigmf-meta").read_text())["global"]["fastcap:report"]


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["create", "write", "fsync", "rename"])
def test_second_sidecar_that_fails_at_first_is_tried_again(faultfs, operation):
    fs = faultfs()
    fs.error(operation, errno.EIO, path="*.sigmf-meta*", after=1, count=2)
    with fc.open(BOARD, ring="32MiB") as board:
        cap = board.record(None, fs.mount / "run.bin", analyse=analyse)
        fs.clear()
        assert _sidecar_report(fs.backing / "run.bin") == cap.report.to_dict() | {
            "sink": {**cap.report["sink"], "errors": []}
        }
        assert_whole(cap, WORDS)


@pytest.mark.fuse
def test_record_returns_when_the_sidecar_with_the_analysis_is_on_disk(faultfs):
    fs = faultfs()
    rule = fs.stall("fsync", path="run.sigmf-meta.part", after=1)
    with fc.open(BOARD, ring="32MiB") as board:
        call = InThread(lambda: board.record(None, fs.mount / "run.bin", analyse=analyse))
        fs.wait_fired(rule)
        assert board.session is not None
        assert not board.session.recordings[1].done
        assert call.running
        fs.clear(rule)
        cap = call.join()
        assert _sidecar_report(fs.backing / "run.bin")["analysis"] == cap.report["analysis"]
        assert cap.report["analysis"]["function"]["result"] == {"words": WORDS}


@pytest.mark.fuse
def test_analysis_that_cannot_get_into_the_sidecar_is_told_in_report_and_status(faultfs):
    fs = faultfs()
    fs.error("write", errno.ENOSPC, path="run.sigmf-meta.part", after=1, count=None)
    with fc.open(BOARD, ring="32MiB") as board:
        message, fds = spec.recording(
            board.source, to=fs.mount / "run.bin", analyse=analyse, ring_bytes=board.ring_bytes()
        )
        message["sink"]["give_up_s"] = 0.5
        capture = board.begin(message, fds)
        report = capture.report
        (warned, gave_up) = capture.recording.warnings

    assert "No space left on device" in warned
    assert "the sidecar lacks the analysis" in gave_up
    assert not report["complete"]
    assert report.exit_status == 3
    assert "the sidecar lacks the analysis" in judge(report).line
    assert report["analysis"]["function"]["result"] == {"words": WORDS}
    assert _sidecar_report(fs.backing / "run.bin")["analysis"] is None
    assert sha256_file(fs.backing / "run.bin") == report["checksum"]["value"]


@pytest.mark.fuse
def test_writer_killed_in_its_last_write_is_replaced(faultfs):
    fs = faultfs()
    rule = fs.stall("fsync", path="run.sigmf-meta.part", after=1, killable=True)
    with fc.open(BOARD, ring="32MiB") as board:
        call = InThread(lambda: board.record(None, fs.mount / "run.bin", analyse=analyse))
        fs.wait_fired(rule)
        writer = _writer_that_writes(fs)
        os.kill(writer, signal.SIGKILL)
        wait_until(lambda: not is_running(writer), 20, "its end")
        fs.clear(rule)  # it holds its successor, too
        cap = call.join()
        assert _sidecar_report(fs.backing / "run.bin")["analysis"] == cap.report["analysis"]
        assert_whole(cap, WORDS)


def _writer_that_writes(fs):
    """Return the NAS writer that has the mount open."""

    def found():
        return [pid for pid in workers("nas_writer") if any(fs.mount == Path(t) for t in _open_files(pid))]

    return wait_until(found, 20, "a writer in the mount")[0]


def _open_files(pid):
    folder = f"/proc/{pid}/fd"
    found = []
    for fd in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{fd}"))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("how", ["removed", "replaced", "truncated"])
def test_finished_file_of_a_split_that_is_gone_at_the_end_is_told(tmp_path, how):
    with fc.open(counting(rate="1MHz"), ring="64MiB") as board:
        call = InThread(lambda: board.record(None, tmp_path / "run.bin", split="0.1s"))
        files = wait_until(
            lambda: board.session and 1 in board.session.recordings and board.session.recordings[1].files,
            20, "a complete file",
        )  # fmt: skip
        first = Path(files[0]["path"])
        kept = first.read_bytes()
        if how == "truncated":
            os.truncate(first, 1000)
        elif how == "removed":
            first.unlink()
        else:
            (tmp_path / "other").write_bytes(kept)
            (tmp_path / "other").rename(first)
        assert board.session is not None
        board.session.finish(1)
        reports = call.join().reports

    assert [r["complete"] for r in reports] == [False] + [True] * (len(reports) - 1)
    assert str(first) in reports[0]["sink"]["file_error"]
    assert reports[0].exit_status == 3
