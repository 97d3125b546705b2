"""How long a picture takes: of ten seconds and of ten hours at 2 MHz.

The ten-hour file is sparse: holes but for a spike and the words from which histogram and spectrum are made,
with a true index. It takes 70 MB of disk and of index each, and 576 GB of address space.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from setting import Figure, figure

from fastcap import load
from fastcap._indexfile import BLOCK_WORDS, Head, index_path
from fastcap._indexrows import Rows, rows_of
from fastcap._savedrows import save_rows
from fastcap._survey import spread
from fastcap.plot import plot_trace
from fastcap.stream import build_header
from fastcap.words import Carry, Words, encode

RATE_HZ = 2_000_000
ARGV = ("teststream", "-U", "/dev/usbhybrid0", "-s", "4", "-l", "-b")
_ROWS_AT_ONCE = 1 << 14


def make_sparse(path: Path, seconds: float, spike_at: float) -> None:
    """Write a file of zero words with one spike, noise where a picture samples it, and its index."""
    header = build_header(ARGV, datetime(2026, 11, 22, tzinfo=UTC))
    blocks = int(seconds * RATE_HZ) // BLOCK_WORDS
    words = blocks * BLOCK_WORDS
    written = {block: _noise(block) for at in spread(0, words, 1 << 19) for block in _blocks_of(at)}
    spiked = int(blocks * spike_at)
    written[spiked] = _noise(spiked)
    written[spiked][1234] = encode(np.array([0.0]), 50_000.0)[0]
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 8 * words)
        for block, data in written.items():
            file.seek(len(header) + 8 * block * BLOCK_WORDS)
            file.write(data.tobytes())
    status = path.stat()
    head = Head(status.st_size, len(header), words, status.st_mtime_ns)
    save_rows(index_path(path), _rows(blocks, written), head)


def _blocks_of(word: int) -> range:
    return range(word // BLOCK_WORDS, -(-(word + (1 << 19)) // BLOCK_WORDS))


def _noise(seed: int) -> Words:
    """Return a block whose last word is 0, as is the one before each block."""
    words = encode(np.random.default_rng(seed).normal(0, 0.01, BLOCK_WORDS), 3000.0)
    words[-1] = 0
    return words


def _rows(blocks: int, written: dict[int, Words]) -> Iterator[Rows]:
    plain = rows_of(np.zeros(2 * BLOCK_WORDS, np.uint64), Carry())
    for begin in range(0, blocks, _ROWS_AT_ONCE):
        made = np.repeat(plain[1:], min(_ROWS_AT_ONCE, blocks - begin))
        if begin == 0:
            made[0] = plain[0]
        for block in written:
            if begin <= block < begin + made.size:
                made[block - begin] = rows_of(written[block], Carry(last_m=0) if block else Carry())[0]
        yield made


def make_whole(path: Path, seconds: float) -> None:
    """Write a file of a signal with noise, without an index."""
    chance = np.random.default_rng(1)
    with path.open("wb") as file:
        file.write(build_header(ARGV, datetime(2026, 11, 22, tzinfo=UTC)))
        for second in range(int(seconds)):
            at = second + np.arange(RATE_HZ) / RATE_HZ
            file.write(encode(100 * np.sin(at) + chance.normal(0, 1e-3, RATE_HZ), 30_000.0).tobytes())


def pictures(rounds: int, keep: str | None) -> Iterator[Figure]:
    """Draw ten seconds and ten hours; leave the pictures in ``keep``."""
    with tempfile.TemporaryDirectory() as name:
        folder, target = Path(name), Path(keep or name)
        make_whole(folder / "seconds.bin", 10)
        make_sparse(folder / "hours.bin", 36_000, spike_at=0.7)
        plot_trace(load(folder / "hours.bin")[:1000], folder / "first.png")  # imports and fonts
        for what in ("seconds", "hours"):
            yield _timed(folder / f"{what}.bin", rounds, target / f"{what}.png")


def _timed(path: Path, rounds: int, picture: Path) -> Figure:
    """Open, draw and write, each time anew; the index of a file without one is made each time, too."""
    wall, cpu = [], []
    for _ in range(rounds):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        plot_trace(load(path), picture)
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - begun_cpu)
    detail = f"{min(wall):.2f} to {max(wall):.2f} s in {rounds} runs; CPU {statistics.median(cpu):.2f} s"
    return figure(f"plot of ten {path.stem}", round(statistics.median(wall), 2), "s", most=2, detail=detail)
