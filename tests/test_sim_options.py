import os
import pty

import pytest
from board_checks import COUNTER, TWO_MHZ

from fastcap.stream import parse_header

pytest_plugins = ["emulated_board"]


@pytest.mark.parametrize(
    ("rate", "exact", "flag"),
    [("2MHz", 2e6, "-l"), ("20e6", 2e7, "-h"), ("1Hz", 1, "-l"), ("4MHz", 4e6, "-h")],
)
def test_rate_asked_for_is_the_one_the_header_tells(emulate, rate, exact, flag):
    run = emulate("-q", "10", "--speed", "max", "--rate", rate, "-U", "x y", "-v", "3", "-s", "99")
    header = parse_header(run.raw)

    assert header.sample_rate_hz == exact
    assert flag in header.argv
    assert (header.device, header.num_words) == ("x y", 10)


def test_rate_that_no_header_can_tell_is_refused(emulate):
    run = emulate("--rate", "3MHz", *TWO_MHZ)

    assert run.status == 2
    assert "3e+06 Hz" in run.stderr


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["-x"], "-b"),
        (["-A", "-q", "5"], "-b"),
        (["--nonsense"], "--nonsense"),
        (["stray"], "stray"),
        (["-q", "many"], "many"),
        (["-q"], "-q"),
        (["-v", "loud"], "loud"),
        (["--fault", "stall@2"], "stall@2"),
        (["--fault", "exit@2:256"], "256"),
        (["--fault", "die@2+8"], "die@2"),
        (["--fault", "stall@2:3parsec"], "3parsec"),
        (["--pattern", "square"], "square"),
        (["--chunk", "0"], "--chunk"),
        (["--fifo", "big"], "big"),
        (["--radius", "1e9"], "1e9"),
        (["--radius", "wide"], "wide"),
        (["--freq", "2e7"], "2e\\+07"),
        (["-o", "/nowhere/file"], "/nowhere/file"),
        (["-v", "1", "-U", "a\nb"], "line break"),
    ],
)
def test_wrong_usage_is_one_line_and_status_two(emulate, flags, word):
    run = emulate("-l", *flags)

    assert (run.status, run.raw) == (2, b"")
    assert run.stderr.startswith("fastcap-teststream: error: ")
    assert run.stderr.count("\n") == 1
    assert word.replace("\\", "") in run.stderr


def test_h_is_the_fast_clock_and_help_is_spelt_out(emulate):
    assert parse_header(emulate("-q1", "-h", "-b", "-v3", "--speed", "max").raw).sample_rate_hz == 20_000_000
    helped = emulate("--help")
    assert helped.status == 0
    assert b"stall@WORD:TIME" in helped.raw


def test_terminal_is_refused(emulate):
    ours, boards = pty.openpty()
    try:
        run = emulate(*COUNTER, stdout=boards)
    finally:
        os.close(ours)
        os.close(boards)

    assert run.status == 2
    assert "terminal" in run.stderr
