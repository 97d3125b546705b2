"""What windows and slices tell of the words that are missing in them, against a plain model of a recording."""

from __future__ import annotations

import csv
import json
import pickle
from datetime import timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5netcdf
import numpy as np
import pytest
from fibre_files import RATE, write_file
from made_files import START, counter_words, ledger_entry, write_capture

from fastcap import Trace, load, load_many
from fastcap._survey import survey
from fastcap.cli import main
from fastcap.export import export
from fastcap.sidecar import Gap
from fastcap.windows import Window

# source words lost: at the begin, in one gap, in two that follow each other, at the end
RECORDINGS = {
    "amid": [(4, 3)],
    "at the begin": [(0, 3)],
    "at the end": [(7, 3)],
    "two side by side": [(3, 2), (5, 3)],
    "all of these": [(0, 2), (3, 2), (7, 1), (8, 2), (12, 2)],
    "none": [],
}
SPAN = 14


def recording(lost: list[tuple[int, int]]) -> tuple[Trace, list[int | None]]:
    """Return a trace whose words are their own source indices, and these, None where one was lost."""
    model: list[int | None] = list(range(SPAN))
    for at, count in lost:
        model[at : at + count] = [None] * count
    gaps, before = [], 0
    for at, count in lost:
        gaps.append(Gap(at - before, at, count, "ring"))
        before += count
    words = np.array([k for k in model if k is not None], np.uint64)
    return Trace.from_words(words, sample_rate=1, start=START, gaps=gaps), model


def told(tr: Trace | Window) -> list[int | None]:
    """Return what a trace says of its time: its words in order, None for each that it says was lost."""
    found: list[int | None] = []
    words = tr.words.tolist()
    taken = 0
    for gap in tr.gaps:
        found += words[taken : gap.file_word]
        taken = gap.file_word
        assert gap.word == len(found)
        assert gap.words_lost > 0
        found += [None] * gap.words_lost
    return found + words[taken:]


def sliced(model: list[int | None], a: int, b: int) -> list[int | None]:
    """Return words ``a`` to ``b`` of what is there, with the gaps between, and those at an end that they reach."""
    places = [k for k, word in enumerate(model) if word is not None]
    if b <= a and len(places):
        return []
    begin = 0 if a == 0 else places[a]
    end = len(model) if b == len(places) else places[b - 1] + 1
    return model[begin:end]


def check(tr: Trace, model: list[int | None], begin: int) -> None:
    assert told(tr) == model
    lost = model.count(None)
    assert tr.words_lost == lost == sum(gap.words_lost for gap in tr.gaps)
    assert (f"{lost:,} lost in" in repr(tr)) == (lost > 0)
    if model:
        assert tr.start == START + timedelta(seconds=begin)


@pytest.mark.parametrize("lost", RECORDINGS.values(), ids=RECORDINGS)
def test_every_window_and_slice_tells_what_is_missing_in_it(lost: list[tuple[int, int]]) -> None:
    tr, model = recording(lost)
    check(tr, model, 0)
    for first in range(SPAN + 1):
        for last in range(first, SPAN + 1):
            window, inside = tr.window(first, last - first), model[first:last]
            check(window, inside, first)
            for k in range(len(inside) + 1):
                check(window.window(k), inside[k:], first + k)
                check(window.window(0, k), inside[:k], first)
            for a in range(len(window) + 1):
                for b in range(a, len(window) + 1):
                    part = sliced(inside, a, b)
                    at = first + (inside.index(part[0]) if a and part else 0)
                    check(window[a:b], part, at)


def test_times_between_words_go_to_the_word_behind_them() -> None:
    tr, model = recording(RECORDINGS["amid"])

    assert told(tr.window(4.5, 3)) == model[5:8]
    assert told(tr.window("3999ms", "1ms")) == []
    assert told(tr.window("3999ms", "2ms")) == [None]


def test_a_slice_of_all_is_the_same_and_pickles() -> None:
    tr, _ = recording(RECORDINGS["all of these"])

    for part in (tr[:], tr.window(8, 5), tr.window(8, 2), tr.window(8, 5)[:]):
        other = pickle.loads(pickle.dumps(part))
        assert (other.gaps, other.start, told(other)) == (part.gaps, part.start, told(part))
    assert tr.window(3, 5)[:].gaps == tr.window(3, 5).gaps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A capture of 100,000 words at 2 MHz, with 40,000 lost behind its first 30,000."""
    path = tmp_path / "a.bin"
    data = counter_words(0, 30_000) + counter_words(70_000, 70_000)
    write_capture(path, data, ledger=[ledger_entry(30_000, 40_000)], words_lost=40_000)
    return path


WITHIN = ("16ms", "1ms")  # 2,000 words, all lost
AT_EDGES = {("14ms", "2ms"): 2_000, ("34ms", "2ms"): 2_000, ("10ms", "50ms"): 40_000, ("5ms", "5ms"): 0}


def test_pickled_windows_of_a_file_keep_their_gaps(path: Path) -> None:
    for window, lost in AT_EDGES.items():
        part = pickle.loads(pickle.dumps(load(path).window(*window)))
        assert (part.words_lost, len(part)) == (lost, int(2000 * float(window[1][:-2])) - lost)


@pytest.mark.parametrize(("window", "lost"), AT_EDGES.items())
def test_exports_say_how_many_words_of_the_window_were_lost(
    path: Path, window: tuple[str, str], lost: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for ending in ("npz", "csv", "nc"):
        out = path.with_suffix(f".{ending}")
        args = ["export", str(path), "--to", str(out), "--start", window[0], "--duration", window[1]]
        assert main(args) == 0
        assert (f"{lost:,} words of this window were lost" in capfd.readouterr().err) == (lost > 0)
    assert int(np.load(path.with_suffix(".npz"))["words_lost"]) == lost
    with h5netcdf.File(path.with_suffix(".nc")) as file:
        assert int(file.attrs["words_lost"]) == lost
    rows = list(csv.reader(path.with_suffix(".csv").open()))
    assert rows[0] == ["time_s", "phase_turns", "radius_counts", *(["words_lost"] if lost else [])]
    assert sum(int(row[3]) for row in rows[1:] if lost) == lost
    times = np.array([float(row[0]) for row in rows[1:]])
    begin, end = (float(text[:-2]) / 1000 for text in (window[0], window[1]))
    grid = np.round(np.arange(round(begin * 2e6), round((begin + end) * 2e6)))
    there = (grid < 30_000) | (grid >= 70_000)
    np.testing.assert_allclose(times * 2e6, grid[there], atol=1e-3)


@pytest.mark.parametrize("lost", RECORDINGS.values(), ids=RECORDINGS)
def test_rows_of_a_csv_say_where_words_were_lost(tmp_path: Path, lost: list[tuple[int, int]]) -> None:
    tr, model = recording(lost)
    for k, (first, last) in enumerate((a, b) for a in range(SPAN) for b in range(a + 1, SPAN + 1)):
        inside = model[first:last]
        if not inside.count(None) or inside.count(None) == len(inside):
            continue
        with export(tr.window(first, last - first), tmp_path / f"{k}.csv", what=["q"]).open() as file:
            names, *rows = csv.reader(file)
        rebuilt: list[int | None] = []
        for _, word, before in rows:
            rebuilt += [*[None] * int(before), int(word)]
        behind = len(inside) - len("".join("w" if word is not None else " " for word in inside).rstrip())
        last_one = rebuilt.pop()
        del rebuilt[len(rebuilt) - behind :]  # the last row counts what was lost behind it, too
        assert names == ["time_s", "q_counts", "words_lost"]
        assert [*rebuilt, last_one, *[None] * behind] == inside


def test_a_csv_at_a_lower_rate_counts_what_was_lost(path: Path) -> None:
    out = export(load(path), path.with_suffix(".csv"), rate="20kHz")
    with out.open() as file:
        rows = list(csv.reader(file))[1:]
    lost = [int(row[2]) for row in rows]

    assert lost == [100 * (300 < k <= 700) for k in range(len(rows))]  # words 30,000 to 70,000 of 100 a row


NEEDS_WORDS: dict[str, Any] = {
    "stats": lambda tr: tr.stats(),
    "psd": lambda tr: tr.psd(),
    "spectrogram": lambda tr: tr.spectrogram("100us", band_hz=(20_000, 300_000)),
    "phase at a rate": lambda tr: tr.phase(rate="100kHz"),
    "plot": lambda tr: tr.plot(),
}


@pytest.mark.parametrize("name", NEEDS_WORDS)
def test_of_a_window_that_is_all_lost_nothing_is_made_up(path: Path, name: str) -> None:
    window = load(path).window(*WITHIN)

    assert (len(window), window.words_lost, window.words.size) == (0, 2_000, 0)
    assert "0 words, 2 MHz" not in repr(window)
    with pytest.raises(ValueError, match=r"a\.bin: all 2,000 words of this window were lost \(ring\)"):
        NEEDS_WORDS[name](window)


@pytest.mark.parametrize("command", [("export", "--to"), ("plot", "-o")])
def test_commands_refuse_a_window_that_is_all_lost(
    path: Path, command: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    out = path.with_suffix(".npz" if command[0] == "export" else ".png")
    status = main(
        [command[0], str(path), command[1], str(out), "--start", WITHIN[0], "--duration", WITHIN[1]]
    )

    assert status in (1, 2)
    assert "all 2,000 words of this window were lost (ring)" in capfd.readouterr().err
    assert not out.exists()


def test_export_s_json_counts_what_the_window_lost(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["export", str(path), "--to", str(path.with_suffix(".npz")), "--start", "16ms", "--json"])

    assert json.loads(capfd.readouterr().out)["words_lost"] == 38_000


def test_windows_of_many_files_leave_out_what_is_all_lost(path: Path) -> None:
    windows = load_many(path).windows("1ms", min_fill=0)

    assert all(len(window) for window in windows)
    assert len(windows) < 70  # 50 ms of words; those within the gap are no windows


@pytest.mark.parametrize("window", AT_EDGES)
def test_a_window_s_picture_is_that_of_the_part(path: Path, window: tuple[str, str]) -> None:
    tr = load(path)
    ours, part = survey(tr.window(*window), None, None), survey(tr, *window)

    assert (ours.begin_s, ours.end_s, ours.words, ours.gaps_s) == (
        part.begin_s, part.end_s, part.words, part.gaps_s,
    )  # fmt: skip
    assert bool(ours.gaps_s) == (AT_EDGES[window] > 0)
    for a, b in zip(ours.runs, part.runs, strict=True):
        np.testing.assert_array_equal(a.edges_s, b.edges_s)
        np.testing.assert_array_equal(a.phase_min, b.phase_min)


def test_the_notebook_s_drawing_keeps_gaps_open_and_has_a_time_axis(path: Path) -> None:
    tree = ElementTree.fromstring(f"<html>{load(path).window('10ms', '50ms')._repr_html_()}</html>")
    runs = [
        [float(point.split(",")[0]) for point in shape.attrib["points"].split()]
        for shape in tree.iter("polygon")
    ]
    (gap,) = tree.iter("rect")
    begin, end = float(gap.attrib["x"]), float(gap.attrib["x"]) + float(gap.attrib["width"])

    assert (begin, end) == pytest.approx((600 * 5 / 50, 600 * 25 / 50), abs=0.2)
    assert all(max(run) <= begin + 0.1 or min(run) >= end - 0.1 for run in runs)
    assert (min(map(min, runs)), max(map(max, runs))) == pytest.approx((0, 600), abs=0.1)
    labels = [text.text for text in tree.iter("text")]
    assert labels == ["0.01", "0.035 s since the file's first word", "0.06"]
    assert "40,000 words missing" in "".join(tree.itertext())


def test_gaps_without_a_rate_are_drawn_over_words() -> None:
    tr = Trace.from_words(np.arange(3000, dtype=np.uint64), gaps=[Gap(1000, 1000, 3000, "ring")])
    tree = ElementTree.fromstring(f"<html>{tr._repr_html_()}</html>")

    assert [text.text for text in tree.iter("text")] == ["0", "3000 words", "6000"]
    assert len(list(tree.iter("polygon"))) == 2


def test_statistics_of_a_window_pass_over_its_gaps(path: Path) -> None:
    tr = load(path)
    for window in AT_EDGES:
        part = tr.window(*window)
        assert part.stats(skip_words=0).words == len(part)
        for a, b in pairwise([0, *(gap.file_word for gap in part.gaps), len(part)]):
            assert part[a:b].gaps == () or a == 0 or b == len(part)


# -- of many files -------------------------------------------------------------------------------------

WORD = timedelta(seconds=1) / RATE


def written(path: Path, model: list[int | None], at: int, first_word: int) -> Path:
    """Write the file of a recording whose words are their places on the set's axis, None where one was lost."""
    ledger, k = [], 0
    for lost, run in groupby(model, lambda word: word is None):
        count = len(list(run))
        ledger += [ledger_entry(k, count)] if lost else []
        k += count
    words = np.array([word for word in model if word is not None], np.uint64)
    return write_file(path, words, START + at * WORD, first_word=first_word, ledger=ledger)


def test_every_window_of_a_set_tells_what_is_missing_in_it(tmp_path: Path) -> None:
    """Two files of one recording, with words missing amid them and on both sides of their border; then a third."""
    model: list[int | None] = list(range(24))
    for at in (1, 2, 5, 6, 7, 8, 10):
        model[at] = None
    model[12:17] = [None] * 5  # in no file
    for name, begin, end, first_word in (("a", 0, 7, 0), ("b", 7, 12, 7), ("c", 17, 24, 0)):
        written(tmp_path / f"{name}.bin", model[begin:end], begin, first_word)
    traces = load_many(tmp_path)
    assert traces.span_words == len(model)

    for first in range(-3, len(model) + 3):
        for last in range(first, len(model) + 4):
            inside = [model[k] if 0 <= k < len(model) else None for k in range(first, last)]
            absent = sum(not 0 <= k < 24 or 12 <= k < 17 for k in range(first, last))
            window = Window(traces, START + first * WORD, START + last * WORD)
            assert told(window) == inside
            assert sum(gap.words_lost for gap in window.gaps) == inside.count(None)
            assert sum(gap.words_lost for gap in window.gaps if gap.stage == "no file") == absent
            assert window.words_lost == inside.count(None) - absent
            assert [len(s) for s in window.stretches()] == [
                len(list(run)) for there, run in groupby(inside, lambda word: word is not None) if there
            ]


def test_a_window_of_a_set_says_what_it_lacks(path: Path) -> None:
    traces = load_many(path)
    shown = [repr(window) for window in traces.windows("20ms", min_fill=0, origin=traces.start)]

    assert shown[0].endswith("30,000 words, fill 0.75, 10,000 lost in 1 gap>")
    assert shown[1].endswith("10,000 words, fill 0.25, 30,000 lost in 1 gap>")
    assert shown[3].endswith("20,000 words, fill 0.5, 20,000 in no file>")
    assert shown[2].endswith("40,000 words, fill 1>")
