"""What ``fastcap bench nas`` finds of stalls whose begin and length are known, for they are made here."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from setting import MIB, Figure, figure

import fastcap as fc

RATE = 16e6  # bytes a second
STALLS = (("write", 1.0, 20), ("fsync", 3.0, 20), ("write", 2.0, 200))  # call, seconds, after so many
EVERY = 2 * MIB  # between fsyncs
LONG_S = 0.5


def nas(seconds: float) -> Iterator[Figure]:
    """Bench a FUSE file system that stalls three times; compare with what was injected and with arithmetic."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    try:
        from tools.faultfs import faultfs
    except ImportError as e:
        raise SystemExit(
            f"figures: no FUSE injector ({e}); pip install 'fastcap[test]', apt install fuse3"
        ) from e

    with tempfile.TemporaryDirectory(prefix="fastcap-bench-") as folder:
        backing, mount = Path(folder) / "backing", Path(folder) / "mount"
        backing.mkdir()
        mount.mkdir()
        with faultfs(backing, mount) as fs:
            for call, length_s, after in STALLS:
                fs.stall(call, seconds=length_s, after=after, count=1)
            found = fc.bench_nas(
                mount, rate=f"{RATE:.0f}B/s", seconds=seconds, fsync_every=EVERY, remember=False
            )
            made = sorted((e.start_ns, e.op, (e.end_ns - e.start_ns) * 1e-9) for e in fs.log("stall"))
    seen = [s for s in found.stalls if s.for_s > LONG_S]
    same = [s.call for s in seen] == [call for _, call, _ in made]
    detail = ", ".join(f"{s.call} {s.for_s:.3f} s" for s in seen)
    yield figure("nas: injected stalls found", len(seen) if same else 0, "", least=len(STALLS), detail=detail)
    if same:
        worst = max(abs(s.for_s / length_s - 1) for s, (_, _, length_s) in zip(seen, made, strict=True))
        yield figure("nas: worst error of a length", round(100 * worst, 2), "%", most=5)
    needed = RATE * max(length_s for _, _, length_s in made) + EVERY
    told = found.ring_needed_bytes or 0
    detail = (
        f"told {told / MIB:.1f} MiB; longest stall at the rate, and what was not durable: {needed / MIB:.1f}"
    )
    yield figure(
        "nas: error of the ring needed", round(100 * abs(told / needed - 1), 2), "%", most=10, detail=detail
    )
