"""How fast words become phase and radius, beside the straightforward numpy code; the index kernel."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from setting import Figure, figure, holds

import fastcap as fc
from fastcap import _decode
from fastcap._decode import IndexBuilder
from fastcap.words import encode, phase_radius

Words = NDArray[np.uint64]
WORDS = 1 << 24
PIECE = 256 << 10


def signal(words: int) -> Words:
    """Return a drifting, noisy phase as words, the radius noisy as well."""
    rng = np.random.default_rng(1)
    made = np.empty(words, np.uint64)
    phase = 0.0
    for at in range(0, words, 1 << 20):
        turns = phase + np.cumsum(rng.normal(1e-4, 0.02, min(1 << 20, words - at)))
        made[at : at + turns.size] = encode(turns, 1e6 + 1e3 * rng.normal(size=turns.size))
        phase = float(turns[-1])
    return made


def by_numpy(words: Words) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return phase and radius as one would write it: shift, mask, arctan2, hypot over whole arrays."""
    bits = words.view(np.int64)
    i, q, m = bits << 16 >> 40, bits << 40 >> 40, bits >> 48
    steps = np.diff(m, prepend=m[0])
    wraps = np.cumsum((steps > 0x8000).astype(np.int64) - (steps < -0x8000))
    return -np.arctan2(i, q) / (2 * np.pi) - (m - 65536 * wraps), np.hypot(i, q)


def decode(rounds: int) -> Iterator[Figure]:
    """2**24 words into new arrays, warm, the ways in turn within each round; medians of wall time."""
    words = signal(WORDS)
    builder = IndexBuilder()
    data = memoryview(words).cast("B")

    def index() -> None:
        for at in range(0, data.nbytes, PIECE):
            builder.add(data[at : at + PIECE])
        builder.take_rows()

    ways: dict[str, Callable[[], Any]] = {
        "numpy": lambda: by_numpy(words),
        "one thread": lambda: phase_radius(words),
        "one thread, fresh": lambda: phase_radius(words, np.empty(WORDS), np.empty(WORDS)),
        "two threads": lambda: phase_radius(words, threads=2),
        "index": index,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for once_more in range(rounds + 2):
        for name, way in ways.items():
            seconds = _wall(way)
            if once_more >= 2:
                took[name].append(seconds)
    rates = {name: [WORDS / s / 1e6 for s in each] for name, each in took.items()}
    middle = {name: statistics.median(each) for name, each in rates.items()}
    spread = {name: f"{min(each):.4g} to {max(each):.4g}" for name, each in rates.items()}
    level = f"level {_decode.levels()[-1]}"
    ratio, threads = middle["one thread"] / middle["numpy"], middle["two threads"] / middle["one thread"]
    yield figure("decode: numpy", round(middle["numpy"], 1), "Mwords/s", detail=spread["numpy"])
    yield figure("decode: one thread", round(middle["one thread"]), "Mwords/s", least=400,
                 detail=f"{spread['one thread']}; {level}")  # fmt: skip
    yield figure("decode: one thread, pages from the kernel", round(middle["one thread, fresh"]), "Mwords/s",
                 detail=f"{spread['one thread, fresh']}; the arrays are numpy's own")  # fmt: skip
    yield figure("decode: one thread / numpy", round(ratio, 1), "", least=12)
    yield figure("decode: two threads / one", round(threads, 2), "", least=1.6, detail=spread["two threads"])
    yield figure("decode: index pass", round(middle["index"] * 8e6 / 1e9, 2), "GB/s", least=2,
                 detail=f"{min(rates['index']) * 8e-3:.3g} to {max(rates['index']) * 8e-3:.3g}")  # fmt: skip
    yield holds("decode: phase and radius as numpy's", _is_right(words), "2**24 words, to 1e-12")
    yield from _of_a_file(words, rounds)


def _of_a_file(words: Words, rounds: int) -> Iterator[Figure]:
    """Time what a user calls: `load` of a file in tmpfs each time; the quickest of all rounds, numpy's among them."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = os.path.join(folder, "words.bin")
        words.tofile(path)

        def load() -> fc.Trace:
            return fc.load(path, payload="none")

        ways: dict[str, Callable[[], Any]] = {
            "numpy": lambda: by_numpy(words),
            "phase and radius": lambda: (load().phase(), load().radius()),
            "polar": lambda: load().polar(),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                took[name].append(_wall(way))
        equal = all(map(np.array_equal, load().polar(), phase_radius(words)))
    best = {name: min(each) for name, each in took.items()}
    for name, least in (("phase and radius", 12), ("polar", 16)):
        detail = f"{best[name] * 1e3:.1f} and {best['numpy'] * 1e3:.1f} ms, the quickest of {rounds}"
        ratio = round(best["numpy"] / best[name], 1)
        yield figure(f"decode: fc.load, {name} / numpy", ratio, "", least=least, detail=detail)
    yield holds("decode: of a file as of an array", equal, "2**24 words, to the last bit")


def _wall(way: Callable[[], Any]) -> float:
    os.sched_yield()
    start = time.perf_counter()
    kept = way()
    seconds = time.perf_counter() - start
    del kept
    return seconds


def _is_right(words: Words) -> bool:
    pairs = zip(phase_radius(words, threads=2), by_numpy(words), strict=True)
    return all(bool(np.allclose(got, want, rtol=1e-12, atol=1e-12)) for got, want in pairs)
