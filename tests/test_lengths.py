"""A length ends a recording when it should: by the clock where no rate is known, and while the ring drops."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_runs import CommandLine
from engine import arrived_bytes, assert_law, workers
from support import wait_until

import fastcap as fc

pytest_plugins = ["command_line"]

STREAM = ["sh", "-c", "while :; do head -c 1000000 /dev/zero; sleep 0.01; done"]
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


def test_plan_tells_what_a_length_goes_by(clean_cli: CommandLine, tmp_path: Path) -> None:
    for source, cut_by in (("sim://?rate=2MHz", "word"), (["--", *TRICKLE], "word or clock")):
        given = source if isinstance(source, list) else [source]
        ended = clean_cli("capture", "--to", tmp_path, "--seconds", "5", "--dry-run", "--json", *given)
        assert ended.json["cut_by"] == cut_by, shlex.join(given)
        assert ended.json["source_timeout_s"] == 7
    assert "5 s, to the exact word if the stream's header tells the rate, else by the clock" in ended.err
    assert "ended if silent for 7 s" in ended.err
