"""Finished captures as they stand on disk, made without a capture."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastcap.sidecar import build_sidecar, encode, sidecar_path
from fastcap.stream import build_header

START = datetime(2026, 11, 22, 2, 0, 0, tzinfo=UTC)
ARGV = ("teststream", "-U", "/dev/usbhybrid0", "-s", "4", "-l", "-b")
RATE_HZ = 2_000_000.0


def make_report(**changed: Any) -> dict[str, Any]:
    """Return the report of a capture of 1000 words after a header of 128 bytes, with three odd bytes."""
    report = {
        "path": "/mnt/nas/run/one.bin",
        "bytes": 128 + 8 * 1000 + 3,
        "words": 1000,
        "sample_rate_hz": RATE_HZ,
        "started": "2026-11-22T10:00:00.123456+08:00",
        "duration_s": 0.0005,
        "complete": True,
        "interrupted": False,
        "words_lost": 0,
        "ledger": [],
        "board": {"estimated_words_lost": None, "detectable_words": None},
        "ring": {"capacity_bytes": 1 << 26, "high_water_bytes": 8192},
        "spill": None,
        "pipe_full_s": 0.0,
        "clock": {"rate_hz": None, "drift_ppm": None},
        "sink": {
            "write_s": {"p50": 0.001, "p99": 0.002, "p999": 0.002, "max": 0.003},
            "fsync_s": {"p50": 0.01, "p99": 0.02, "p999": 0.02, "max": 0.03},
            "stalls": [],
        },
        "checksum": {"algorithm": "sha256", "value": "ab" * 32},
        "source": {"command": list(ARGV), "exit_status": 0, "stderr_tail": ""},
        "analysis": None,
        "meta": {"laser_curr": "392.8mA"},
        "fastcap": "0.1.0",
    }
    return report | changed


def ledger_entry(after_word: int | None, words: int | None, certainty: str = "exact") -> dict[str, Any]:
    """Return a loss in the ring."""
    return {"stage": "ring", "after_word": after_word, "words": words, "certainty": certainty, "at_s": 0.1}


def counter_words(first: int, n: int) -> bytes:
    """Return words of the counter pattern: word k is k."""
    return b"".join(k.to_bytes(8, "little") for k in range(first, first + n))


def write_capture(
    path: Path,
    data: bytes,
    *,
    block_bytes: int | None = None,
    header: bytes | None = None,
    sidecar: bool = True,
    **report: Any,
) -> dict[str, Any]:
    """Write header, data and sidecar of a complete capture; return its report."""
    header = build_header(ARGV, START) if header is None else header
    raw = header + data
    path.write_bytes(raw)
    facts = {
        "path": str(path),
        "bytes": len(raw),
        "words": len(data) // 8,
        "checksum": {"algorithm": "sha256", "value": hashlib.sha256(raw).hexdigest()},
    }
    made = make_report(**(facts | report))
    blocks = None
    if block_bytes:
        ends = range(block_bytes, len(raw) + 1, block_bytes)
        values = [hashlib.sha256(raw[:end]).hexdigest()[:16] for end in ends]
        blocks = {"bytes": block_bytes, "algorithm": "sha256-running", "values": values}
    if sidecar:
        content = build_sidecar(
            made, header_bytes=len(header), raw_header_text=header[8:].decode(), blocks=blocks
        )
        Path(sidecar_path(path)).write_bytes(encode(content))
    return made
