"""A short set of ratios to peers measured in the same run; fails when one has fallen by a third.

    python bench/ratios.py            # against bench/ratios.json; exit status 1 if a ratio has fallen
    python bench/ratios.py --store    # write what is measured now

Both sides of a ratio run in turn within each round; a ratio is the median over rounds. One that seems to have fallen is
measured again, twice at most: machines are shared. No absolute time is looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from decoding import by_numpy, signal
from rings import CONSUMERS, flow_rates
from setting import GIB, MIB, fastcap_argv, programs

from fastcap._decode import IndexBuilder
from fastcap.stats import TraceStats
from fastcap.words import phase, phase_radius, radius, split_iqm

STORED = Path(__file__).with_name("ratios.json")
FALLEN = 2 / 3
ROUNDS, AGAIN = 7, 2
WORDS = 1 << 21
Way = Callable[[], object]


def statistics_by_numpy(words: np.ndarray) -> None:
    """What the statistics hold, over whole arrays: moments, extremes, percentiles, histograms."""
    for values in (phase(words), radius(words)):
        scaled = (values - values.mean()) / values.std()
        [(scaled**p).mean() for p in (3, 4, 5, 6)]
        values.min(), values.max()
    np.percentile(phase(words), [50, 75, 90, 100])
    for values in (*split_iqm(words)[:2], radius(words)):
        np.histogram(values, 256)


@contextmanager
def pairs() -> Iterator[dict[str, tuple[Way, Way]]]:
    """Yield what is compared: name -> (ours, the peer)."""
    words = signal(WORDS)
    target = np.empty_like(words)
    data = memoryview(words).cast("B")
    stats = TraceStats(skip_words=0)

    def index() -> None:
        builder = IndexBuilder()
        for at in range(0, data.nbytes, 256 << 10):
            builder.add(data[at : at + (256 << 10)])
        builder.take_rows()

    with programs("flood", "swallow", "ring") as c:
        flood = [c["flood"], str(1 << 30)]

        def through(*tee: str) -> Way:
            def run() -> None:
                with (
                    subprocess.Popen(flood, stdout=subprocess.PIPE) as source,
                    subprocess.Popen(tee, stdin=source.stdout, stdout=subprocess.PIPE) as middle,
                    subprocess.Popen([c["swallow"]], stdin=middle.stdout, stdout=subprocess.DEVNULL) as sink,
                ):
                    for process in (source, middle):
                        assert process.stdout is not None
                        process.stdout.close()
                    if sink.wait():
                        raise RuntimeError("the sink failed")

            return run

        def blocks(mode: str) -> Way:
            return lambda: flow_rates(c["ring"], mode, MIB, 2 * GIB, CONSUMERS)[0]

        yield {
            "ring / no ring": (blocks("flow"), blocks("free")),
            "decode / numpy": (lambda: phase_radius(words), lambda: by_numpy(words)),
            "index / memcpy": (index, lambda: np.copyto(target, words)),
            "statistics / numpy": (lambda: stats.update(words), lambda: statistics_by_numpy(words)),
            "fastcap tee / tee": (through(*fastcap_argv(), "tee", os.devnull), through("tee", os.devnull)),
        }


def measured(ours: Way, peer: Way) -> float:
    """Return how many times as fast as the peer we are."""
    ours(), peer()
    return statistics.median(_took(peer) / _took(ours) for _ in range(ROUNDS))


def _took(way: Way) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def main() -> int:
    """Measure, compare, tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", action="store_true", help="take what is measured for what is to be kept")
    args = parser.parse_args()
    stored = json.loads(STORED.read_text())["ratios"] if STORED.exists() else {}
    found, fallen = {}, []
    with pairs() as compared:
        for name, (ours, peer) in compared.items():
            least = 0.0 if args.store else FALLEN * stored[name]
            tries = [measured(ours, peer)]
            while max(tries) < least and len(tries) <= AGAIN:
                tries.append(measured(ours, peer))
            found[name] = round(max(tries), 3)
            verdict = "ok" if found[name] >= least else "FALLEN"
            if verdict != "ok":
                fallen.append(name)
            told = "" if args.store else f"stored {stored[name]:g}, at least {least:.3g}: {verdict}"
            print(f"{name:<22}{found[name]:>8.3g}   {told}", flush=True)
    if args.store:
        STORED.write_text(json.dumps({"ratios": found}, indent=1) + "\n")
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
