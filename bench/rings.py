"""The ring itself: processes that read every word of what another fills in place, and how soon one wakes."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Iterator

from setting import HERE, MIB, Figure, figure, programs, quantile

KIB = 1 << 10
CONSUMERS = 2
BLOCKS = {"4 KiB": 4 * KIB, "64 KiB": 64 * KIB, "256 KiB": 256 * KIB, "1 MiB": MIB, "4 MiB": 4 * MIB}
MOST_CONSUMERS = 4
SMALL, LARGE = 4 * KIB, 256 * KIB


def ring(gib: float, rounds: int) -> Iterator[Figure]:
    """Throughput by size of block, beside the same three processes on the same memory without the ring."""
    total = int(gib * 1024) * MIB
    with programs("ring") as c:
        for name, block in BLOCKS.items():
            yield from _flow(c["ring"], name, block, total, rounds)
        for consumers in range(1, MOST_CONSUMERS + 1):
            rates = [flow_rates(c["ring"], "flow", MIB, total, consumers)[0] for _ in range(rounds)]
            rate = statistics.median(rates) / 1e9
            yield figure(f"ring: 1 MiB blocks, consumers: {consumers}", round(rate, 2), "GB/s")
    if importlib.util.find_spec("iceoryx2"):
        with programs("ring_calls", shared=True) as c:
            for name, block in BLOCKS.items():
                yield from _beside_iceoryx2(c["ring_calls"], name, block, total, rounds)


def _beside_iceoryx2(library: str, name: str, block: int, total: int, rounds: int) -> Iterator[Figure]:
    """Return both rates, with numpy at both ends of either; in turn within each round."""
    total = min(total, block << 18)  # small blocks take Python long
    rates: dict[str, list[float]] = {"ring": [], "iceoryx2": []}
    for _ in range(rounds):
        for way, found in rates.items():
            argv = [
                sys.executable,
                str(HERE / "fan_out.py"),
                way,
                library,
                str(block),
                str(total),
                str(CONSUMERS),
            ]
            done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
            found.append(float(done.stdout) / 1e9)
    ours, theirs = (statistics.median(found) for found in rates.values())
    for way, found in rates.items():
        each = " ".join(f"{rate:.1f}" for rate in found)
        label = f"ring: from Python, {name} blocks" + (", iceoryx2" if way == "iceoryx2" else "")
        yield figure(label, round(statistics.median(found), 2), "GB/s", detail=f"each {each}")
    yield figure(f"ring: from Python, {name} blocks: ring / iceoryx2", round(ours / theirs, 2), "")


def _flow(program: str, name: str, block: int, total: int, rounds: int) -> Iterator[Figure]:
    """Return one block size's rate and its share of what is reached without the ring; in turn within each round."""
    rates: dict[str, list[tuple[float, float]]] = {"flow": [], "free": []}
    for _ in range(rounds):
        for mode, found in rates.items():
            found.append(flow_rates(program, mode, block, total, CONSUMERS))
    flow, free = (statistics.median(whole for whole, _ in found) for found in rates.values())
    readers = statistics.median(read for _, read in rates["free"])
    each = " ".join(f"{whole / 1e9:.1f}" for whole, _ in rates["flow"])
    least = 2.0 if block == SMALL else None
    yield figure(f"ring: {name} blocks", round(flow / 1e9, 2), "GB/s", least=least, detail=f"each {each}")
    least = 0.9 if block >= LARGE else None
    detail = f"without: {free / 1e9:.1f} GB/s; its readers were done at {readers / 1e9:.1f}"
    yield figure(
        f"ring: {name} blocks / without the ring", round(flow / free, 2), "", least=least, detail=detail
    )


def flow_rates(program: str, mode: str, block: int, total: int, consumers: int) -> tuple[float, float]:
    """Run the program once; return bytes a second until all are done, and until the consumers are."""
    argv = [program, mode, str(block), str(total), str(consumers)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
    whole, read = done.stdout.split()
    return float(whole), float(read)


def wake(count: int) -> Iterator[Figure]:
    """From the producer's clock before it publishes to the consumer's after it woke; half a millisecond apart."""
    with programs("ring") as c:
        done = subprocess.run(
            [c["ring"], "wake", str(count)], capture_output=True, text=True, check=True, timeout=300
        )
    took_us = [int(line) / 1e3 for line in done.stdout.split()]
    yield figure("wake: p50", round(quantile(took_us, 0.5), 1), "us", most=10, detail=f"of {len(took_us)}")
    yield figure(
        "wake: p99", round(quantile(took_us, 0.99), 1), "us", most=100, detail=f"max {max(took_us):.0f}"
    )
