"""How soon: from the source's write to the block in `board.stream`, and from exec to the first byte."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from setting import Figure, fastcap_argv, figure, folder, later, programs, quantile

import fastcap as fc

RATE_HZ = 2_000_000
WRITE_WORDS = 512


def latency(seconds: float, block_words: int) -> Iterator[Figure]:
    """The last word of every block holds when it was written; compare with when the block is there."""
    if block_words % WRITE_WORDS:
        raise SystemExit(f"figures: --block-words {block_words} must be a multiple of {WRITE_WORDS}, a write")
    with programs("stamps") as c:
        argv = [c["stamps"], str(RATE_HZ), str(seconds), str(WRITE_WORDS)]
        with later() as source, fc.open(source.fd, ring="64MiB") as board:
            ms = []
            with board.stream(block_words=block_words) as s:
                source.start(argv)
                for block in s.blocks(timeout_s=10):
                    arrived_ns = time.monotonic_ns()
                    if len(block) == block_words:
                        ms.append((arrived_ns - int(block.words[-1])) / 1e6)
    name = f"latency: 2MHz, blocks of {block_words} words"
    worst = f"{len(ms)} blocks, max {max(ms):.2f}"
    yield figure(f"{name}: p50", round(quantile(ms, 0.5), 3), "ms")
    yield figure(f"{name}: p99", round(quantile(ms, 0.99), 3), "ms", most=2, detail=worst)


def startup(rounds: int, to: str | None) -> Iterator[Figure]:
    """From exec of ``fastcap capture`` to the reader's first bytes, by ring; and ``import fastcap``."""
    rings: dict[str, list[float]] = {"64MiB": [], "1GiB": []}
    own: dict[str, list[float]] = {"64MiB": [], "1GiB": []}
    imports, bare = [], []
    with programs("first") as c, folder(to) as place:
        for k in range(rounds):
            for ring, values in rings.items():
                exec_s, began_s, taken_s = _first_byte(c["first"], f"{place}/{ring}-{k}", ring)
                values.append(taken_s - exec_s)
                own[ring].append(began_s - exec_s)
            imports.append(_python("import fastcap"))
            bare.append(_python("pass"))
    for ring, values in rings.items():
        each = " ".join(f"{v:.3f}" for v in values)
        detail = f"each {each}; until the source runs: {statistics.median(own[ring]):.3f}"
        yield figure(f"startup: first byte, ring {ring}", round(statistics.median(values), 3), "s", most=0.4,
                     detail=detail)  # fmt: skip
    took, python = statistics.median(imports), statistics.median(bare)
    detail = f"python alone: {python:.3f}; whole process: {took:.3f}"
    yield figure("startup: import fastcap", round(took - python, 4), "s", most=0.15, detail=detail)


def _first_byte(first: str, place: str, ring: str) -> tuple[float, float, float]:
    """Return the times of exec, of the source's start and of its first bytes taken."""
    Path(place).mkdir()
    note = Path(place) / "times"
    argv = [*fastcap_argv(), "capture", "--to", place, "--ring", ring, "--", first, str(note)]
    exec_s = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode or not note.exists():
        raise SystemExit(f"figures: {' '.join(argv)} ended with status {done.returncode}: {done.stderr}")
    began_ns, taken_ns = (int(x) for x in note.read_text().split())
    return exec_s, began_ns / 1e9, taken_ns / 1e9


def _python(code: str) -> float:
    start_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - start_s
