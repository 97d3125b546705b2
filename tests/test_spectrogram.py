"""Spectrograms are scipy's of the whole phase, with the right axes, and a picture that says what it shows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fibre_files import NIGHT, RATE, decimated_at_once, fibre_words, spectra_at_once
from scipy import signal

from fastcap import _stored, decimate
from fastcap import spectrogram as spectrogram_module
from fastcap.errors import ConfigError
from fastcap.sidecar import Gap
from fastcap.spectrogram import Spectrogram, spectrogram
from fastcap.trace import Trace
from fastcap.words import encode


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace.from_words(fibre_words(0, 150_000), sample_rate=RATE, start=NIGHT)


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Within 1e-9, of the value or of a rad²/Hz; the drift at the band's low end is a million rad²/Hz."""
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("detrend", ["linear", "constant", None])
def test_spectrogram_is_scipy_s_in_one_piece(trace, detrend):
    found = spectrogram(trace, 2, 0.75, (30, 50.2), detrend)

    assert (found.rate_hz, found.window_s, found.hop_s) == (200.0, 2.0, 0.5)
    decimated = decimated_at_once(trace.phase(), 50)
    close(found.density, spectra_at_once(decimated, 200.0, 400, 100, (30, 50.2), detrend))
    np.testing.assert_allclose(found.frequency_hz, np.arange(30, 50.2, 0.5), rtol=1e-15)
    np.testing.assert_allclose(found.time_s, 1 + np.arange(found.time_s.size) * 0.5)


def test_segments_that_are_no_whole_samples_are_rounded_and_say_so(trace):
    found = spectrogram(trace, 1.2345, 0.5, (30, 50))

    assert (found.rate_hz, found.window_s, found.hop_s) == (125.0, 154 / 125, 77 / 125)
    close(found.density, spectra_at_once(decimated_at_once(trace.phase(), 80), 125.0, 154, 77, (30, 50)))


def test_density_is_that_of_scipy_s_own_spectrogram_where_frequencies_meet(trace):
    found = spectrogram(trace, 2, band_hz=(0, 50))

    phase = 2 * np.pi * decimated_at_once(trace.phase(), round(RATE / found.rate_hz))
    size = round(2 * found.rate_hz)
    hz, _, density = signal.spectrogram(
        phase, found.rate_hz, "hann", size, size // 2, detrend="linear", scaling="density"
    )
    np.testing.assert_allclose(found.frequency_hz, hz[: found.frequency_hz.size])
    close(found.density, density.T[:, : found.frequency_hz.size])


def test_the_trace_s_own_method_is_the_same(trace):
    found = trace[5:].spectrogram(2, overlap=0.5, band_hz=(1.5, 50))

    np.testing.assert_array_equal(found.density, spectrogram(trace[5:], "2s", 0.5, (1.5, 50)).density)


def test_a_tone_has_its_frequency_and_its_power():
    t = np.arange(100_000) / RATE
    tone = Trace.from_words(encode(0.3 * np.sin(2 * np.pi * 17.25 * t), 8e6), sample_rate=RATE)
    found = spectrogram(tone, 4, band_hz=(1.5, 50))

    assert abs(found.frequency_hz[np.argmax(found.density[1])] - 17.25) <= 0.125
    power = found.density.sum(axis=1) * (found.frequency_hz[1] - found.frequency_hz[0])
    np.testing.assert_allclose(power, (2 * np.pi * 0.3) ** 2 / 2, rtol=0.01)


@pytest.mark.parametrize(("piece", "batch", "spectra"), [(77, 1, 1), (4096, 300, 600), (1 << 18, 1 << 18, 1)])
def test_any_piece_size_gives_the_same(trace, monkeypatch, piece, batch, spectra):
    whole = spectrogram(trace, 1.5, 0.5, (20, 50))  # the last segment ends where the trace does
    monkeypatch.setattr(_stored, "PIECE_WORDS", piece)
    monkeypatch.setattr(decimate, "_BATCH_WORDS", batch)
    monkeypatch.setattr(spectrogram_module, "_BATCH_VALUES", spectra)

    close(spectrogram(trace, 1.5, 0.5, (20, 50)).density, whole.density)


def test_segments_that_a_gap_reaches_into_are_missing_and_the_others_keep_their_times(trace):
    words = trace.words
    kept = np.concatenate([words[:62_000], words[70_000:]])
    torn = Trace.from_words(kept, sample_rate=RATE, start=NIGHT, gaps=[Gap(62_000, 62_000, 8_000, "ring")])

    found, whole = spectrogram(torn, 1, 0.5, (30, 50)), spectrogram(trace, 1, 0.5, (30, 50))

    np.testing.assert_array_equal(found.time, whole.time)
    begins = np.arange(found.time_s.size) * 5000
    np.testing.assert_array_equal(
        np.isnan(found.density[:, 0]), (begins + 10_000 > 62_000) & (begins < 70_000)
    )
    far = (begins + 10_000 < 60_000) | (begins > 72_000)
    close(found.density[far], whole.density[far])


def test_times_are_absolute_and_in_utc():
    start = datetime.fromisoformat(
        "2024-03-31T01:59:59.5+01:00"
    )  # the clock jumps to 3:00 half a second later
    found = spectrogram(
        Trace.from_words(fibre_words(0, 40_000), sample_rate=RATE, start=start), 1, 0, (30, 50)
    )

    assert [str(time) for time in found.time[:2]] == [
        "2024-03-31T01:00:00.000000000",
        "2024-03-31T01:00:01.000000000",
    ]


def test_without_a_start_there_are_seconds_only():
    found = spectrogram(Trace.from_words(fibre_words(0, 40_000), sample_rate=RATE), 1, 0, (30, 50))

    assert found.time_s.tolist() == [0.5, 1.5, 2.5, 3.5]
    with pytest.raises(ValueError, match="use time_s"):
        _ = found.time


def test_the_rate_may_be_chosen(trace):
    assert spectrogram(trace, 1, band_hz=(1, 50), rate="500Hz").rate_hz == 500
    assert spectrogram(trace, 1, rate="100Hz").frequency_hz[[0, -1]].tolist() == [0, 40]
    assert spectrogram(trace, 1, rate=RATE, band_hz=(1, 5000)).frequency_hz[-1] == 5000


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"window_s": 20}, "window of 20 s is longer than the trace's 15 s; give a shorter one"),
        ({"window_s": 0.01}, "window of 0.01 s is 2 samples of 200 Hz; give a longer one"),
        ({"window_s": -1}, "-1 is not a time"),
        ({"window_s": float("nan")}, "nan is not a time"),
        ({"overlap": 1}, "overlap 1 is not a share"),
        ({"overlap": float("nan")}, "overlap nan is not a share"),
        ({"band_hz": (50, 30)}, r"band \(50, 30\): needs 0 <= lower < upper"),
        ({"band_hz": (1, float("nan"))}, "two frequencies in Hz"),
        ({"band_hz": 50}, "band 50 is not two frequencies"),
        ({"band_hz": (1, 5001)}, "reaches beyond the 5000 Hz"),
        ({"band_hz": (1, 50), "rate": "100Hz"}, "reaches beyond the 40 Hz"),
        ({"band_hz": None}, "neither band_hz nor rate"),
        ({"rate": 333}, "does not divide"),
        ({"detrend": "quadratic"}, "detrend 'quadratic' is not"),
    ],
)
def test_what_makes_no_sense_is_refused(trace, settings, told):
    with pytest.raises(ValueError, match=told):
        spectrogram(trace, **{"window_s": 1, "band_hz": (1.5, 50), **settings})


def test_an_unknown_rate_is_refused(trace):
    with pytest.raises(ValueError, match="word rate is not known"):
        spectrogram(Trace.from_words(trace.words), 1, band_hz=(1, 50))


def texts(figure: Any) -> str:
    axes = figure.axes
    return " | ".join(
        [figure.get_suptitle(), *(a.get_xlabel() for a in axes), *(a.get_ylabel() for a in axes)]
    )


def test_picture_says_units_times_and_settings(trace, tmp_path):
    target = tmp_path / "night.png"
    figure = spectrogram(trace, 2, band_hz=(1.5, 50)).plot(target)

    told = texts(figure)
    for wanted in (
        "frequency (Hz)",
        "time (UTC), 2024-03-31",
        "rad²/Hz",
        "segments of 2 s",
        "every 1 s",
        "Hann",
        "125 Hz",
    ):
        assert wanted in told
    assert target.read_bytes().startswith(b"\x89PNG")
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == (1.25, 50.25)
    left, right = (np.datetime64(int(day * 86_400_000), "ms") for day in figure.axes[0].get_xlim())
    assert (str(left), str(right)) == ("2024-03-31T00:59:50.500", "2024-03-31T01:00:04.500")


def test_picture_of_a_trace_without_start_counts_seconds(trace):
    figure = spectrogram(Trace.from_words(trace.words, sample_rate=RATE), 2, band_hz=(1.5, 50)).plot()

    assert "time since the first word (s)" in texts(figure)


@pytest.mark.parametrize(
    ("seconds", "some"),
    [(2, "00:59:50.500"), (100, "01:01:00"), (700, "01:10"), (86_300, "12:00"), (388_800, "04-01 00:00")],
)
@pytest.mark.filterwarnings("error")
def test_no_two_times_of_a_picture_read_alike(seconds, some):
    columns, rows = 40, np.array([10.0, 20.0])
    made = Spectrogram(
        time_s=(np.arange(columns) + 0.5) * (seconds / columns),
        frequency_hz=rows,
        density=np.ones((columns, rows.size)),
        start=NIGHT,
        window_s=0.1,
        hop_s=seconds / columns,
        rate_hz=100.0,
        detrend=None,
        name="x.bin",
    )
    axes = made.plot().axes[0]
    axes.figure.canvas.draw()
    left, right = axes.get_xlim()
    shown = [
        label.get_text()
        for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if left <= at <= right
    ]

    assert len(set(shown)) == len(shown) > 2
    assert some in shown


def test_picture_of_many_columns_averages_them_and_keeps_the_axes(trace, monkeypatch):
    monkeypatch.setattr("fastcap.spectrogram_plot._MOST_COLUMNS", 5)
    found = spectrogram(trace, 2, band_hz=(1.5, 50))
    figure = found.plot()

    mesh = figure.axes[0].collections[0]
    assert mesh.get_array().shape == (found.frequency_hz.size, 5)
    np.testing.assert_allclose(mesh.get_array()[:, 0], found.density[:3].mean(axis=0))


def test_a_picture_of_a_phase_that_never_changes_is_refused():
    still = Trace.from_words(np.zeros(RATE, np.uint64), sample_rate=RATE)

    with pytest.raises(ValueError, match="the phase never changes"):
        spectrogram(still, 0.5, band_hz=(10, 50)).plot()


def test_a_picture_of_nothing_or_to_nowhere_is_refused(trace, tmp_path):
    torn = Trace.from_words(trace.words[:20_000], sample_rate=RATE, gaps=[Gap(10_000, 10_000, 100, "ring")])
    with pytest.raises(ValueError, match=r"not one segment of 1\.\d+ s is all there"):
        spectrogram(torn, 1.5, 0, (30, 50)).plot()
    with pytest.raises(ConfigError, match="cannot be written"):
        spectrogram(trace, 2, band_hz=(30, 50)).plot(Path(tmp_path) / "none" / "a.png")


def test_start_has_the_zone_of_the_header():
    start = datetime(2024, 3, 31, 1, tzinfo=UTC)
    trace = Trace.from_words(fibre_words(0, 40_000), sample_rate=RATE, start=start)
    assert spectrogram(trace, 1, band_hz=(30, 50)).start == start
