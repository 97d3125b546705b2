"""Nights of made-up fibre data: files with known tones, drifts, rollovers and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from made_files import make_report
from scipy import signal

from fastcap.collection import TraceSet, load_many
from fastcap.sidecar import build_sidecar, encode, sidecar_path
from fastcap.stream import build_header
from fastcap.words import encode as encode_words

RATE = 10_000
ARGV = ("teststream", "-U", "/dev/usbhybrid0", "-s", "999", "-l", "-b")  # 10 MHz / 1000
NIGHT = datetime(2024, 3, 31, 0, 59, 50, tzinfo=UTC)  # clocks in Europe go forward ten seconds later
HALF = 10


def fibre_phase(begin: int, end: int, seed: int = 5) -> np.ndarray:
    """Return turns: a drift over many rollovers of M, a tone of 37 Hz, and noise, of words begin to end."""
    t = np.arange(begin, end) / RATE
    noise = np.random.default_rng([seed, begin]).normal(0, 0.01, end - begin)
    return 35_000 * np.sin(t / 2) + 0.3 * np.sin(2 * np.pi * 37 * t) + noise


def fibre_words(begin: int, end: int) -> Any:
    """Return the words of that phase."""
    return encode_words(fibre_phase(begin, end), 4e6)


def write_file(
    path: Path,
    words: Any,
    start: datetime,
    *,
    first_word: int | None = None,
    ledger: Sequence[dict[str, Any]] = (),
    argv: Sequence[str] = ARGV,
) -> Path:
    """Write a recording that began at ``start``; with ``first_word``, a file of a split one, with its sidecar."""
    header = build_header(argv, start)
    path.write_bytes(header + words.astype("<u8").tobytes())
    if first_word is not None or ledger:
        report = make_report(
            path=str(path),
            bytes=path.stat().st_size,
            words=words.size,
            sample_rate_hz=float(RATE),
            started=start.isoformat(),
            ledger=list(ledger),
            words_lost=sum(entry["words"] for entry in ledger),
        )
        content = build_sidecar(
            report, header_bytes=len(header), raw_header_text=None, first_word=first_word or 0
        )
        Path(sidecar_path(path)).write_bytes(encode(content))
    return path


def split_night(
    folder: Path, edges: Sequence[int], start: datetime = NIGHT, name: str = "part"
) -> list[Path]:
    """Write one recording, cut at ``edges``, as `capture --split` leaves it."""
    return [
        write_file(
            folder / f"{name}{k}.bin",
            fibre_words(0, edges[-1])[begin:end],
            start + timedelta(microseconds=begin * 1_000_000 // RATE),
            first_word=begin,
        )
        for k, (begin, end) in enumerate(pairwise(edges))
    ]


def night_with_a_hole(folder: Path) -> TraceSet:
    """Return one recording of 40 s, split into files of 9 s, of which the third is missing: 18 to 27 s."""
    files = split_night(folder, (0, 90_000, 180_000, 270_000, 360_000, 400_000))
    files.pop(2).unlink()
    return load_many(files)


def seconds(time: datetime) -> float:
    """Return a time in seconds after the night's start."""
    return (time - NIGHT).total_seconds()


def decimated_at_once(phase: np.ndarray, factor: int) -> np.ndarray:
    """Decimate with scipy in one piece: `scipy.signal.decimate`'s filter, the phase point-reflected at its ends."""
    taps = signal.firwin(2 * HALF * factor + 1, 1 / factor, window="hamming")
    turns = np.floor(phase[0])
    extended = np.pad(phase - turns, HALF * factor, mode="reflect", reflect_type="odd")
    count = -(-phase.size // factor)
    return turns + signal.upfirdn(taps, extended, 1, factor)[2 * HALF : 2 * HALF + count]


def spectra_at_once(
    phase: np.ndarray,
    rate_hz: float,
    size: int,
    hop: int,
    band: tuple[float, float],
    detrend: str | None = "linear",
) -> np.ndarray:
    """Zoom into overlapping segments of a decimated phase with scipy: density in rad²/Hz."""
    bins = int((band[1] - band[0]) * size / rate_hz) + 1
    last = band[0] + (bins - 1) * rate_hz / size
    window = signal.get_window("hann", size)
    rows = []
    for at in range(0, phase.size - size + 1, hop):
        segment = 2 * np.pi * phase[at : at + size]
        segment = segment if detrend is None else signal.detrend(segment, type=detrend)
        zoomed = signal.zoom_fft(window * segment, [band[0], last], bins, fs=rate_hz, endpoint=True)
        rows.append(2 * np.abs(zoomed) ** 2 / (rate_hz * np.sum(window**2)))
    return np.array(rows)
