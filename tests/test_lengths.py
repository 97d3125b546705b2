"""A length ends a recording when it should: by the clock where no rate is known, and while the ring drops."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cli_runs import CommandLine
from engine import arrived_bytes, assert_law, kill, workers
from support import wait_until

import fastcap as fc

pytest_plugins = ["command_line"]

STREAM = ["sh", "-c", "while :; do head -c 1000000 /dev/zero; sleep 0.01; done"]
COUNTS = [
    sys.executable, "-c",
    "import array, os, time\nat = 0\n"
    "while True: os.write(1, array.array('Q', range(at, at + 1000)).tobytes()); at += 1000; time.sleep(0.002)",
]  # fmt: skip
TRICKLE = ["sh", "-c", "while :; do head -c 8003 /dev/zero; sleep 0.01; done"]


def headerless(argv: list[str], ring: str = "16MiB") -> fc.Board:
    """Return a board of a command whose stream has no header, and so no rate."""
    board = fc.open(argv, ring=ring)
    board.source = msgspec.structs.replace(board.source, expect_header=False)
    return board


def test_seconds_of_a_source_without_a_rate_go_by_the_clock(tmp_path: Path) -> None:
    with headerless(TRICKLE) as board:
        report = board.record("0.5s", tmp_path).report

    assert (report["complete"], report["source"]["ended"]) == (True, "after 0.5 s by the clock")
    assert report["words"] > 0
    assert report["bytes"] == 8 * report["words"], "it ends with a whole word"
    assert_law(report)


@pytest.mark.parametrize("asked", [{"length": "1s"}, {"samples": 20_000_000}, {"samples": 20_000_001}])
def test_length_holds_while_the_ring_drops(tmp_path: Path, asked: dict[str, Any]) -> None:
    captures: list[fc.Capture] = []
    with headerless(STREAM) as board:
        thread = threading.Thread(target=lambda: captures.append(board.record(to=tmp_path, **asked)))
        thread.start()
        wait_until(lambda: arrived_bytes(board), 30, "first bytes")
        writers = workers("nas_writer")
        for pid in writers:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: board.session.recordings[1].sampled, 30, "its end, though nothing is written")
        finally:
            for pid in writers:
                os.kill(pid, signal.SIGCONT)
        thread.join(60)
        report = captures[0].report

    assert report["complete"]
    assert report["words_lost"] > 0
    assert report["words"] + report["words_lost"] == asked.get(
        "samples", report["words"] + report["words_lost"]
    )
    assert sum(e["words"] for e in report["ledger"]) == report["words_lost"]
    assert_law(report, cut=True)


def _kill_splitter() -> None:
    kill("splitter")


def _kill_writer() -> None:
    kill("nas_writer")


@pytest.mark.parametrize("fault", [None, _kill_splitter, _kill_writer])
def test_split_of_a_source_without_a_rate_goes_by_the_clock(
    tmp_path: Path, fault: Callable[[], None] | None
) -> None:
    captures: list[fc.Capture] = []
    with headerless(COUNTS) as board:
        thread = threading.Thread(target=lambda: captures.append(board.record(None, tmp_path, split="0.3s")))
        thread.start()
        wait_until(lambda: board.session and 1 in board.session.recordings, 30, "its begin")
        files = board.session.recordings[1].files
        wait_until(lambda: len(files) >= 2, 30, "two files")
        if fault is not None:
            fault()
            wait_until(lambda: len(files) >= 5, 30, "more files")
        board.session.finish(1)
        thread.join(60)
    reports = captures[0].reports

    assert len(reports) >= (6 if fault else 3)
    begun = 0
    for report in reports:
        assert report["complete"]
        assert report["words"] > 0
        words = np.fromfile(report["path"], "<u8")
        assert (words == np.arange(begun, begun + report["words"], dtype=np.uint64)).all()
        sidecar = json.loads(Path(report["path"]).with_suffix(".sigmf-meta").read_text())
        assert sidecar["global"]["fastcap:first_word"] == begun
        begun += report["words"]
    assert_law(*reports, cut=True)
    times = [datetime.fromisoformat(report["started"]) for report in reports]
    lasted = [report["duration_s"] for report in reports]
    for ended, so_far_s in enumerate(
        accumulate(lasted[:-1]), 1
    ):  # a busy machine may be late, and is never early
        assert so_far_s >= 0.3 * ended - 0.1
    for (one, other), lasted_s in zip(pairwise(times), lasted[:-1], strict=True):
        assert (other - one).total_seconds() == pytest.approx(lasted_s, abs=0.02)


def test_split_is_exact_where_the_stream_tells_its_rate(tmp_path: Path) -> None:
    board = f"exec {sys.executable} -m fastcap sim -s 9 -l -b -q 1000000 -v 3 --pattern counter"
    argv = ["sh", "-c", board]  # so that nobody finds the rate in its arguments
    with fc.open(argv, ring="64MiB") as board:
        assert board.source.sample_rate_hz is None
        reports = board.record(None, tmp_path, split="0.3s").reports

    assert [report["words"] for report in reports] == [300_000, 300_000, 300_000, 100_000]


def test_plan_tells_what_a_split_goes_by(clean_cli: CommandLine, tmp_path: Path) -> None:
    plan = ("capture", "--to", tmp_path, "--split", "5", "--dry-run", "--json")
    header = "to the exact word if the stream's header tells the rate, else by the clock"
    for options, split_by, text in (
        ([], "word or clock", f"a new file every 5 s, {header}"),
        (["--payload", "none"], "clock", "a new file every 5 s, by the clock, for the rate is not known"),
    ):
        ended = clean_cli(*plan, *options, "--", *TRICKLE)
        assert ended.json["split_by"] == split_by
        assert text in ended.err
    ended = clean_cli(*plan, "--samples", "1000", "--", *TRICKLE)
    assert (ended.json["cut_by"], ended.json["split_by"]) == ("word", "word or clock")
    assert clean_cli(*plan, "sim://?rate=2MHz").json["split_by"] == "word"
    assert (
        clean_cli("capture", "--to", tmp_path, "--dry-run", "--json", "sim://?rate=2MHz").json["split_by"]
        is None
    )


def test_plan_tells_what_a_length_goes_by(clean_cli: CommandLine, tmp_path: Path) -> None:
    for source, cut_by in (("sim://?rate=2MHz", "word"), (["--", *TRICKLE], "word or clock")):
        given = source if isinstance(source, list) else [source]
        ended = clean_cli("capture", "--to", tmp_path, "--seconds", "5", "--dry-run", "--json", *given)
        assert ended.json["cut_by"] == cut_by, shlex.join(given)
        assert ended.json["source_timeout_s"] == 7
    assert "5 s, to the exact word if the stream's header tells the rate, else by the clock" in ended.err
    assert "ended if silent for 7 s" in ended.err
