"""How fast: ``fastcap tee`` and ``capture`` beside their peers, and `board.stream` from a source at full speed."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from setting import GIB, HERE, MIB, Figure, fastcap_argv, figure, holds, later, pipe, programs, quantile

import fastcap as fc

WORD_OF_SEVENS = 0x0707070707070707


def tee(gib: float, rounds: int) -> Iterator[Figure]:
    """``SOURCE | PEER | SINK``, the peers in turn; wall time from the start of all three to the sink's end."""
    peers = {"tee": ["tee", "/dev/null"], "fastcap": [*fastcap_argv(), "tee", "/dev/null"]}
    if shutil.which("mbuffer"):
        peers["mbuffer"] = ["mbuffer", "-q", "-m", "256M", "-s", "262144"]
    total = int(gib * GIB)
    whole: dict[str, list[float]] = {name: [] for name in peers}
    flowing: dict[str, list[float]] = {name: [] for name in peers}
    with programs("flood", "swallow") as c:
        for _ in range(rounds):
            for name, argv in peers.items():
                wall_s, flow_s = _through(argv, c, total)
                whole[name].append(total / wall_s / 1e9)
                flowing[name].append(total / flow_s / 1e9)
    middle = {name: statistics.median(values) for name, values in whole.items()}
    for name, values in whole.items():
        each = " ".join(f"{v:.2f}" for v in values)
        first = f"from the sink's first byte: {statistics.median(flowing[name]):.2f}"
        yield figure(f"tee: {name}", round(middle[name], 3), "GB/s", detail=f"each {each}; {first}")
    yield figure("tee: fastcap / tee", round(middle["fastcap"] / middle["tee"], 2), "", least=2.0)
    if "mbuffer" in middle:
        yield figure("tee: fastcap / mbuffer", round(middle["fastcap"] / middle["mbuffer"], 2), "", least=1.1)


def _through(argv: list[str], c: dict[str, str], total: int) -> tuple[float, float]:
    """Return the seconds of the whole pipeline, and those from the sink's first byte on."""
    in_read, in_write = pipe()
    out_read, out_write = pipe()
    start_s = time.monotonic()
    sink = subprocess.Popen([c["swallow"]], stdin=out_read, stdout=subprocess.PIPE)
    peer = subprocess.Popen(argv, stdin=in_read, stdout=out_write)
    flood = subprocess.Popen([c["flood"], str(total)], stdout=in_write)
    for fd in (in_read, in_write, out_read, out_write):
        os.close(fd)
    told, _ = sink.communicate()
    wall_s = time.monotonic() - start_s
    if flood.wait() or peer.wait() or sink.returncode:
        raise SystemExit(
            f"figures: {argv[0]} failed: {flood.returncode}, {peer.returncode}, {sink.returncode}"
        )
    got, flow_s = told.split()
    if int(got) != total:
        raise SystemExit(f"figures: {argv[0]} passed on {int(got)} of {total} bytes")
    return wall_s, float(flow_s)


def dd(gib: float, rounds: int) -> Iterator[Figure]:
    """``SOURCE | fastcap capture -`` to tmpfs beside dd: wall time from the start of both to the end of the writer.

    A capture also makes an index and, unless told otherwise, a sha256; dd does not, so it also stands behind tee, which
    feeds openssl's sha256 beside it. digital_rf, where it is installed, writes HDF5 files of a second each.
    """
    total = int(gib * GIB)
    with (
        programs("flood") as c,
        tempfile.TemporaryDirectory(dir="/dev/shm", prefix="fastcap-bench-") as place,
    ):
        to_there = [*fastcap_argv(), "capture", "-", "--to", f"{place}/run.bin", "--json"]
        copy = ["dd", "bs=1M", "iflag=fullblock", f"of={place}/run.bin", "status=none"]
        peers = {
            "dd": copy,
            "capture, no checksum": [*to_there, "--checksum", "none"],
            "capture": to_there,
        }
        if shutil.which("openssl"):
            fifo = f"{place}/copy"
            script = f"mkfifo {fifo}; openssl sha256 < {fifo} > {place}/sum & tee {fifo} | {shlex.join(copy)}; wait $!"
            peers["tee, openssl and dd"] = ["sh", "-c", script]
        if importlib.util.find_spec("digital_rf"):
            peers["digital_rf"] = [sys.executable, str(HERE / "digital_rf_keep.py"), place]
        walls: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, argv in peers.items():
                walls[name].append(_into_file(argv, c["flood"], total, Path(place)))
    middle = {name: statistics.median(values) for name, values in walls.items()}
    for name, values in walls.items():
        each = " ".join(f"{total / v / 1e9:.2f}" for v in values)
        yield figure(f"dd: {name}", round(total / middle[name] / 1e9, 3), "GB/s", detail=f"each {each}")
    for name in ("capture, no checksum", "capture"):
        least = 0.9 if name == "capture, no checksum" else None  # dd makes none
        yield figure(f"dd: {name} / dd", round(middle["dd"] / middle[name], 2), "", least=least)
    for name in ("tee, openssl and dd", "digital_rf"):
        if name in middle:
            yield figure(f"dd: capture / {name}", round(middle[name] / middle["capture"], 2), "")


def _into_file(argv: list[str], flood: str, total: int, place: Path) -> float:
    """Return the seconds that a writer took for all of it; the file must be as long, and is removed."""
    ours, theirs = pipe()
    start_s = time.monotonic()
    writer = subprocess.Popen(argv, stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    source = subprocess.Popen([flood, str(total)], stdout=theirs)
    os.close(ours)
    os.close(theirs)
    if writer.wait() or source.wait():
        raise SystemExit(f"figures: {argv[0]} failed: {writer.returncode}, {source.returncode}")
    took_s = time.monotonic() - start_s
    got = sum(p.stat().st_size for p in place.rglob("*") if p.suffix in (".bin", ".h5"))
    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if got < total:
        raise SystemExit(f"figures: {argv[0]} kept {got} of {total} bytes")
    return took_s


def stream(gib: float, rounds: int) -> Iterator[Figure]:
    """Every word summed by numpy in place, nothing saved, the rings in turn."""
    total = int(gib * GIB)
    rates: dict[str, list[float]] = {"64MiB": [], "1GiB": []}
    right = True
    with programs("flood") as c:
        for _ in range(rounds):
            for ring, values in rates.items():
                seconds, words, found = _sum(c["flood"], ring, total)
                right &= words * 8 == total and found == words * WORD_OF_SEVENS % (1 << 64)
                values.append(total / seconds / 1e9)
    middle = {ring: statistics.median(values) for ring, values in rates.items()}
    for ring, values in rates.items():
        each = " ".join(f"{v:.2f}" for v in values)
        yield figure(f"stream: ring {ring}", round(middle[ring], 3), "GB/s", least=2.0, detail=f"each {each}")
    ratios = [large / small for small, large in zip(rates["64MiB"], rates["1GiB"], strict=True)]
    detail = "of each round: " + " ".join(f"{ratio:.2f}" for ratio in ratios)
    yield figure("stream: 1GiB / 64MiB", round(statistics.median(ratios), 2), "", detail=detail)
    # the same rates give a median below 1 every other time
    yield holds("stream: 1GiB is no slower: in a quarter of the rounds at least", quantile(ratios, 0.75) >= 1)
    yield holds("stream: every word summed", right)


def _sum(flood: str, ring: str, total: int) -> tuple[float, int, int]:
    """Return the seconds from the source's start to the last word, the words, and their sum modulo 2**64."""
    words, found = 0, 0
    with later() as source, fc.open(source.fd, ring=ring) as board, board.stream(block_words=MIB // 8) as s:
        start_s = time.monotonic()
        source.start([flood, str(total)])
        for block in s.blocks(timeout_s=60):
            found = (found + int(np.add.reduce(block.words))) % (1 << 64)
            words += len(block)
        seconds = time.monotonic() - start_s
    return seconds, words, found
