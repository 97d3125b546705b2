"""Rates of the statistics, beside the same with numpy over whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
from ratios import statistics_by_numpy

from fastcap._stats import Moments
from fastcap.histograms import Histogram
from fastcap.spectrum import Welch
from fastcap.stats import TraceStats
from fastcap.words import encode

WORDS = 1 << 20
PIECE = 32_768  # as the statistics cut them
RNG = np.random.default_rng
SIGNALS = {
    "still": 3 + RNG(1).normal(0, 1e-3, WORDS),
    "walk": np.cumsum(RNG(2).normal(0, 0.3, WORDS)),
    "ramp": np.linspace(0, 1e6, WORDS),
    "glitches": 1e4 * (RNG(3).random(WORDS) < 1e-4) + RNG(4).normal(0, 1e-3, WORDS),
}


def rate(benchmark):
    benchmark.extra_info["Mwords/s"] = round(WORDS / benchmark.stats["median"] / 1e6, 1)


@pytest.mark.parametrize("name", SIGNALS)
def test_all_statistics_without_spectrum(benchmark, name):
    words = encode(SIGNALS[name], 5e5 + RNG(5).normal(0, 100, WORDS))
    stats = TraceStats(skip_words=0)
    benchmark(stats.update, words)
    rate(benchmark)


def test_all_statistics_by_numpy(benchmark):
    words = encode(SIGNALS["walk"], 5e5 + RNG(5).normal(0, 100, WORDS))
    benchmark(statistics_by_numpy, words)
    rate(benchmark)


def test_moments(benchmark):
    moments = Moments()
    benchmark(moments.update, SIGNALS["walk"])
    rate(benchmark)


@pytest.mark.parametrize("name", SIGNALS)
def test_histogram(benchmark, name):
    histogram = Histogram(2.0**-26, 64)

    def in_pieces():
        for at in range(0, WORDS, PIECE):
            histogram.add(SIGNALS[name][at : at + PIECE])

    benchmark(in_pieces)
    rate(benchmark)


def test_spectrum(benchmark):
    welch = Welch(2e6)
    benchmark(welch.update, SIGNALS["walk"])
    rate(benchmark)


def test_spectrum_by_scipy(benchmark):
    from scipy.signal import welch

    benchmark(welch, SIGNALS["walk"] * 2 * np.pi, 2e6, nperseg=65_536)
    rate(benchmark)
