"""The decode kernels alone, at every instruction level of this machine.

Run with ``pytest -o addopts= bench/test_decode_bench.py`` (the project's options skip benchmarks).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from decoding import by_numpy, signal

from fastcap import _decode
from fastcap.words import Carry, Words, advance, index_rows, phase, phase_radius, radius, split_iqm

CACHED_WORDS = 8192
LARGE_WORDS = 1 << 22


@pytest.fixture(scope="module")
def words() -> Words:
    return signal(LARGE_WORDS)


@pytest.fixture(params=_decode.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    _decode.use_level(request.param)
    yield request.param
    _decode.use_level(_decode.levels()[-1])


@pytest.mark.benchmark(group="8192 words in cache")
@pytest.mark.parametrize("what", ["phase", "radius", "both", "iqm", "advance"])
def test_in_cache(benchmark: Any, words: Words, level: str, what: str) -> None:
    """Into arrays that are there, words and results in cache."""
    some = words[:CACHED_WORDS].copy()
    p, r = np.empty(CACHED_WORDS), np.empty(CACHED_WORDS)
    i, q, m = split_iqm(some)
    calls = {
        "phase": lambda: phase(some, p),
        "radius": lambda: radius(some, r),
        "both": lambda: phase_radius(some, p, r),
        "iqm": lambda: split_iqm(some, i, q, m),
        "advance": lambda: advance(Carry(), some),
    }
    benchmark.extra_info["words"] = CACHED_WORDS
    benchmark(calls[what])


@pytest.mark.benchmark(group="2**22 words from memory")
@pytest.mark.parametrize("what", ["numpy", "both", "both, two threads", "index rows"])
def test_from_memory(benchmark: Any, words: Words, what: str) -> None:
    """Into new arrays."""
    calls = {
        "numpy": lambda: by_numpy(words),
        "both": lambda: phase_radius(words),
        "both, two threads": lambda: phase_radius(words, threads=2),
        "index rows": lambda: index_rows(words, Carry()),
    }
    benchmark.extra_info["words"] = LARGE_WORDS
    benchmark.pedantic(calls[what], rounds=7, warmup_rounds=2)
