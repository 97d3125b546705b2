"""Flags for the emulated board, and checks on the stream and the report it leaves."""

import sys

import numpy as np

DEADLINE_S = 60
COMMAND = [sys.executable, "-m", "fastcap.sim.board"]
TWO_MHZ = ["-s4", "-lb", "-v3"]
COUNTER = [*TWO_MHZ, "--pattern", "counter"]
AT_ONCE = [*COUNTER, "--speed", "max"]


def check_accounts(run):
    """Assert that every word made was written, lost or left, and that the counter pattern shows just that."""
    report, words = run.report, run.words
    lost = report["words_lost_overflow"] + report["words_lost_fault"]
    assert report["words_made"] == report["words_written"] + lost + report["words_left"]
    assert report["words_written"] == len(words)
    assert report["bytes_written"] == len(run.raw)
    steps = np.diff(words.astype(np.int64))
    assert (steps > 0).all()
    return steps


def gaps(words):
    """Return first missing word and count of every gap in a counter pattern."""
    padded = np.concatenate([[-1], words.astype(np.int64)])
    at = np.flatnonzero(np.diff(padded) != 1)
    return [(int(padded[k]) + 1, int(padded[k + 1] - padded[k]) - 1) for k in at]
