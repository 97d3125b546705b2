"""Windows lie on one grid of time, hold what was recorded, and give what traces give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fibre_files import (
    NIGHT,
    RATE,
    decimated_at_once,
    fibre_words,
    night_with_a_hole,
    seconds,
    spectra_at_once,
    write_file,
)

import fastcap as fc
from fastcap.stats import TraceStats
from fastcap.words import phase, radius

SECOND = timedelta(seconds=1)


@pytest.fixture
def night(tmp_path):
    return night_with_a_hole(tmp_path)


def test_windows_are_aligned_to_absolute_time_over_the_edges_of_files(night):
    windows = night.windows("5s", min_fill=0)

    assert [seconds(w.start) for w in windows] == [0, 5, 10, 15, 25, 30, 35]  # 18 to 27 s are missing
    assert [w.fill for w in windows] == [1, 1, 1, 0.6, 0.6, 1, 1]
    assert [len(w.parts) for w in windows] == [1, 2, 1, 1, 1, 1, 2]
    assert all(w.start.timestamp() % 5 == 0 and w.stop - w.start == 5 * SECOND for w in windows)


@pytest.mark.parametrize(("min_fill", "left"), [(0.6, 7), (0.61, 5), (1, 5)])
def test_windows_that_are_not_filled_are_left_out(night, min_fill, left):
    assert len(night.windows("5s", min_fill=min_fill)) == left


def test_windows_are_equally_long_on_the_day_that_clocks_change(tmp_path):
    zone = datetime.fromisoformat("2024-03-31T01:30:00+01:00")
    for k in range(4):
        write_file(tmp_path / f"{k}.bin", fibre_words(0, 1000), zone + k * timedelta(minutes=20))

    windows = fc.load_many(tmp_path).windows("15min", min_fill=0)

    assert [f"{w.start:%H:%M}" for w in windows] == ["00:30", "00:45", "01:00", "01:30"]


def test_windows_may_begin_at_another_time(night):
    windows = night.windows("4s", origin=NIGHT + 1 * SECOND, min_fill=1)

    assert [seconds(w.start) for w in windows][:3] == [1, 5, 9]


def test_a_window_s_words_are_those_of_its_time_to_the_word(tmp_path):
    start = NIGHT + timedelta(microseconds=50)  # half a word
    write_file(tmp_path / "a.bin", fibre_words(0, 50_000), start, first_word=0)

    first, second, *_ = fc.load_many(tmp_path).windows("1s", min_fill=0)

    assert (first._begin, first._end, second._end) == (0, 10_000, 20_000)
    np.testing.assert_array_equal(second.words, fibre_words(0, 50_000)[10_000:20_000])


def test_a_window_gives_what_a_trace_gives(night):
    whole = fibre_words(0, 400_000)
    window = night.windows("5s")[1]

    np.testing.assert_array_equal(window.words, whole[50_000:100_000])
    np.testing.assert_array_equal(window.radius(), radius(whole[50_000:100_000]))
    np.testing.assert_array_equal(window.phase(), phase(whole)[50_000:100_000])
    out = np.empty(50_000)
    assert window.phase(out) is out
    expected = decimated_at_once(phase(whole)[50_000:100_000], 25)
    np.testing.assert_allclose(window.phase(rate="400Hz"), expected, rtol=0, atol=1e-9)
    spectra = window.spectrogram(1, 0.5, (30, 50)).density
    decimated = decimated_at_once(phase(whole)[50_000:100_000], 50)
    np.testing.assert_allclose(
        spectra, spectra_at_once(decimated, 200.0, 200, 100, (30, 50)), rtol=1e-9, atol=1e-9
    )


def test_what_is_missing_in_a_window_is_left_out_of_its_words_and_nan_on_its_grid(night):
    whole = phase(fibre_words(0, 400_000))
    window = night.windows("15s", min_fill=0)[1]  # 10 to 25 s, of which 18 to 27 s are missing
    assert seconds(window.start) == 10

    np.testing.assert_array_equal(window.phase(), whole[100_000:180_000])
    at_100_hz = window.phase(rate=100)
    assert at_100_hz.size == 1500
    np.testing.assert_array_equal(np.isnan(at_100_hz), np.arange(1500) >= 800)


def test_a_window_s_statistics_leave_out_the_transient_that_it_holds(night):
    whole = fibre_words(0, 400_000)
    first, second = (w.stats() for w in night.windows("5s")[:2])

    assert (first.words, first.skipped_words, second.skipped_words) == (50_000, 12_000, 0)
    expected = phase(whole)[50_000:100_000]
    np.testing.assert_allclose(second.phase.mean, expected.mean(), rtol=1e-12)
    assert (second.phase.minimum, second.phase.maximum) == (expected.min(), expected.max())


def test_map_stacks_one_value_a_window(night):
    found = night.windows("5s").map(lambda w: {"mean": w.radius().mean(), "edges": w.radius()[[0, -1]]})

    assert found.mean["mean"].shape == (7,)
    assert found.mean["edges"].shape == (7, 2)
    np.testing.assert_array_equal(found.mean["edges"][1], radius(fibre_words(0, 400_000))[[50_000, 99_999]])
    assert (found.spread["mean"] == 0).all()
    assert (found.count["mean"] == 1).all()
    assert str(found.time[1]) == "2024-03-31T00:59:55.000000000"
    assert (found.length_s, found.fill.tolist()) == (5.0, [1, 1, 1, 0.6, 0.6, 1, 1])


def values(window):
    return window.phase(rate=100)


@pytest.mark.parametrize("several", [lambda w: iter_of(values(w)), lambda w: list(values(w))])
def test_of_several_values_a_window_mean_and_spread_are_kept(night, several):
    found = night.windows("5s").map(several)

    for k, window in enumerate(night.windows("5s")):
        inside = values(window)
        np.testing.assert_allclose(found.mean[k], np.nanmean(inside), rtol=1e-12)
        np.testing.assert_allclose(found.spread[k], np.nanstd(inside), rtol=1e-12)
        assert found.count[k] == np.isfinite(inside).sum()


def iter_of(items):
    yield from items


def test_values_that_are_all_missing_are_nan(night):
    found = night.windows("5s").map(lambda w: [np.array([1.0, np.nan]), np.array([3.0, np.nan])])

    np.testing.assert_array_equal(found.mean[0], [2, np.nan])
    np.testing.assert_array_equal(found.spread[0], [1, np.nan])
    np.testing.assert_array_equal(found.count[0], [2, 0])


def test_no_windows_give_empty_results(night):
    found = night.windows("1h").map(values)

    assert (found.mean.shape, found.time.shape) == ((0,), (0,))


def test_a_function_s_error_names_the_window(night):
    def fail(window):
        raise RuntimeError("no light")

    with pytest.raises(RuntimeError, match="no light") as error:
        night.windows("5s").map(fail)
    assert error.value.__notes__ == ["in the window of 2024-03-31T00:59:50+00:00"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("text", "real numbers"),
        (1j, "real numbers"),
        (None, "real numbers"),
        ([1.0, [1.0, 2.0]], "other names or shapes"),
    ],
)
def test_what_is_no_number_is_refused(night, given, told):
    with pytest.raises((TypeError, ValueError), match=told):
        night.windows("5s").map(lambda w: given)


def test_windows_whose_values_differ_in_shape_are_refused(night):
    with pytest.raises(
        ValueError, match=r"of 2024-03-31T00:59:55\+00:00 has the shape \(2,\), windows before it \(1,\)"
    ):
        night.windows("5s").map(lambda w: np.zeros(len(w.parts)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"length": 0}, "windows of 0 do not hold"),
        ({"length": "-5s"}, "not a time"),
        ({"length": "1us"}, "do not hold a word"),
        ({"length": "5s", "min_fill": 1.5}, "min_fill 1.5 is not a share"),
        ({"length": "5s", "min_fill": float("nan")}, "min_fill nan"),
        ({"length": "5s", "origin": datetime(2024, 1, 1)}, "has no time zone"),
    ],
)
def test_windows_that_make_no_sense_are_refused(night, settings, told):
    with pytest.raises(ValueError, match=told):
        night.windows(**settings)


def test_a_spectrum_a_window_is_the_mean_of_its_segments(night):
    windows = night.windows("5s")
    found = windows.spectrogram(1, (30, 50))

    assert found.density.shape == (8, 21)
    assert np.isnan(found.density[4]).all()  # 20 to 25 s
    assert str(found.time[0]) == "2024-03-31T00:59:52.500000000"
    inside = windows[1].spectrogram(1, 0.5, (30, 50)).density
    np.testing.assert_allclose(found.density[1], inside.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.spread[1], inside.std(axis=0), rtol=1e-9)
    assert "mean of each 5 s" in found.plot().get_suptitle()


def test_a_window_longer_than_all_is_refused_where_a_spectrum_is_wanted(night):
    with pytest.raises(ValueError, match="no window of 1 h is filled"):
        night.windows("1h").spectrogram(1, (30, 50))


def test_midnight_in_utc_is_where_days_begin(tmp_path):
    write_file(tmp_path / "a.bin", fibre_words(0, 20_000), datetime(2024, 3, 31, 23, 59, 59, tzinfo=UTC))

    first, second = fc.load_many(tmp_path).windows("1d", min_fill=0)
    assert (len(first), len(second)) == (10_000, 10_000)
    assert isinstance(first.stats(), TraceStats)
    assert first.sample_rate_hz == RATE
