"""Results of windows are kept, found again, and never taken for those of something else."""

from __future__ import annotations

import functools
import json
from datetime import timedelta

import numpy as np
import pytest
from fibre_files import NIGHT, fibre_words, night_with_a_hole, seconds, write_file

import fastcap as fc
from fastcap.errors import ConfigError

SECOND = timedelta(seconds=1)


@pytest.fixture
def night(tmp_path):
    return night_with_a_hole(tmp_path)


def counted(seen, fail_at=None):
    def mean_radius(window):
        note(seen, window, fail_at)
        return window.radius().mean()

    return functools.partial(_call, Noted(mean_radius))


class Noted:
    """Equal for all functions that it notes for: they differ in what they note alone."""

    def __init__(self, function):
        self._function = function

    def __repr__(self):
        return "noted"

    def __call__(self, window):
        return self._function(window)


def _call(noted, window):
    return noted(window)


def note(seen, window, fail_at):
    seen.append(int(seconds(window.start)))
    if seconds(window.start) == fail_at:
        raise KeyboardInterrupt


def test_map_goes_on_after_the_last_window_that_was_finished(night, tmp_path):
    windows, kept = night.windows("5s"), tmp_path / "results"
    first, second, third = [], [], []
    with pytest.raises(KeyboardInterrupt):
        windows.map(counted(first, fail_at=15), results=kept)
    progress = []

    again = windows.map(counted(second), results=kept, progress=lambda *done: progress.append(done))
    windows.map(counted(third), results=kept)

    assert (first, second, third) == ([0, 5, 10, 15], [15, 25, 30, 35], [])
    assert progress == [(4, 7), (5, 7), (6, 7), (7, 7)]
    plain = windows.map(lambda w: w.radius().mean())
    np.testing.assert_array_equal(again.mean, plain.mean)


def test_kept_results_are_those_of_several_values_too(night, tmp_path):
    windows, kept = night.windows("5s"), tmp_path / "results"

    def several(window):
        for row in window.spectrogram(1, 0.5, (30, 50)).density:
            yield {"density": row, "peak": row.max()}

    first = windows.map(several, results=kept)
    again = windows.map(several, results=kept)

    for part in ("mean", "spread", "count"):
        for name in ("density", "peak"):
            np.testing.assert_array_equal(getattr(first, part)[name], getattr(again, part)[name])
            assert getattr(again, part)[name].dtype == getattr(first, part)[name].dtype


def test_windows_whose_words_changed_are_done_anew(night, tmp_path):
    kept = tmp_path / "results"
    night.windows("5s").map(counted([]), results=kept)
    more = write_file(
        tmp_path / "part2.bin",
        fibre_words(0, 400_000)[180_000:270_000],
        NIGHT + 18 * SECOND,
        first_word=180_000,
    )
    seen = []

    fc.load_many(more.parent).windows("5s").map(counted(seen), results=kept)

    assert seen == [15, 20, 25]
    write_file(tmp_path / "part4.bin", fibre_words(5, 40_005), NIGHT + 36 * SECOND, first_word=360_000)
    seen.clear()
    fc.load_many(more.parent).windows("5s").map(counted(seen), results=kept)
    assert seen == [35]


def test_damaged_results_are_made_anew(night, tmp_path):
    kept = tmp_path / "results"
    night.windows("5s").map(counted([]), results=kept)
    files = sorted(kept.glob("*.npz"))
    files[2].write_bytes(files[2].read_bytes()[:100])
    files[3].write_bytes(b"")
    seen = []

    night.windows("5s").map(counted(seen), results=kept)

    assert seen == [10, 15]


def test_results_of_another_function_or_grid_or_folder_are_refused(night, tmp_path):
    kept = tmp_path / "results"
    night.windows("5s").map(lambda w: 1.0, results=kept)

    with pytest.raises(
        ConfigError, match=r"holds results of function .*lambda.*, which is not .*name another folder"
    ):
        night.windows("5s").map(lambda w: 2.0, results=kept)
    night.windows("5s").map(lambda w: 1.0, results=kept)  # the same, written elsewhere
    with pytest.raises(ConfigError, match=r"holds results of windows of 5.0 s"):
        night.windows("4s").map(lambda w: 1.0, results=kept)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    with pytest.raises(ConfigError, match="holds other files"):
        night.windows("5s").map(lambda w: 1.0, results=tmp_path / "mine")
    with pytest.raises(ConfigError, match="cannot keep results"):
        night.windows("5s").map(lambda w: 1.0, results=tmp_path / "mine" / "thesis.tex")
    (kept / "map.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot keep results"):
        night.windows("5s").map(lambda w: 1.0, results=kept)


def test_the_folder_says_what_it_holds(night, tmp_path):
    night.windows("5s").map(len, results=tmp_path / "a" / "b")

    told = json.loads((tmp_path / "a" / "b" / "map.json").read_text())
    assert (told["function"], told["length_s"], told["origin"]) == (
        "len",
        5.0,
        "1970-01-01T00:00:00+00:00",
    )
