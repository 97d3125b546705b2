"""Throughput of the ring by itself, and of the engine end to end, in processes of their own.

``pytest -o addopts= bench/test_flow_bench.py``. The ring's program is ``c/ring.c``; its figures beside what is reached
without a ring are ``python bench/figures.py ring``.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rings import BLOCKS, MOST_CONSUMERS, flow_rates
from setting import GIB, programs

import fastcap as fc

SECONDS = 2


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    with programs("ring") as paths:
        yield paths["ring"]


@pytest.mark.benchmark(group="ring")
@pytest.mark.parametrize("consumers", range(1, MOST_CONSUMERS + 1))
@pytest.mark.parametrize("block", BLOCKS)
def test_ring(benchmark: Any, program: str, block: str, consumers: int) -> None:
    """1 GiB from one process that fills blocks in place to others that read every word."""
    rates: list[float] = []
    benchmark.pedantic(
        lambda: rates.append(flow_rates(program, "flow", BLOCKS[block], GIB, consumers)[0]),
        rounds=3,
        warmup_rounds=1,
    )
    benchmark.extra_info["GB/s"] = max(rates) / 1e9


@pytest.mark.benchmark(group="end to end")
@pytest.mark.parametrize("rate", ["2MHz", "10MHz"])
def test_end_to_end(benchmark: Any, tmp_path: Path, rate: str) -> None:
    """Two seconds of the emulated board to a verified file, start-up and end included; CPU a GB beside it."""
    words = int(float(rate.removesuffix("MHz")) * 1e6) * SECONDS
    reports: list[Any] = []

    def capture() -> None:
        with fc.open(f"sim://?rate={rate}&pattern=counter", ring="256MiB") as board:
            reports.append(board.record(None, tmp_path, samples=words).report)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    benchmark.pedantic(capture, rounds=3)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    benchmark.extra_info["CPU s/GB, the board's included"] = used_s / (len(reports) * words * 8 / 1e9)
    assert all(r.words == words and r.words_lost == 0 for r in reports)
