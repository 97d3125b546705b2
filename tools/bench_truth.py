"""Hold ``bench nas`` against disks whose truth is known: ``python -m tools.bench_truth --disks 60 --seed 1``.

Each disk is a model (`diskmodel`) behind FUSE, or with ``--lines N`` sshfs over a line of limited rate. It is benched,
and for each rate that was judged a capture writes to the same disk, its clock set back, for three times the bench's
duration or longer: with the ring that was named, and where that is above the least, with 60 % of it. A line is printed
for each, JSON with ``--json``; the summary says how often a "yes" lost a word, a "no" would have lost none, 60 % of the
ring lost, and exit status and verdict differed. Status 1 if a verdict was wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from fastcap.nasbench.replay import LEAST_RING_BYTES, recommended
from tools.diskmodel import DiskModel
from tools.faultfs import faultfs
from tools.netdisk import netdisk

MB, MIB, GIB = 10**6, 1 << 20, 1 << 30
LONGER = 3  # a capture lasts so many times as long as the bench
HORIZON_S = 600
SMALLER = 0.6
FILLED = 8  # with a smaller ring, as long as so many of it arrive: it may be too small by little
NEAR = 0.97  # a board that is much slower needs less
NO_RING = GIB  # where none was named
MOST_RING, MOST_S = 6 * GIB, 300
CLOCK_HZ = 20_000_000


class Case(msgspec.Struct, frozen=True):
    """A destination: a modelled disk, or a line of so many bytes per second; and the rate that is asked about, MHz."""

    name: str
    mhz: float
    disk: DiskModel | None = None
    line_bytes_per_s: int | None = None


def _every(period_s: float, for_s: float, first_s: float = 1.0) -> list[tuple[float, float]]:
    return [(first_s + k * period_s, for_s) for k in range(int(HORIZON_S / period_s))]


def grid() -> list[Case]:
    """Return disks on which benches have been wrong, and plain ones."""
    named: list[tuple[str, dict[str, Any]]] = [
        ("plain", {"bytes_per_s": 150e6}),
        ("stops for good", {"stalls": [(2.0, 1e6)]}),
        ("20 MB/s", {"bytes_per_s": 20e6}),
        ("20 MB/s behind 64 MiB", {"bytes_per_s": 20e6, "cache_bytes": 64 * MIB, "honest": False}),
        ("20 MB/s behind 1 GiB", {"bytes_per_s": 20e6, "cache_bytes": GIB, "honest": False}),
        ("17 MB/s", {"bytes_per_s": 17e6, "cache_bytes": 64 * MIB}),
        ("90 MB/s behind 1 GiB", {"bytes_per_s": 90e6, "cache_bytes": GIB}),
        ("60 MB/s behind 2 GiB", {"bytes_per_s": 60e6, "cache_bytes": 2 * GIB, "honest": False}),
        ("fsync 1 s", {"fsync_s": 1.0, "bytes_per_s": 200e6}),
        ("fsync 3 s, writes 22 ms", {"fsync_s": 3.0, "write_s": 0.022}),
        ("create 6 s", {"create_s": 6.0, "bytes_per_s": 150e6}),
        ("53 MiB free", {"free_bytes": 53 * MIB}),
        ("600 MiB free", {"free_bytes": 600 * MIB}),
        ("two stalls in a row", {"bytes_per_s": 60e6, "stalls": sorted(_every(9, 2) + _every(9, 1.2, 3.6))}),
        ("a second in four", {"bytes_per_s": 150e6, "stalls": _every(4, 1)}),
        ("five seconds in nine", {"bytes_per_s": 100e6, "stalls": _every(9, 5)}),
    ]
    return [Case(name, mhz, DiskModel(**numbers)) for mhz in (2, 10) for name, numbers in named]


def made_up(seed: int) -> Iterator[Case]:
    """Yield random disks without end."""
    random = Random(seed)
    while True:
        period_s = random.uniform(2, 9)
        stalled = random.random() < 0.6
        yield Case(
            "random",
            random.choice([2, 2, 10]),
            DiskModel(
                bytes_per_s=round(10 ** random.uniform(7.0, 8.4)),
                cache_bytes=random.choice([0, 0, 16 * MIB, 256 * MIB, GIB]),
                honest=random.random() < 0.7,
                write_s=round(10 ** random.uniform(-4, -1.7), 5),
                fsync_s=round(10 ** random.uniform(-3, 0.3), 4),
                create_s=random.choice([0.001, 0.001, 0.5, 3.0]),
                stalls=_every(period_s, round(random.uniform(0.1, 0.6) * period_s, 2), random.uniform(0.5, period_s))
                if stalled else [],
                free_bytes=random.choice([None] * 7 + [random.randrange(100 * MIB, 4 * GIB)]),
            ),
        )  # fmt: skip


def lines(number: int, seed: int) -> list[Case]:
    """Return sshfs over lines of 5 to 120 MB/s."""
    random = Random(seed)
    rates = [round(10 ** random.uniform(6.7, 8.08)) for _ in range(number)]
    return [
        Case(f"line of {rate / MB:.3g} MB/s", random.choice([2, 10]), line_bytes_per_s=rate) for rate in rates
    ]


@contextmanager
def mounted(case: Case) -> Iterator[Path]:
    """Mount the destination, as on its first day."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-truth-") as folder:
        if case.line_bytes_per_s is not None:
            with netdisk(folder) as net:
                net.limit(case.line_bytes_per_s)
                yield net.mount
            return
        backing, mount = Path(folder, "backing"), Path(folder, "mnt")
        backing.mkdir()
        mount.mkdir()
        with faultfs(backing, mount, disk=case.disk):
            yield mount


def _run(arguments: list[str], timeout_s: float) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "fastcap", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_s)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"stderr": done.stderr[-2000:]}


def _board_hz(rate_hz: float) -> int:
    """Return the largest rate up to this one that a board has."""
    return next(CLOCK_HZ // n for n in range(1, CLOCK_HZ) if CLOCK_HZ % n == 0 and CLOCK_HZ / n <= rate_hz)


def _words_lost(case: Case, rate_hz: float, ring: int, seconds: float) -> int:
    """Return what a capture loses; -1: it failed."""
    source = f"sim://?rate={_board_hz(rate_hz)}Hz&pattern=counter"
    arguments = [
        "capture",
        source,
        "--seconds",
        f"{seconds:.3f}",
        "--ring",
        str(ring),
        "--checksum",
        "none",
        "--json",
    ]
    with mounted(case) as mount:
        _, found = _run([*arguments, "--to", str(mount)], seconds + 600)
    lost = found.get("words_lost")
    return -1 if lost is None else int(lost)


def judge(case: Case, seconds: float) -> list[dict[str, Any]]:
    """Bench a destination and capture to it; return a row for each rate."""
    with mounted(case) as mount:
        rate = f"{case.mhz}MHz"
        status, bench = _run(
            ["bench", "nas", str(mount), "--rate", rate, "--seconds", f"{seconds}", "--json"], 600
        )
    what = msgspec.to_builtins(case)
    if "fits" not in bench:
        return [
            {**what, "status": status, "verdict": "refused", "why": bench.get("error", bench.get("stderr"))}
        ]
    took_s = bench["observed_s"] + (bench["saturated"] or {"seconds": 0.0})["seconds"]
    return [_tried(case, fit, took_s, status) for fit in bench["fits"]]


def _tried(case: Case, fit: dict[str, Any], took_s: float, status: int) -> dict[str, Any]:
    """Capture at a rate as the bench said, and with less; return what came of it."""
    rate_hz, needed, verdict = fit["rate_hz"], fit["ring_needed_bytes"], fit["verdict"]
    row = {
        **msgspec.to_builtins(case), "rate_hz": rate_hz, "asked": fit["measured"], "status": status, "verdict": verdict,
        "why": fit["why"], "bench_s": took_s, "needed": needed,
    }  # fmt: skip
    if verdict == "unknown" or (verdict == "yes" and needed is None):
        return row
    rate, seconds = 8 * rate_hz, LONGER * took_s
    row["ring"] = ring = NO_RING if needed is None else recommended(needed)
    if verdict == "no" and fit["headroom"] is not None:  # until what does not fit is more than the ring
        seconds = max(seconds, min(MOST_S, 1.5 * ring / max(0.1, 1 - fit["headroom"]) / rate))
    if ring <= MOST_RING:
        row["lost"] = _words_lost(case, rate_hz, ring, seconds)
    if verdict == "yes" and ring > LEAST_RING_BYTES and _board_hz(rate_hz) > NEAR * rate_hz:
        less = int(SMALLER * ring)
        row["lost_with_less"] = _words_lost(case, rate_hz, less, max(seconds, FILLED * less / rate))
    return row


def describe(row: dict[str, Any]) -> str:
    """Return a row as a line."""
    disk = "" if row["disk"] is None else ", ".join(
        f"{k} {v if k != 'stalls' else (v[:2], len(v))}" for k, v in row["disk"].items() if v not in ([], None)
    )  # fmt: skip
    if row["verdict"] == "refused":
        return f"{row['name']} ({disk}): refused, status {row['status']}: {row['why']}"
    tried = ""
    if "ring" in row:
        less = row.get("lost_with_less", "-")
        tried = f", ring {row['ring'] / MIB:.0f} MiB: lost {row.get('lost')}, with less {less}"
    asked = " (asked)" if row["asked"] else ""
    return f"{row['name']} at {row['rate_hz'] / 1e6:g} MHz{asked}: {row['verdict']}{tried} [{row['why']}] ({disk})"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what was right and what was wrong."""
    yes = [r for r in rows if r["verdict"] == "yes"]
    less = [r for r in yes if "lost_with_less" in r]
    asked = [r for r in rows if r.get("asked")]
    return {
        "rows": len(rows),
        "yes": len(yes),
        "no": sum(r["verdict"] == "no" for r in rows),
        "unknown": sum(r["verdict"] == "unknown" for r in rows),
        "refused": sum(r["verdict"] == "refused" for r in rows),
        "yes_that_lost": sum(r.get("lost") != 0 for r in yes),
        "no_that_lost_nothing": sum(r["verdict"] == "no" and r.get("lost") == 0 for r in rows),
        "less_tried": len(less),
        "less_that_lost": sum(r["lost_with_less"] != 0 for r in less),
        "status_against_verdict": sum((r["status"] == 0) != (r["verdict"] == "yes") for r in asked),
    }


def main() -> int:
    """Try all disks; see the module."""
    parser = argparse.ArgumentParser(description="Hold bench nas against disks whose truth is known.")
    parser.add_argument("--disks", type=int, default=60, help="modelled ones: the grid's, then random ones")
    parser.add_argument("--lines", type=int, default=0, help="sshfs over limited lines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="of each bench")
    parser.add_argument("--jobs", type=int, default=2, help="at a time; more than cores disturb each other")
    parser.add_argument("--json", type=Path, help="write a JSON line for each rate of each disk")
    a = parser.parse_args()
    random = made_up(a.seed)
    cases = grid()[: a.disks]
    cases += [next(random) for _ in range(a.disks - len(cases))] + lines(a.lines, a.seed)
    print(f"seed {a.seed}, {len(cases)} destinations, benches of {a.seconds:g} s", flush=True)
    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(a.jobs) as pool:
        for found in pool.map(lambda case: judge(case, a.seconds), cases):
            rows += found
            for row in found:
                print(describe(row), flush=True)
                if a.json is not None:
                    with a.json.open("a") as f:
                        f.write(json.dumps(row) + "\n")
    counted = summary(rows)
    print(json.dumps(counted))
    return int(
        bool(counted["yes_that_lost"] or counted["no_that_lost_nothing"] or counted["status_against_verdict"])
    )


if __name__ == "__main__":
    sys.exit(main())
