"""A source that lives on without a word is ended, and that is said; a pause that is no silence ends nothing."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cli_runs import CommandLine
from engine import assert_exact, assert_law, assert_whole, counting, recording, workers
from support import assert_counter_file, children_of, is_running, wait_until

import fastcap as fc

pytest_plugins = ["command_line"]

WORDS = 100_000


def program(then: str, words: int = WORDS, before: str = "") -> list[str]:
    """Return a command that writes words which count up, in headerless form, and does ``then``."""
    code = f"""
        import array, os, signal, sys, time
        {before}
        os.write(1, array.array("Q", range({words})).tobytes()) if {words} else None
        {then}
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


def headerless(argv: list[str]) -> Any:
    """Return a board of a command whose stream has no header."""
    board = fc.open(argv, ring="64MiB")
    board.source = msgspec.structs.replace(board.source, expect_header=False)
    return board


def assert_counts(report: Any, words: int) -> None:
    """Assert that a headerless file holds ``words`` words that count up, and that no byte is unaccounted for."""
    assert (np.fromfile(report["path"], "<u8") == np.arange(words, dtype=np.uint64)).all()
    assert report["words"] == words
    assert_law(report)


ENDS = {
    "sleeps": ("time.sleep(1000)", "", "silent for 1 s", -signal.SIGTERM),
    "ignores SIGTERM": (
        "time.sleep(1000)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "silent for 1 s", -signal.SIGKILL,
    ),
    "closes its output": (
        "os.close(1); time.sleep(1000)", "", "did not exit within 1 s after the end of its output",
        -signal.SIGTERM,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_source_that_lives_on_is_ended_and_what_came_is_kept(tmp_path: Path, case: str) -> None:
    then, before, why, status = ENDS[case]
    with headerless(program(then, before=before)) as board, pytest.raises(fc.SourceError) as caught:
        board.record(None, tmp_path, source_timeout=1)

    assert "is ended; what came before is kept" in str(caught.value)
    report = caught.value.capture.report
    assert (report["source"]["ended"], report["source"]["exit_status"]) == (why, status)
    assert (report["complete"], report["interrupted"], report["words_lost"]) == (False, False, 0)
    assert_counts(report, WORDS)


def test_what_a_source_still_gives_when_it_is_asked_to_end_is_kept(tmp_path: Path) -> None:
    flush = 'os.write(1, array.array("Q", range(100000, 150000)).tobytes()); sys.exit(0)'
    before = f"signal.signal(signal.SIGTERM, lambda *_: exec({flush!r}))"
    with (
        headerless(program("time.sleep(1000)", before=before)) as board,
        pytest.raises(fc.SourceError) as caught,
    ):
        board.record(None, tmp_path, source_timeout=1)

    assert_counts(caught.value.capture.report, 150_000)


def test_source_without_a_byte_is_named_with_what_it_said(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no board >&2; exec sleep 1000"]
    with fc.open(command, ring="64MiB") as board:
        with pytest.raises(
            fc.SourceError, match=r"gave no byte for 1 s: it is ended; it said: no board"
        ) as caught:
            board.record(None, tmp_path, source_timeout=1)
        assert caught.value.capture is not None
        assert children_of(os.getpid(), "sleep") == []
    wait_until(lambda: not any(tmp_path.iterdir()), 20, "that no file is left")


@pytest.mark.root
def test_source_that_not_even_sigkill_ends_is_left_alone(
    tmp_path: Path, loopdisk: Callable[..., Any]
) -> None:
    disk = loopdisk("64MiB")
    then = f"open({str(disk.mount / 'file')!r}, 'w').write('x')"
    board = headerless(program(then))
    with disk.frozen():
        with pytest.raises(fc.SourceError, match="silent for 1 s") as caught:
            board.record(None, tmp_path, source_timeout=1)
        report = caught.value.capture.report
        board.close()

    assert report["source"]["ended"].startswith("silent for 1 s; process ")
    assert "is stuck in the kernel" in report["source"]["ended"]
    assert report["source"]["exit_status"] is None
    assert_counts(report, WORDS)


def test_pipe_that_a_child_of_the_source_holds_open_is_let_go(tmp_path: Path) -> None:
    then = "os.fork() or (os.setsid(), time.sleep(1000)); os._exit(0)"
    with headerless(program(then)) as board, pytest.raises(fc.SourceError, match="silent") as caught:
        board.record(None, tmp_path, source_timeout=1)

    assert_counts(caught.value.capture.report, WORDS)
    for pid in children_of(1, "time.sleep(1000)"):
        os.kill(pid, signal.SIGKILL)


def test_record_without_waiting_tells_of_silence_too(tmp_path: Path) -> None:
    with headerless(program("time.sleep(1000)")) as board:
        with pytest.raises(fc.SourceError, match="silent for 1 s") as caught:
            board.record(None, tmp_path, source_timeout=1, wait=False)
        assert caught.value.capture.wait().report["words"] == WORDS


def test_stream_of_a_silent_source_ends_with_an_error(tmp_path: Path) -> None:
    taken = []
    with (
        headerless(program("time.sleep(1000)")) as board,
        board.stream(save=tmp_path, source_timeout=1) as stream,
        pytest.raises(fc.SourceError, match="silent for 1 s"),
    ):
        taken.extend(len(block) for block in stream.blocks(timeout_s=None))

    assert sum(taken) == WORDS


def test_next_recording_works_after_a_silent_one(tmp_path: Path) -> None:
    script = program("os.mkdir('once') if not os.path.exists('once') else sys.exit(); time.sleep(1000)")
    command = ["sh", "-c", f'cd {tmp_path}; exec "$@"', "sh", *script]
    with headerless(command) as board:
        with pytest.raises(fc.SourceError):
            board.record(None, tmp_path, source_timeout=1)
        report = board.record(None, tmp_path, source_timeout=1).report
    assert report["complete"]
    assert_counts(report, WORDS)


# -- no silence ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [3, 0])
def test_stall_that_is_shorter_than_the_timeout_changes_nothing(tmp_path: Path, timeout: float) -> None:
    source = counting(1_000_000, fault="stall@400000:700ms")
    with fc.open(source, ring="64MiB") as board:
        assert_whole(board.record(None, tmp_path, source_timeout=timeout), 1_000_000)


def test_full_ring_and_a_source_that_waits_for_it_are_no_silence(tmp_path: Path) -> None:
    source = counting(3_000_000, rate="20MHz")
    with fc.open(source, ring="16MiB") as board:
        cap = board.record(None, tmp_path, on_full="wait", stalls=[(0.1, 4.0)], source_timeout=2)
    assert_whole(cap, 3_000_000)


@pytest.mark.parametrize("stopped", ["workers", "all"])
def test_workers_that_were_stopped_are_no_silence(tmp_path: Path, stopped: str) -> None:
    with recording(counting(20_000_000), tmp_path, source_timeout=2) as (finish, _):
        pids = workers("reader") + workers("splitter")
        if stopped == "all":
            pids += workers("supervisor") + children_of(os.getpid(), "fastcap.sim.board")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(3)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert_whole(finish(), 20_000_000)


def test_source_that_was_stopped_is_silent(tmp_path: Path) -> None:
    with recording(counting(), tmp_path, source_timeout=2) as (finish, _):
        (source,) = children_of(os.getpid(), "fastcap.sim.board")
        os.kill(source, signal.SIGSTOP)
        with pytest.raises(fc.SourceError, match="silent for 2 s") as caught:
            finish()
        report = caught.value.capture.report
        assert not is_running(source)
    assert assert_counter_file(report["path"], report["words"], odd_bytes=report["odd_bytes"]) == []


# -- commands ------------------------------------------------------------------------------------------


def test_command_says_it_and_ends_with_status_3(clean_cli: CommandLine, tmp_path: Path) -> None:
    source = counting(fault="stall@1000000:1000s")
    ended = clean_cli(
        "capture", source, "--to", tmp_path / "run.bin", "--ring", "64MiB", "--source-timeout", "2s", "--json"
    )

    assert ended.status == 3
    assert "warning: emulated board was silent for 2 s: it is ended" in ended.err
    assert "the source was ended: silent for 2 s" in ended.err
    report = ended.json
    assert (report["complete"], report["interrupted"], report["source"]["ended"]) == (
        False,
        False,
        "silent for 2 s",
    )
    assert assert_exact(report) == 1_000_000


def test_status_tells_of_a_silent_source(clean_cli: CommandLine, tmp_path: Path) -> None:
    source = counting(fault="stall@1000000:1000s")
    process = clean_cli.start(
        "capture", source, "--to", tmp_path / "run.bin", "--ring", "64MiB", "--source-timeout", "0", "--json"
    )
    told = wait_until(
        lambda: [line for line in clean_cli("status").out.splitlines() if "silent for" in line],
        30,
        "status to say it",
    )
    process.send_signal(signal.SIGINT)
    report = clean_cli.finish(process).json

    assert "source silent for" in told[0]
    assert report["words"] == 1_000_000


def test_standard_input_that_is_silent_is_ended_where_that_was_asked_for(
    clean_cli: CommandLine, tmp_path: Path
) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, np.arange(1000, dtype="<u8").tobytes())
    ended = clean_cli(
        "capture", "-", "--to", tmp_path / "run.bin", "--ring", "64MiB", "--source-timeout", "1s", "--json", stdin=ours
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)

    assert ended.status == 3
    assert "warning: standard input was silent for 1 s: it is ended" in ended.err
    assert_counts(ended.json, 1000)


# -- sweeps --------------------------------------------------------------------------------------------


def test_sweep_records_a_silent_point_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "once"
    script = program(
        f"os.mkdir({str(mark)!r}) if not os.path.exists({str(mark)!r}) else sys.exit(); time.sleep(1000)"
    )
    axis = fc.Axis(lambda value: None, [1.0, 2.0], name="x")
    with headerless(script) as board:
        results = fc.sweep(board, axis, record={"source_timeout": "1s"}, save=tmp_path / "sweep", retries=1)

    assert results.failed == {}
    assert "the source was ended: silent for 1 s" in capsys.readouterr().err
    assert len(list((tmp_path / "sweep").glob("*_a2.bin"))) == 1


def test_configuration_says_how_long_a_source_may_be_silent(tmp_path: Path) -> None:
    script = tmp_path / "words.py"
    script.write_text(program("time.sleep(1000)")[2])
    config = tmp_path / "board.toml"
    command = f"[{sys.executable!r}, {str(script)!r}]"
    config.write_text(f"[board]\ncommand = {command}\n[capture]\nsource_timeout = '1s'\n")
    with headerless(config) as board, pytest.raises(fc.SourceError, match="silent for 1 s"):  # type: ignore[arg-type]
        board.record(None, "none")


@pytest.mark.parametrize("value", ["soon", -1])
def test_timeout_that_is_no_time_is_refused_before_anything_starts(tmp_path: Path, value: Any) -> None:
    with fc.open(counting(), ring="64MiB") as board:
        with pytest.raises(ValueError, match=r"source time-out: .* is not a time such as 30s"):
            board.record("1s", tmp_path, source_timeout=value)
        assert board.session is None
