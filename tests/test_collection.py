"""What is done with each of many files, and statistics of all of them."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import pytest
from fibre_files import NIGHT, fibre_words, split_night, write_file

import fastcap as fc
from fastcap import collection
from fastcap.errors import ConfigError, StreamFormatError
from fastcap.stats import TraceStats
from fastcap.words import phase, radius

SECOND = timedelta(seconds=1)


def same(found: TraceStats, wanted: TraceStats) -> None:
    """Counts and histograms exactly; what is of the phase to an ulp, sums to a rounding."""
    a, b = found.to_dict(), wanted.to_dict()
    for name in ("radius", "phase_turns"):
        for key in ("min", "max"):
            assert a[name][key] == pytest.approx(b[name][key], rel=2.3e-16)
        for key in ("count", "mean", "std"):
            assert a[name][key] == pytest.approx(b[name][key], rel=1e-12)
    assert a["phase_turns"]["range"] == pytest.approx(b["phase_turns"]["range"], rel=1e-15)
    assert a["phase_turns"]["percentiles"] == pytest.approx(b["phase_turns"]["percentiles"], rel=1e-12)
    assert a["histograms"] == b["histograms"]
    assert (found.words, found.skipped_words) == (wanted.words, wanted.skipped_words)


def test_map_gives_each_file_s_value_in_order(tmp_path):
    for k in range(3):
        write_file(tmp_path / f"{k}.bin", fibre_words(0, 1000 * (k + 1)), NIGHT - k * SECOND)
    done = []

    found = fc.load_many(tmp_path).map(len, progress=lambda *now: done.append(now))

    assert found == [3000, 2000, 1000]
    assert done == [(1, 3), (2, 3), (3, 3)]


@contextmanager
def files_to_open(soft: int) -> Iterator[None]:
    """Let descriptors of this process be below ``soft``; those that are open stay."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_set_may_have_more_files_than_a_process_may_usually_open(tmp_path):
    for k in range(100):
        write_file(tmp_path / f"{k:02}.bin", fibre_words(0, 10), NIGHT + k * SECOND)

    with files_to_open(64):
        traces = fc.load_many(tmp_path)
    with files_to_open(64):
        copies = pickle.loads(pickle.dumps(traces))

    assert [len(trace) for trace in (*traces, *copies)] == [10] * 200


def test_too_many_open_files_are_said_to_be_that(tmp_path):
    path = write_file(tmp_path / "a.bin", fibre_words(0, 1000), NIGHT)

    with (
        files_to_open(0),
        pytest.raises(StreamFormatError, match=r"Too many open files; .*raise the limit \(ulimit -n\)"),
    ):
        fc.load(path)


def test_an_error_names_the_file(tmp_path):
    write_file(tmp_path / "a.bin", fibre_words(0, 10), NIGHT)

    with pytest.raises(ZeroDivisionError) as error:
        fc.load_many(tmp_path).map(lambda trace: 1 / 0)
    assert error.value.__notes__ == [f"in the trace {tmp_path / 'a.bin'}"]


@pytest.mark.parametrize("chunk", [997, 40_000, 1 << 26])
def test_statistics_of_chunks_are_those_of_one_pass(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(collection, "_CHUNK_WORDS", chunk)
    whole = TraceStats()
    whole.update(fibre_words(0, 100_000))

    found = fc.load_many(split_night(tmp_path, (0, 30_000, 30_003, 100_000))).stats()

    assert found.phase_range_turns > 65_536
    same(found, whole)


def test_statistics_of_recordings_leave_out_the_transient_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "_CHUNK_WORDS", 7_000)
    for k in range(2):
        write_file(tmp_path / f"{k}.bin", fibre_words(0, 30_000 + k), NIGHT + 10 * k * SECOND)
    wanted = TraceStats(0)
    for k in range(2):
        one = TraceStats()
        one.update(fibre_words(0, 30_000 + k))
        wanted.merge(one)

    same(fc.load_many(tmp_path).stats(), wanted)
    assert wanted.skipped_words == 24_000


@pytest.mark.parametrize("chunk", [3_000, 1 << 26])
def test_lost_words_within_the_transient_take_their_time(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(collection, "_CHUNK_WORDS", chunk)
    words = fibre_words(0, 50_000)
    entry = {"stage": "ring", "after_word": 5_000, "words": 4_000, "certainty": "exact", "at_s": 0.5}
    kept = np.delete(words, range(5_000, 9_000))
    write_file(tmp_path / "a.bin", kept, NIGHT, ledger=[entry])
    found = fc.load_many(tmp_path).stats()

    assert found.skipped_words == 8_000
    assert found.radius.maximum == radius(kept)[8_000:].max()
    assert found.phase.maximum == phase(kept)[8_000:].max()


def test_a_scheduler_that_is_none_is_refused(tmp_path):
    write_file(tmp_path / "a.bin", fibre_words(0, 10), NIGHT)

    with pytest.raises(ConfigError, match=r"scheduler 5 is not None, 'local', an address"):
        fc.load_many(tmp_path).map(len, scheduler=5)
