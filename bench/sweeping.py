"""Sweeps: the time between points, a destination that is slower than the stream, a controller that is killed."""

from __future__ import annotations

import itertools
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from setting import Figure, figure, folder, holds, programs, quantile

import fastcap as fc
from fastcap.stream import header_bytes
from fastcap.verify import verify_file

RATE_HZ = 2_000_000
WRITE_WORDS = 512
STARTS = 30
HEADER = "# command line: teststream -U /dev/none -q {words} -s 4 -l -b\n# recording start: 2026-01-01 00:00:00 +0000\n"


def radius(tr: fc.Trace) -> dict[str, float]:
    """The analysis of every point."""
    r = tr.radius()
    return {"mean": float(r.mean()), "std": float(r.std())}


# ---- between points --------------------------------------------------------------------------------


def gaps(points: int, seconds: float, to: str | None) -> Iterator[Figure]:
    """Every word holds when it was written; a point's first against the last of the one before."""
    with programs("stamps") as c, folder(to) as place:
        argv = _stamping(c["stamps"], seconds)
        started = sorted(_start_s(argv) for _ in range(STARTS))
        with fc.open(argv, ring="256MiB") as board:
            axis = fc.Axis(lambda value: value, fc.linspace(0, 1, points), name="x")
            res = fc.sweep(board, axis, analyse=radius, save=f"{place}/sweep", progress=False)
        edges = [_edges_ns(path) for path in res.files()]
    start_s = statistics.median(started)
    between = [(b[0] - a[1]) / 1e9 for a, b in itertools.pairwise(edges)]
    extra_ms = [1e3 * (s - start_s) for s in between]
    name = f"sweep: {points} points of {seconds:g} s, word to word beyond the source's start"
    detail = f"start {1e3 * start_s:.1f} ms (max {1e3 * started[-1]:.1f}), max {max(extra_ms):.1f}"
    yield figure(f"{name}: p50", round(statistics.median(extra_ms), 1), "ms", most=20, detail=detail)
    yield figure(f"{name}: p99", round(quantile(extra_ms, 0.99), 1), "ms", most=50)
    yield holds("sweep: all points done", res.complete, f"{res.done} of {points}")


def _stamping(stamps: str, seconds: float) -> list[str]:
    """Return a command that writes a header, then stamps."""
    text = HEADER.format(words=int(RATE_HZ * seconds) // WRITE_WORDS * WRITE_WORDS).encode()
    text += b"\0" * (-len(text) % 8)
    magic = 0x123456ABCDEF << 16 | len(text) // 8 + 1
    octal = "".join(f"\\{byte:03o}" for byte in magic.to_bytes(8, "little") + text)
    return [
        "sh",
        "-c",
        f"printf '{octal}'; exec \"$@\"",
        "sh",
        stamps,
        str(RATE_HZ),
        str(seconds),
        str(WRITE_WORDS),
    ]


def _start_s(argv: list[str]) -> float:
    """Return the time from starting the source to its first word, without fastcap."""
    began_ns = time.monotonic_ns()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as source:
        assert source.stdout is not None
        data = b""
        while len(data) < 4096 or not header_bytes(data):
            data += source.stdout.read(1 << 16)
        source.kill()
    return (int.from_bytes(data[header_bytes(data) :][:8], "little") - began_ns) / 1e9


def _edges_ns(path: Path) -> tuple[int, int]:
    """Return a file's first and last word."""
    with path.open("rb") as file:
        skip = header_bytes(file.read(4096))
        words = np.memmap(file, dtype="<u8", mode="r", offset=skip)
        return int(words[0]), int(words[-1])


# ---- a slow destination ----------------------------------------------------------------------------


def slow(points: int, seconds: float, share: float, to: str | None) -> Iterator[Figure]:
    """Write to a disk that takes a share of the stream's rate; the total against sampling and starting."""
    root = str(Path(__file__).resolve().parents[1])
    sys.path.insert(0, root)
    from tools.faultfs import faultfs

    with programs("stamps") as c, folder(to) as place:
        argv = _stamping(c["stamps"], seconds)
        start_s = statistics.median(_start_s(argv) for _ in range(STARTS))
        for name in ("backing", "mount"):
            Path(place, name).mkdir()
        with faultfs(f"{place}/backing", f"{place}/mount") as fs, fc.open(argv, ring="1GiB") as board:
            fs.throttle(int(share * RATE_HZ * 8))
            axis = fc.Axis(lambda value: value, fc.linspace(0, 1, points), name="x")
            res = fc.sweep(board, axis, save=f"{place}/mount/sweep", progress=False)
            edges = [_edges_ns(path) for path in res.files()]
            verified = sum(verify_file(path).ok for path in res.files())
    took_s, ideal_s = (edges[-1][1] - edges[0][0]) / 1e9, points * seconds + (points - 1) * start_s
    name = f"sweep: {points} points of {seconds:g} s, destination at {share:g} of the rate"
    detail = f"{took_s:.2f} s sampled in, {ideal_s:.2f} s ideally"
    yield figure(f"{name}: longer by", round(100 * (took_s / ideal_s - 1), 2), "%", most=3, detail=detail)
    yield holds(
        f"{name}: complete and verified", res.complete and verified == points, f"{verified} of {points}"
    )


# ---- without a gap ---------------------------------------------------------------------------------


def gapless(points: int, seconds: float, to: str | None) -> Iterator[Figure]:
    """Points as windows of one run of the counter pattern: which words are in no file."""
    with folder(to) as place:
        with fc.open("sim://?rate=2MHz&pattern=counter&fifo=512MiB", ring="256MiB") as board:
            axis = fc.Axis(lambda value: value, fc.linspace(0, 1, points), name="x")
            res = fc.sweep(
                board, axis, record=seconds, repeats=2, analyse=radius, save=f"{place}/sweep", gapless=True,
                progress=False,
            )  # fmt: skip
        spans = sorted(_edges_ns(path) for path in Path(place, "sweep").glob("*.bin") if _has_words(path))
        windows = {shot: _edges_ns(path) for shot, path in enumerate(res.files())}
    missing = spans[0][0] + sum(b[0] - a[1] - 1 for a, b in itertools.pairwise(spans))
    between = sum(windows[k + 1][0] - windows[k][1] - 1 for k in range(0, len(windows), 2))
    name = f"sweep: gapless, {points} points of 2 x {seconds:g} s"
    detail = f"{spans[-1][1] + 1} words in {len(spans)} files of one run"
    yield figure(f"{name}: words in no file", missing, "", most=0, detail=detail)
    yield figure(f"{name}: words between repeats", between, "", most=0)
    yield holds(f"{name}: all points done", res.complete, f"{res.done} of {2 * points}")


def _has_words(path: Path) -> bool:
    with path.open("rb") as file:
        return path.stat().st_size >= (header_bytes(file.read(4096)) or 0) + 8


# ---- a killed controller ---------------------------------------------------------------------------


def killed(points: int, kills: int, seed: int, to: str | None) -> Iterator[Figure]:
    """Kill the controller at random moments, resume each time; every point once, every file verified."""
    rng = random.Random(seed)
    with folder(to) as place:
        sweep = f"{place}/sweep"
        done_at = []
        for _ in range(kills):
            before = _count(sweep, "begin")
            with subprocess.Popen(_killable(sweep, points), stderr=subprocess.DEVNULL) as process:
                wanted = before + rng.randint(1, 4)
                while process.poll() is None and _count(sweep, "begin") < wanted:
                    time.sleep(0.01)
                try:
                    process.wait(rng.uniform(0, 0.8))
                except subprocess.TimeoutExpired:
                    os.kill(process.pid, signal.SIGKILL)
            done_at.append(_count(sweep, "done"))
        subprocess.run(_killable(sweep, points), check=True, stderr=subprocess.DEVNULL)
        res = fc.load_sweep(sweep)
        keys = [e["key"] for e in _entries(sweep) if e["event"] == "done"]
        verified = sum(verify_file(path).ok for path in res.files())
        began = sum(e["event"] == "begin" for e in _entries(sweep))
    name = f"sweep: {points} points, controller killed {kills} times"
    told = f"{len(keys)} done, {began} begun; done at the kills: {done_at}"
    yield holds(f"{name}: every point once", res.complete and len(keys) == len(set(keys)) == points, told)
    yield holds(f"{name}: every file verified", verified == points, f"{verified} of {points}")


def _killable(folder: str, points: int) -> list[str]:
    """Return the command of a sweep of its own, which resumes."""
    code = (
        "import fastcap as fc\n"
        "with fc.open('sim://?rate=2MHz&pattern=counter&q=200000', ring='32MiB') as board:\n"
        f"    axis = fc.Axis(lambda value: value, fc.linspace(0, 1, {points}), name='x')\n"
        "    words = lambda tr: {'words': len(tr)}\n"
        f"    fc.sweep(board, axis, analyse=words, save={folder!r}, resume=True, progress=False)\n"
    )
    return [sys.executable, "-c", code]


def _entries(folder: str) -> list[dict[str, Any]]:
    from fastcap.sweeping.journal import read_journal

    return read_journal(folder)


def _count(folder: str, event: str) -> int:
    return sum(entry["event"] == event for entry in _entries(folder))


def sweep(points: int, seconds: float, kills: int, seed: int, to: str | None) -> Iterator[Figure]:
    """Return all figures of sweeps."""
    yield from gaps(points, seconds, to)
    yield from gapless(40, 0.5, to)
    yield from slow(40, 2.0, 0.7, to)
    yield from killed(30, kills, seed, to)
