"""Files on one axis of time: joined where they are of one recording, apart where they are not."""

from __future__ import annotations

import pickle
from datetime import timedelta

import numpy as np
import pytest
from fibre_files import NIGHT, RATE, decimated_at_once, fibre_words, split_night, write_file

import fastcap as fc
from fastcap.decimate import phase_at
from fastcap.errors import StreamFormatError
from fastcap.words import encode, phase

SECOND = timedelta(seconds=1)


def test_files_are_sorted_by_their_start_and_counted_once(tmp_path):
    for k, after in enumerate((30, 10, 20)):
        write_file(tmp_path / f"n{k}.bin", fibre_words(0, 50_000), NIGHT + after * SECOND)

    found = fc.load_many([tmp_path / "n*.bin", tmp_path, tmp_path / "n0.bin"])

    assert [trace.path for trace in found] == [str(tmp_path / f"n{k}.bin") for k in (1, 2, 0)]
    assert (found.start, found.words, found.span_words) == (NIGHT + 10 * SECOND, 150_000, 250_000)
    assert [stretch.at for stretch in found.stretches()] == [0, 100_000, 200_000]


@pytest.mark.parametrize("edges", [(0, 40_000, 80_000, 100_000), (0, 1, 2, 70_000, 70_001, 100_000)])
def test_a_split_recording_is_one_again(tmp_path, edges):
    whole = phase(fibre_words(0, 100_000))
    assert np.ptp(whole) > 65_536  # M rolls over, in files and between them
    found = fc.load_many([*reversed(split_night(tmp_path, edges))])

    (stretch,) = found.stretches()
    assert (stretch.at, len(stretch)) == (0, 100_000)
    np.testing.assert_array_equal(np.concatenate([p.copy() for p in stretch.phases()]), whole)
    np.testing.assert_allclose(phase_at(found, "400Hz"), decimated_at_once(whole, 25), rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, -1])
def test_windows_of_a_split_recording_are_unwrapped_from_its_first_file(tmp_path, order):
    whole = phase(fibre_words(0, 100_000))
    found = fc.load_many(split_night(tmp_path, (0, 30_000, 33_000, 60_000, 90_000, 100_000)))

    for begin in (0, 29_999, 30_000, 34_000, 85_000, 95_000)[::order]:
        (stretch,) = found._layout.stretches(begin, 100_000)
        np.testing.assert_array_equal(np.concatenate([p.copy() for p in stretch.phases()]), whole[begin:])


def test_a_split_recording_is_joined_to_the_word_whatever_its_files_starts_are_rounded_to(tmp_path):
    words = fibre_words(0, 60_000)
    a = write_file(tmp_path / "a.bin", words[:30_000], NIGHT, first_word=0)
    b = write_file(tmp_path / "b.bin", words[30_000:], NIGHT + 3.3 * SECOND, first_word=30_000)

    assert [len(s) for s in fc.load_many([a, b]).stretches()] == [60_000]


def test_a_file_of_another_recording_is_not_joined_though_its_place_would_fit(tmp_path):
    words = fibre_words(0, 60_000)
    a = write_file(tmp_path / "a.bin", words[:30_000], NIGHT, first_word=0)
    b = write_file(tmp_path / "b.bin", words[30_000:], NIGHT + timedelta(days=1), first_word=30_000)

    assert [s.at for s in fc.load_many([a, b]).stretches()] == [0, 86_400 * RATE]


def test_rollovers_right_between_files_count(tmp_path):
    turns = np.array([32_000.0, 33_500.0, 66_000.0, 97_000.0, 129_000.0, 131_500.0])
    files = [
        write_file(tmp_path / f"{k}.bin", encode(turns, 1e6)[k : k + 1], NIGHT, first_word=k)
        for k in range(6)
    ]
    (stretch,) = fc.load_many(files).stretches()

    np.testing.assert_allclose(np.concatenate([p.copy() for p in stretch.phases()]), turns, atol=1e-6)


def test_a_missing_file_of_a_split_recording_leaves_its_time_empty(tmp_path):
    files = split_night(tmp_path, (0, 30_000, 60_000, 100_000))
    found = fc.load_many([files[0], files[2]])

    assert [(s.at, len(s)) for s in found.stretches()] == [(0, 30_000), (60_000, 40_000)]
    assert np.isnan(phase_at(found, "100Hz")).sum() == 300


def test_words_lost_before_a_split_count_as_time(tmp_path):
    words = fibre_words(0, 60_000)
    entry = {"stage": "ring", "after_word": 10_000, "words": 5_000, "certainty": "exact", "at_s": 1.0}
    a = write_file(
        tmp_path / "a.bin",
        np.delete(words[:30_000], range(10_000, 15_000)),
        NIGHT,
        first_word=0,
        ledger=[entry],
    )
    b = write_file(tmp_path / "b.bin", words[30_000:], NIGHT + 3 * SECOND, first_word=30_000)

    stretches = list(fc.load_many([a, b]).stretches())

    assert [(s.at, len(s), len(s.parts)) for s in stretches] == [(0, 10_000, 1), (15_000, 45_000, 2)]


def test_files_of_the_present_tools_may_seem_to_overlap_by_their_start_s_whole_second(tmp_path):
    for k, after in enumerate((0, 4)):  # 5 s each
        write_file(tmp_path / f"{k}.bin", fibre_words(0, 50_000), NIGHT + after * SECOND)

    found = fc.load_many(tmp_path)

    assert [(s.at, len(s)) for s in found.stretches()] == [(0, 50_000), (50_000, 50_000)]  # not joined


def test_files_that_overlap_or_differ_in_rate_are_refused(tmp_path):
    write_file(tmp_path / "a.bin", fibre_words(0, 50_000), NIGHT)
    other = write_file(tmp_path / "b.bin", fibre_words(0, 50_000), NIGHT + 3 * SECOND)
    with pytest.raises(
        StreamFormatError, match=r"b.bin begins 2.000 s before .*a.bin ends: .*sets of their own"
    ):
        fc.load_many(tmp_path)

    write_file(other, fibre_words(0, 9), NIGHT + 9 * SECOND, argv=("teststream", "-s", "4", "-l", "-b"))
    with pytest.raises(
        StreamFormatError, match=r"different word rates, 10000 Hz in .*a.bin, 2000000 Hz in .*b.bin"
    ):
        fc.load_many(tmp_path)


def test_what_has_no_place_in_time_or_is_not_there_is_refused(tmp_path):
    words = fibre_words(0, 100)
    for unknown, told in (({"sample_rate": RATE}, "when it was recorded"), ({"start": NIGHT}, "word rate")):
        with pytest.raises(StreamFormatError, match=f"{told} is not known"):
            fc.load_many([fc.Trace.from_words(words, **unknown)])
    with pytest.raises(StreamFormatError, match="no file matches"):
        fc.load_many(str(tmp_path / "*.bin"))
    with pytest.raises(StreamFormatError, match=r"none\.bin"):
        fc.load_many(tmp_path / "none.bin")
    with pytest.raises(StreamFormatError, match="no traces"):
        fc.load_many([])
    with pytest.raises(ValueError, match="is a window of a trace"):
        fc.load_many([fc.Trace.from_words(words, sample_rate=RATE, start=NIGHT)[5:]])


def test_a_name_with_a_glob_s_characters_is_a_name(tmp_path):
    write_file(tmp_path / "run[1].bin", fibre_words(0, 100), NIGHT)

    assert len(fc.load_many(tmp_path / "run[1].bin")) == 1
    (tmp_path / "night[1]").mkdir()
    write_file(tmp_path / "night[1]" / "a.bin", fibre_words(0, 100), NIGHT)
    assert len(fc.load_many(tmp_path / "night[1]")) == 1


def test_a_set_goes_to_other_processes_by_name(tmp_path):
    found = fc.load_many(split_night(tmp_path, (0, 40_000, 100_000)))
    sent = pickle.dumps(found)

    assert len(sent) < 2000
    again = pickle.loads(sent)
    np.testing.assert_array_equal(phase_at(again, 400), phase_at(found, 400))
    assert pickle.loads(sent) is again  # opened once for all windows


def test_a_set_tells_what_it_holds(tmp_path):
    found = fc.load_many(split_night(tmp_path, (0, 40_000, 100_000)))

    assert repr(found) == "<TraceSet of 2 files from 2024-03-31T00:59:50+00:00: 100,000 words, 10 kHz, 10 s>"
    assert found.path == "2 files, part0.bin to part1.bin"
