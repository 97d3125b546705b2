"""Reading back: opening, a window of a long file with an index, the pass that makes an index."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from setting import GIB, MIB, Figure, figure, folder

import fastcap as fc
from fastcap._indexfile import BLOCK_WORDS, Head, index_path
from fastcap._indexrows import rows_of
from fastcap._savedrows import save_rows
from fastcap.index import build_index
from fastcap.stream import build_header
from fastcap.words import Carry, encode

LONG_BYTES = 100_000_000_000
HUGE_BYTES = 1_000_000_000_000
MIDDLE_S = 3000
HEADER = build_header(
    ("teststream", "-U", "/dev/usbhybrid0", "-s", "4", "-l", "-b"), datetime(2026, 11, 22, tzinfo=UTC)
)


def reading(gib: float, rounds: int, to: str | None) -> Iterator[Figure]:
    """Yield the figures of opening and of windows (medians of fresh openings), and of the index pass."""
    with folder(to) as name:
        place = Path(name)
        huge = _sparse(place / "huge.bin", HUGE_BYTES)
        long = _sparse(place / "long.bin", LONG_BYTES)
        _index_of_zeros(long)
        yield _median("fc.load, 1 TB, sparse", rounds, lambda: fc.load(huge), most=10)
        yield _median("fc.load, 100 GB, with an index", rounds, lambda: fc.load(long), most=10)
        yield _median("1 s window amid 100 GB: load, window, phase", rounds, lambda: _phase(long), most=20)
        yield _median("the same and its radius", rounds, lambda: _phase(long, radius=True))
        yield _median("envelope of 100 GB in 2000 columns", rounds, lambda: fc.load(long).envelope(2000))
        yield from _pass(place / "pass.bin", gib, rounds)


def _sparse(path: Path, size: int) -> Path:
    path.write_bytes(HEADER)
    os.truncate(path, size)
    return path


def _index_of_zeros(path: Path) -> None:
    """Write the index of a file whose words are all 0: reading 100 GB of nothing would take a minute."""
    status = path.stat()
    words = (status.st_size - len(HEADER)) // 8
    head = Head(status.st_size, len(HEADER), words, status.st_mtime_ns)
    zeros = np.zeros(BLOCK_WORDS, np.uint64)
    rows = np.repeat(rows_of(zeros, Carry(0, 0)), head.rows)
    rows[:1] = rows_of(zeros, Carry())
    rows[-1:] = rows_of(zeros[: words - (head.rows - 1) * BLOCK_WORDS], Carry(0, 0))
    save_rows(index_path(path), [rows], head)


def _phase(path: Path, *, radius: bool = False) -> None:
    window = fc.load(path).window(MIDDLE_S, "1s")
    assert not window.phase().any()
    if radius:
        assert not window.radius().any()


def _median(name: str, rounds: int, call: Callable[[], object], *, most: float | None = None) -> Figure:
    call()  # what is imported on first use
    took_ms = []
    for _ in range(max(3, rounds)):
        begun = time.perf_counter()
        call()
        took_ms.append(1e3 * (time.perf_counter() - begun))
    detail = f"{min(took_ms):.2f} to {max(took_ms):.2f} ms in {len(took_ms)} runs"
    return figure(name, round(statistics.median(took_ms), 2), "ms", most=most, detail=detail)


def _pass(path: Path, gib: float, rounds: int) -> Iterator[Figure]:
    """Index a cached file anew, each round."""
    count = max(1, round(gib * GIB / (8 * MIB)))
    phase = np.cumsum(np.random.default_rng(1).normal(0, 0.2, MIB))
    piece = encode(phase, 5e5 + 1e4 * np.sin(phase)).tobytes()
    with path.open("wb") as file:
        file.write(HEADER)
        for _ in range(count):
            file.write(piece)
    rates = []
    for _ in range(rounds):
        Path(index_path(path)).unlink(missing_ok=True)
        made = build_index(path)
        assert made.made_blocks == made.blocks
        rates.append(count * len(piece) / made.took_s / 1e9)
    detail = f"{min(rates):.2f} to {max(rates):.2f} GB/s in {rounds} passes over {gib:g} GiB"
    yield figure(
        "index pass, cached file", round(statistics.median(rates), 2), "GB/s", least=2, detail=detail
    )
