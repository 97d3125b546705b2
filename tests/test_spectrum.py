import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import scipy.signal

from fastcap.sidecar import Gap
from fastcap.spectrum import Psd, Welch, live_step_words, psd
from fastcap.trace import Trace
from fastcap.words import encode, phase

RATE = 2_000_000
TURN = 2 * np.pi


def noise(n, seed=1, at=1e6):
    return at + np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, n))


def welch(values, segment, overlap=None, window="hann", detrend="constant"):
    """Scipy's, in one piece."""
    return scipy.signal.welch(
        TURN * (values - values[0]), RATE, window=window, nperseg=segment, noverlap=overlap, detrend=detrend
    )


def same(found, reference):
    frequency, density = found
    np.testing.assert_allclose(frequency, reference[0], rtol=1e-12)
    np.testing.assert_allclose(density[1:], reference[1][1:], rtol=1e-9)


def streamed(values, block, *args, **options):
    made = Welch(RATE, *args, **options)
    for at in range(0, len(values), block):
        made.update(values[at : at + block])
    return made


@pytest.mark.parametrize("segment", [64, 1000, 1001, 4096])
@pytest.mark.parametrize("block", [1, 333, 100_000])
def test_any_blocks_give_scipys_spectrum_of_the_whole(segment, block):
    values = noise(5000 if block == 1 else 50_000)
    found = streamed(values, block, segment)

    same(found.result(), welch(values, segment))
    assert found.result().segments == 1 + (len(values) - segment) // (segment - segment // 2)


@pytest.mark.parametrize(
    ("window", "detrend"), [("hann", "linear"), ("blackmanharris", "constant"), (("kaiser", 8.0), "linear")]
)
@pytest.mark.parametrize("overlap", [0, 100, 900])
def test_options_mean_what_they_mean_to_scipy(window, detrend, overlap):
    values = noise(20_000, at=3)
    words = encode(values, 5e6)
    found = psd(Trace.from_words(words, None, RATE), segment_words=1000, overlap_words=overlap, window=window,
                detrend=detrend)  # fmt: skip

    same(found, welch(phase(words), 1000, overlap, window, detrend))


def test_a_trace_has_scipys_spectrum_in_one_piece():
    words = encode(noise(300_000), 8e6)
    trace = Trace.from_words(words, None, RATE)

    same(trace.psd(), welch(phase(words), 65_536))
    same(trace[100_000:150_000].psd(), welch(phase(words)[100_000:150_000], 50_000))


def test_power_of_a_sine_is_half_the_square_of_its_amplitude():
    t = np.arange(200_000) / RATE
    found = psd(
        Trace.from_words(encode(7 + 0.01 * np.sin(TURN * 1e5 * t), 8e6), None, RATE), segment_words=2000
    )
    line = abs(found.frequency_hz - 1e5) < 5000

    area = found.density_rad2_per_hz[line].sum() * (RATE / 2000)
    assert area == pytest.approx((0.01 * TURN) ** 2 / 2, rel=1e-4)


def test_no_segment_spans_a_gap():
    values = noise(50_000)
    values[20_000:] += 500.3  # a step that would drown everything
    words = encode(values, 8e6)
    gaps = (Gap(20_000, 20_000, 77, "ring"),)
    found = psd(Trace.from_words(words, None, RATE, gaps=gaps), segment_words=4096)

    parts = [welch(phase(words[piece]), 4096)[1] for piece in (slice(0, 20_000), slice(20_000, None))]
    counts = [1 + (n - 4096) // 2048 for n in (20_000, 30_000)]
    mean = np.average(parts, axis=0, weights=counts)
    assert found.segments == sum(counts)
    np.testing.assert_allclose(found.density_rad2_per_hz[1:], mean[1:], rtol=1e-9)


def test_a_step_beyond_the_segment_takes_every_kth_segment():
    values = noise(100_000)
    found = streamed(values, 777, 1024, 5000).result()

    parts = [welch(values[at : at + 1024], 1024)[1] for at in range(0, 100_000 - 1023, 5000)]
    assert found.segments == len(parts) == 20
    np.testing.assert_allclose(found.density_rad2_per_hz[1:], np.mean(parts, axis=0)[1:], rtol=1e-9)


def test_a_gap_inside_a_skip_begins_a_segment():
    made = streamed(noise(1500), 1500, 1024, 5000)
    made.gap()
    made.update(noise(1024))

    assert made.segments == 2


def test_merged_spectra_are_the_average_of_all_segments():
    one, other = noise(30_000, 1), noise(70_000, 2)
    merged = streamed(one, 999, 1024)
    merged.merge(streamed(other, 999, 1024))

    mean = np.average([welch(v, 1024)[1] for v in (one, other)], axis=0, weights=[57, 135])
    assert merged.segments == 57 + 135
    np.testing.assert_allclose(merged.result().density_rad2_per_hz[1:], mean[1:], rtol=1e-9)
    with pytest.raises(ValueError, match="cannot be merged"):
        merged.merge(Welch(RATE, 2048))


def test_too_little_for_a_segment_gives_nan_and_strict_json():
    made = streamed(noise(100), 100, 1024)

    assert np.isnan(made.result().density_rad2_per_hz).all()
    shown = made.result().to_dict()
    json.dumps(shown, allow_nan=False)
    assert (shown["segments"], shown["rad2_per_hz"]) == (0, [])


def test_the_report_keeps_the_power_in_few_points():
    found = streamed(noise(300_000), 50_000, 65_536).result()
    frequency, density = found.coarse()
    shown = found.to_dict()

    assert 300 < len(frequency) == len(shown["rad2_per_hz"]) <= 512
    assert (np.diff(frequency) > 0).all()
    np.testing.assert_allclose(density[:5], found.density_rad2_per_hz[1:6], rtol=1e-12)
    assert shown["rad2_per_hz"][-1] == pytest.approx(density[-1], rel=1e-5)
    assert frequency[-1] < RATE / 2


@pytest.mark.parametrize("segment", [1, 2, 3])
def test_tiny_segments_are_scipys_too(segment):
    values = noise(50, at=0)
    same(streamed(values, 7, segment).result(), welch(values, segment))
    assert isinstance(streamed(values, 7, segment).result().coarse(), tuple)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_words": 0}, "segments of 0 words"),
        ({"segment_words": 201}, "201 words: the longest stretch without a gap has 200"),
        ({"segment_words": 2**50}, "give at most that"),
        ({"segment_words": 100, "overlap_words": 100}, "cannot overlap by 100"),
        ({"segment_words": 10.5}, "segment_words 10.5 is not a whole number"),
        ({"overlap_words": 10.5}, "overlap_words 10.5 is not a whole number"),
        ({"overlap_words": -1}, "overlap_words -1 is not a whole number of at least 0"),
        ({"detrend": "quadratic"}, "neither 'constant' nor 'linear'"),
        ({"window": "no such window"}, "no such window"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        psd(Trace.from_words(encode(noise(200), 8e6), None, RATE), **options)


def test_without_rate_or_words_there_is_no_spectrum():
    with pytest.raises(ValueError, match="rate of these words is unknown"):
        psd(Trace.from_words(encode(noise(200), 8e6)))
    with pytest.raises(ValueError, match="holds no words"):
        psd(Trace.from_words(np.empty(0, np.uint64), None, RATE))


def test_only_other_windows_need_scipy():
    code = (
        "import sys; sys.modules['scipy'] = None\n"
        "from fastcap.spectrum import Welch\n"
        "Welch(1.0, 64)\n"
        "try:\n    Welch(1.0, 64, window='blackman')\n"
        "except Exception as e:\n    print(type(e).__name__, e)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.startswith("ConfigError")
    assert "pip install 'fastcap[plot]'" in said


def test_a_live_spectrum_takes_at_most_so_many_segments_a_second():
    assert live_step_words(Fraction(100_000)) == 32_768
    assert live_step_words(Fraction(10_000_000)) == 2_000_000
    assert live_step_words(Fraction(20_000_000, 3)) == 1_333_334


def test_it_unpacks_like_scipys():
    found = Psd(np.arange(3.0), np.ones(3), 1, 4, 2, "hann")
    frequency, density = found

    assert frequency is found.frequency_hz
    assert density is found.density_rad2_per_hz
