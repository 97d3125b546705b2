"""What a capture costs: CPU time and private memory of each worker, beside ``tee``."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from setting import MIB, Figure, figure, folder, pipe, workers

import fastcap as fc

ROLES = ("reader", "splitter", "nas_writer", "supervisor")
ENGINE = ROLES[:3]
EVERYTHING = (*ENGINE, "analysis")
RATE_BYTES_PER_S = 16e6
RING = "64MiB"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SETTLE_S = 5.0  # past the start-up of spares and the first lap of the ring, whose new pages cost once
_RING_FILE = re.compile(r"/fastcap-[^/]*/.*/")


def cpu(seconds: float, to: str | None) -> Iterator[Figure]:
    """Record at 2 MHz with sha256, without, and with statistics; ``tee`` writes the same stream to a file."""
    sums = {}
    for checksum in ("sha256", "none"):
        share, private = _recording(seconds, to, ROLES, "&pattern=counter", checksum=checksum)
        sums[checksum] = sum(share[role] for role in ENGINE)
        each = ", ".join(f"{role} {share[role]:.2f}" for role in ROLES)
        most = 5.0 if checksum == "sha256" else None
        label = f"cpu: reader + splitter + writer, checksum {checksum}"
        yield figure(label, round(sums[checksum], 2), "% of a core", most=most, detail=each)
        if checksum == "sha256":
            for role in ENGINE:
                yield figure(
                    f"memory: {role}, private", round(private[role] / MIB, 1), "MiB", most=40e6 / MIB
                )
    alone = RATE_BYTES_PER_S / _sha256_bytes_per_s() * 100
    of_it = f"hashlib alone, in one call on 64 MiB: {alone:.2f}"
    yield figure("cpu: sha256's share", round(sums["sha256"] - sums["none"], 2), "% of a core", detail=of_it)
    share, _ = _recording(seconds, to, EVERYTHING, "", statistics=True)
    each = ", ".join(f"{role} {share[role]:.2f}" for role in EVERYTHING)
    label = "cpu: everything together, sha256 and live statistics"
    yield figure(label, round(sum(share.values()), 2), "% of a core", most=8.0, detail=each)
    yield figure("cpu: tee FILE", round(_tee(seconds, to), 2), "% of a core")


def cpu_s(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text()
        ticks += sum(int(x) for x in stat[stat.rindex(")") + 2 :].split()[11:13])
    return ticks / TICKS_PER_S


def _pids(role: str) -> list[int]:
    """Return who does this job; the supervisor is this process's own child, its workers are its children."""
    if role != "supervisor":
        return workers(role)
    first = workers("reader")[0]
    return [int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])]


def _recording(
    seconds: float, to: str | None, roles: Sequence[str], pattern: str, **how: Any
) -> tuple[dict[str, float], dict[str, int]]:
    """Return each role's share of a core in percent, spares included, and its largest private memory."""
    with folder(to) as place, fc.open(f"sim://?rate=2MHz{pattern}", ring=RING) as board:
        length_s = seconds + 2 * SETTLE_S + 1
        recorder = threading.Thread(target=board.record, args=(length_s, place), kwargs=how)
        recorder.start()
        while not workers("nas_writer"):
            time.sleep(0.05)
        while board.session is None or not any(r.running for r in list(board.session.recordings.values())):
            time.sleep(0.05)
        time.sleep(SETTLE_S)
        pids = {role: _pids(role) for role in roles}
        before, start_s = {role: cpu_s(p) for role, p in pids.items()}, time.monotonic()
        time.sleep(seconds)
        after, took_s = {role: cpu_s(p) for role, p in pids.items()}, time.monotonic() - start_s
        private = {role: max(_private_bytes(pid) for pid in p) for role, p in pids.items()}
        recorder.join()
    return {role: (after[role] - before[role]) / took_s * 100 for role in roles}, private


def _private_bytes(pid: int) -> int:
    """Return the private resident memory without the ring's pages, which all workers share."""
    kib, in_ring = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            in_ring = _RING_FILE.search(line) is not None
        elif not in_ring and line.startswith(("Private_Clean:", "Private_Dirty:")):
            kib += int(line.split()[1])
    return kib * 1024


def _sha256_bytes_per_s() -> float:
    data = bytes(64 * MIB)
    start_s = time.process_time()
    hashlib.sha256(data).digest()
    return len(data) / (time.process_time() - start_s)


def _tee(seconds: float, to: str | None) -> float:
    """Return tee's share of a core in percent, writing the stream to a file on the same disk."""
    ours, theirs = pipe()
    argv = [sys.executable, "-P", "-m", "fastcap.sim.board", "-s", "4", "-l", "-b", "--pattern", "counter"]
    with folder(to) as place:
        board = subprocess.Popen(argv, stdout=theirs, stderr=subprocess.DEVNULL)
        copy = subprocess.Popen(["tee", f"{place}/tee.bin"], stdin=ours, stdout=subprocess.DEVNULL)
        os.close(ours)
        os.close(theirs)
        time.sleep(SETTLE_S)
        before, start_s = cpu_s([copy.pid]), time.monotonic()
        time.sleep(seconds)
        share = (cpu_s([copy.pid]) - before) / (time.monotonic() - start_s) * 100
        board.terminate()
        board.wait()
        copy.wait()
    return share
