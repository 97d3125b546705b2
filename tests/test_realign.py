"""The words behind byte slips: told of by load, info and verify, and given where they were on request."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from made_files import ARGV, START, make_report
from slipping import emulated, without

import fastcap as fc
from fastcap.errors import StreamFormatError
from fastcap.info import file_info, format_info
from fastcap.sidecar import build_sidecar, encode, sidecar_path
from fastcap.stream import build_header
from fastcap.verify import verify_file

WORDS = 300_000
WHOLE = np.frombuffer(emulated(WORDS, "--rate", "2MHz", "--freq", "700000"), "<u8")  # M rolls over within
HEADER = build_header(ARGV, START)
CUTS = {
    "one": [(120_000, 3)],
    "each": [(30_000 * k + 17, k) for k in range(1, 8)],
    "two near each other": [(150_000, 5), (153_000, 4)],
}


def slipped(cuts: list[tuple[int, int]]) -> bytes:
    data = WHOLE.tobytes()
    for word, count in reversed(cuts):
        data = without(data, word, 8 - count, count)
    return data


@pytest.fixture
def write(tmp_path: Path):
    """Write a file of the data with cuts, and return its path."""

    def make(cuts: list[tuple[int, int]], name: str = "a.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(HEADER + slipped(cuts))
        return path

    return make


def left(cuts: list[tuple[int, int]]) -> np.ndarray:
    """Return the indices of the words that are whole."""
    return np.delete(np.arange(WORDS), [word for word, _ in cuts])


@pytest.mark.parametrize("kind", CUTS)
def test_realigned_words_are_the_source_s_less_the_damaged(write, kind):
    cuts = CUTS[kind]
    tr = fc.load(write(cuts), realign=True)

    assert np.array_equal(tr.words, WHOLE[left(cuts)])
    assert [(gap.word, gap.words_lost, gap.stage) for gap in tr.gaps] == [(w, 1, "slip") for w, _ in cuts]
    assert len(tr) + tr.words_lost == WORDS
    assert len(tr.problems) == len(cuts)


@pytest.mark.parametrize("kind", CUTS)
def test_every_value_of_every_window_is_that_of_the_whole_trace(write, kind):
    cuts = CUTS[kind]
    path = write(cuts)
    whole = fc.Trace.from_words(WHOLE, sample_rate=2_000_000)
    phase, radius, kept = whole.phase(), whole.radius(), left(cuts)
    tr = fc.load(path, realign=True)
    assert np.ptp(phase) > 100_000

    places = sorted({0, 1, 65_536, cuts[0][0] - 1, cuts[0][0], cuts[0][0] + 1, 200_000, len(tr) - 1, len(tr)})
    for begin in places:
        for end in (p for p in places if p >= begin):
            window, at = tr[begin:end], kept[begin:end]
            assert np.array_equal(window.words, WHOLE[at])
            assert np.array_equal(window.phase(), phase[at])
            assert np.array_equal(window.radius(), radius[at])
            assert all(
                np.array_equal(a, b) for a, b in zip(window.polar(), (phase[at], radius[at]), strict=True)
            )
            assert np.array_equal(window.m(), whole.m()[at])
    by_time = tr.window("60ms", duration="1ms")
    assert np.array_equal(by_time.words, WHOLE[kept[(kept >= 120_000) & (kept < 122_000)]])
    assert tr.stats().to_dict()["radius"]["mean"] == pytest.approx(radius[kept][12_000:].mean())
    assert not list(path.parent.glob("*.index")), "an index is of the words as they stand"


def test_without_realign_the_words_are_those_that_stand_there(write):
    tr = fc.load(write(CUTS["one"]))

    assert np.array_equal(tr.words, np.frombuffer(slipped(CUTS["one"])[: 8 * len(tr)], "<u8"))
    assert tr.gaps == ()
    (problem,) = tr.problems
    assert "3 bytes lost about word 120000" in problem
    assert "realign=True" in problem


def test_a_file_without_slips_is_the_same_realigned(write):
    path = write([])
    tr = fc.load(path, realign=True)

    assert np.array_equal(tr.words, WHOLE)
    assert (tr.gaps, tr.problems, fc.load(path).problems) == ((), (), ())


def test_a_realigned_trace_goes_to_another_process(write):
    tr = fc.load(write(CUTS["each"]), realign=True)[100_000:100_100]

    assert np.array_equal(pickle.loads(pickle.dumps(tr)).phase(), tr.phase())


def test_gaps_of_the_ring_behind_a_slip_cut_words_in_two(write):
    """Words dropped whole, as they stand: behind a slip these are the ends of one and the beginning of another."""
    data = slipped(CUTS["one"])
    path = write(CUTS["one"])
    at, count = 8 * 200_000, 500
    content = HEADER + data[:at] + data[at + 8 * count :]
    path.write_bytes(content)
    entries = [
        {"stage": "ring", "after_word": 200_000, "words": count, "certainty": "exact", "at_s": 0.1},
        {"stage": "slip", "after_word": 120_000, "words": 1, "certainty": "estimated", "at_s": 0.1,
         "bytes": 3, "within_words": [119_998, 120_002]},
    ]  # fmt: skip
    words = (len(content) - len(HEADER)) // 8
    report = make_report(path=str(path), bytes=len(content), words=words, words_lost=count, ledger=entries)
    sidecar = build_sidecar(report, header_bytes=len(HEADER), raw_header_text=HEADER[8:].decode())
    Path(sidecar_path(path)).write_bytes(encode(sidecar))
    tr = fc.load(path, realign=True)

    assert [(g.word, g.words_lost, g.stage) for g in tr.gaps] == [
        (120_000, 1, "slip"),
        (200_000, 501, "ring"),
    ]
    kept = np.delete(np.arange(WORDS), [120_000, *range(200_000, 200_501)])
    assert np.array_equal(tr.words, WHOLE[kept])
    assert np.array_equal(tr.phase(), fc.Trace.from_words(WHOLE[kept]).phase())


def test_files_of_a_split_are_realigned_by_what_was_lost_before_them(tmp_path):
    faults = "&fault=slip@300000:3&fault=slip@700000:6"
    with fc.open(f"sim://?rate=2MHz&q=1000000&speed=realtime{faults}") as board:
        cap = board.record(None, tmp_path / "a.bin", split="0.1s")
    whole = np.frombuffer(emulated(1_000_000, "--rate", "2MHz"), "<u8")

    seen = np.zeros(1_000_000, bool)
    for report in cap.reports:
        tr = fc.load(report["path"], realign=True)
        first = json.loads(Path(sidecar_path(report["path"])).read_text())["global"]["fastcap:first_word"]
        lost = [word for gap in tr.gaps for word in range(gap.word, gap.word + gap.words_lost)]
        source = np.delete(np.arange(first, first + len(tr) + len(lost)), lost)
        assert np.array_equal(tr.words, whole[source])
        seen[source] = True
    assert np.flatnonzero(~seen).tolist() == [300_000, 400_000, 600_000, 700_000, 800_000 + 1], (
        "a cut behind a slip goes through a word"
    )


def test_info_tells_of_slips(write):
    info = file_info(write(CUTS["each"]))

    missing = np.cumsum([0, *(count for _, count in CUTS["each"])])
    expected = [(w - -(-m // 8), n) for (w, n), m in zip(CUTS["each"], missing.tolist(), strict=False)]
    assert [(s["after_word"], s["bytes"]) for s in info["slips"]] == expected
    assert "slip       3 bytes lost about word 90,016 (90,014 to 90,018)" in format_info(info)
    assert file_info(write([], "b.bin"))["slips"] == []


def test_verify_remarks_on_slips(tmp_path):
    with fc.open("sim://?rate=2MHz&q=600000&speed=max&fault=slip@300000:3") as board:
        path = board.record(None, tmp_path / "a.bin").path
    verdict = verify_file(path)

    assert verdict.ok
    assert any("3 bytes lost about word 300000" in remark for remark in verdict.remarks)


def test_too_many_slips_are_refused(write, monkeypatch):
    monkeypatch.setattr("fastcap._realigned._MOST", 3)
    with pytest.raises(StreamFormatError, match="7 byte slips leave 8 stretches"):
        fc.load(write(CUTS["each"]), realign=True)


def test_a_realigned_file_that_becomes_shorter_raises(write):
    path = write(CUTS["one"])
    tr = fc.load(path, realign=True)
    with path.open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(StreamFormatError, match="shorter"):
        tr.phase()
    with pytest.raises(StreamFormatError, match="shorter"):
        _ = tr.words
