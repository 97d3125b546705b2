"""Functions of users: each session has them in its folder, as the module ``user_functions``."""

import contextlib
import os
import sys
import time

import numpy as np


def means(tr):
    """Everything that a JSON-able result may hold."""
    print("said by the function")
    r = tr.radius()
    return {
        "mean": r.mean(), "n": len(tr), "first": tr.words[0], "rate": tr.sample_rate_hz,
        "start": tr.start, "from_file": tr.path is not None, "meta": tr.meta,
        "argv": list(tr.header.argv), "phase": tr.phase()[-1], "gaps": [g.words_lost for g in tr.gaps],
        "array": r[:3], "nan": np.float64("nan"), "yes": np.bool_(True), "none": None,
        "matrix": np.array([[1, 2], [3, 4]], np.int16), "infinite": [float("inf")],
        "path": sys.path[0] == os.path.dirname(__file__),
    }  # fmt: skip


def raises(tr):
    return {"never": 1 / (len(tr) - len(tr))}


def leaves(tr):
    sys.exit("the function wants to leave")


def nothing(tr):
    len(tr)


def strange(tr):
    return {"deep": [{"x": object()}]}


def complex_value(tr):
    return {"z": np.complex128(1j)}


def too_much(tr):
    return {"all": tr.radius()[:1_100_000], "words": np.zeros(1_100_000)}


def same_keys(tr):
    return {1: 1, "1": 2}


number = 3


def waits(tr):
    """Look at the data, wait until the test has written to the pipe, look again."""
    first = int(tr.words[0])
    here = os.path.dirname(__file__)
    if os.path.exists(here + "/busy"):
        with open(here + "/busy", "w") as f:
            f.write("busy")
        with open(here + "/go") as f:
            f.read()
    return {"first": first, "sum": int(np.bitwise_xor.reduce(tr.words)), "from_file": tr.path is not None}


def collects(blocks):
    """Everything that a function of blocks may see."""
    got = [
        (b.index, b.gap_before, len(b), int(np.bitwise_xor.reduce(b.words)), b.phase()[-1]) for b in blocks
    ]
    return {
        "index": [g[0] for g in got], "gap_before": [g[1] for g in got], "words": [g[2] for g in got],
        "sum": int(np.bitwise_xor.reduce(np.array([g[3] for g in got], np.uint64))), "phase": got[-1][4],
        "start": blocks.start, "rate": blocks.sample_rate_hz, "meta": blocks.meta,
        "argv": list(blocks.header.argv), "missed": blocks.missed_words,
    }  # fmt: skip


def keeps(blocks):
    kept = list(blocks)
    return {"first": [int(b.words[0]) for b in kept], "radius": sum(b.radius().sum() for b in kept)}


def has_enough(blocks):
    return {"first": int(next(blocks).words[0])}


def fails_on_a_block(blocks):
    b = next(blocks)
    return {"never": 1 / (len(b) - len(b))}


def catches_all(blocks):
    try:
        for _ in blocks:
            pass
    except BaseException as e:
        return {"caught": type(e).__name__}
    return {"caught": None}


def sleeps(argument):
    while True:
        with contextlib.suppress(Exception):  # a time limit is none
            time.sleep(1000)


def sleeps_on_a_block(blocks):
    for _ in blocks:
        time.sleep(1000)


def hogs(tr):
    kept = []
    while True:
        kept.append(np.ones(1 << 20))
