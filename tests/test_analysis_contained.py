"""What a user's function can do to a capture: nothing. Whole sessions, as users start them."""

import collections
import ctypes
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_files import counter_words, ledger_entry, write_capture

import fastcap as fc
from fastcap.verify import verify_file
from fastcap.workers.joined import trace_of_files

SOURCE = "sim://?rate=2MHz&pattern=counter&header=none&transient=0"
WORDS = 100_000
DOCUMENT = (Path(__file__).parents[1] / "docs/analysis.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def crashes(tr):
    ctypes.string_at(0)


def aborts(blocks):
    next(blocks)
    os.abort()


def hangs_in_c(tr):
    collections.deque(itertools.repeat(0), maxlen=0)


def takes_a_gigabyte(tr):
    return {"n": np.ones(1 << 27).size}


def adds_up(tr):
    return {"n": len(tr), "sum": int(tr.words.sum()), "gaps": len(tr.gaps), "rate": tr.sample_rate_hz}


def whole(report):
    """Check that the file is complete and the statistics of all words are there."""
    assert report["complete"]
    assert report["words_lost"] == 0
    assert verify_file(report["path"]).ok


def statistics_of_all(report):
    assert report["analysis"]["words"] == WORDS
    assert report["analysis"]["radius"]["count"] == WORDS - 12_000
    return report["analysis"]["function"]["error"]


@pytest.fixture
def board():
    with fc.open(SOURCE, ring="16MiB") as opened:
        yield opened


def test_a_crash_is_reported_and_costs_neither_file_nor_statistics_nor_the_next_recording(board, tmp_path):
    report = board.record(samples=WORDS, to=tmp_path, analyse=crashes).report
    error = statistics_of_all(report)
    whole(report)

    assert error["type"] == "WorkerError"
    assert "SIGSEGV" in error["message"]
    after = board.record(samples=WORDS, to=tmp_path, analyse=adds_up).report
    assert after["analysis"]["function"]["result"]["n"] == WORDS


def test_a_crash_on_blocks_again_and_again_ends_the_analysis_alone(board, tmp_path):
    report = board.record("300ms", tmp_path, analyse=aborts).report
    whole(report)

    assert "SIGABRT" in report["analysis"]["error"] or report["analysis"]["restarts"] == 1


def test_code_that_never_returns_to_the_interpreter_is_ended_with_its_process(board, tmp_path):
    report = board.record(samples=WORDS, to=tmp_path, analyse=hangs_in_c, analyse_timeout=0.5).report
    error = statistics_of_all(report)
    whole(report)

    assert error["type"] == "FunctionTimeout"
    assert "time limit of 0.5 s" in error["message"]


def test_an_allocation_beyond_the_limit_is_an_error_of_the_function(board, tmp_path):
    limit = {"analyse": takes_a_gigabyte, "analyse_memory": "256MiB"}
    report = board.record(samples=WORDS, to=tmp_path, **limit).report
    error = statistics_of_all(report)
    whole(report)

    assert "Memory" in error["type"]


@pytest.fixture
def replay(tmp_path):
    """A source that waits for everybody: 4,000,000 counting words at 20 MHz."""
    path = tmp_path / "source"
    path.write_bytes(np.arange(4_000_000, dtype="<u8").tobytes())
    with fc.open(f"file://{path}?rate=20MHz", ring="1MiB") as board:
        yield board


def test_a_split_recording_is_one_trace_even_when_it_left_the_ring(replay, tmp_path):
    reports = replay.record(to=tmp_path, analyse=adds_up, split="50ms").reports

    assert len(reports) == 4
    assert reports[-1]["analysis"]["function"]["result"] == {
        "n": 4_000_000, "sum": sum(range(4_000_000)), "gaps": 0, "rate": 2e7,
    }  # fmt: skip


def test_a_split_recording_that_does_not_fit_into_memory_says_so(replay, tmp_path):
    reports = replay.record(to=tmp_path, analyse=adds_up, split="50ms", analyse_memory="48MB").reports

    error = reports[-1]["analysis"]["function"]["error"]
    assert error["type"] == "RingError", error["traceback"]
    assert "4 files" in error["message"]
    assert reports[0]["path"] in error["message"]
    assert "load_many" in error["message"]


def test_a_crash_on_a_file_costs_no_statistics_either(replay, tmp_path):
    report = replay.record(to=tmp_path, analyse=crashes).report

    whole(report)
    assert report["analysis"]["words"] == 4_000_000
    assert "SIGSEGV" in report["analysis"]["function"]["error"]["message"]


def test_gaps_of_joined_files_are_where_words_are_missing(tmp_path):
    paths = []
    for name, first, gap in (("a", 0, (600, 50)), ("b", 1050, (300, 7))):
        paths.append(str(tmp_path / f"{name}.bin"))
        ledger = [ledger_entry(*gap)]
        write_capture(Path(paths[-1]), counter_words(first, 1000), ledger=ledger, words_lost=gap[1])
    trace = trace_of_files(paths, 1 << 30)

    assert [(g.file_word, g.word, g.words_lost) for g in trace.gaps] == [(600, 600, 50), (1300, 1350, 7)]
    assert trace.words.tolist() == [*range(1000), *range(1050, 2050)]
    assert (trace.sample_rate_hz, trace.meta) == (2e6, {"laser_curr": "392.8mA"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"analyse_timeout": 0}, "analyse_timeout of 0 s"),
        ({"analyse_timeout": "soon"}, "soon"),
        ({"analyse_memory": 0}, "analyse_memory of 0 bytes"),
    ],
)
def test_limits_that_make_no_sense_are_refused_before_anything_starts(options, message):
    with fc.open(SOURCE) as board, pytest.raises(ValueError, match=message):
        board.record(samples=1000, to="none", analyse=adds_up, **options)
    assert board.session is None


def test_limits_may_stand_in_the_configuration(tmp_path):
    from fastcap.config import load_board_config

    path = tmp_path / "board.toml"
    path.write_text(
        '[board]\nsource = "sim://"\n'
        '[capture]\nanalyse_timeout = "1h"\nanalyse_memory = "2GiB"\nanalyse_lossless = false\n'
    )
    options = load_board_config(path).options

    assert options == {"analyse_timeout": "1h", "analyse_memory": "2GiB", "analyse_lossless": False}
    with pytest.raises(fc.ConfigError, match="analyse_timeout"):
        load_board_config(path, overrides=["analyse_timeout=0s"])


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["trace", "blocks"])
def test_the_documentations_functions_run_as_pasted(snippet, tmp_path):
    argv = [sys.executable, "-c", snippet]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{'")
