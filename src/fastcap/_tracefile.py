"""A trace file opened: its words mapped, and what header and sidecar say of it."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from fractions import Fraction
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap, exact_gaps, load_sidecar, sidecar_path
from fastcap.stream import WORD_BYTES, Header, header_bytes, parse_header

Words = NDArray[np.uint64]


class Facts(msgspec.Struct, frozen=True):
    """What is known of a file beside its words."""

    path: str | None = None
    header: Header | None = None
    header_problem: str | None = None
    rate: Fraction | None = None
    start: datetime | None = None
    meta: dict[str, Any] = {}
    gaps: tuple[Gap, ...] = ()
    first_word: int = 0


def open_words(path: str, payload: str | None) -> tuple[Words, Facts]:
    """Map the words of ``path``; see `fastcap.trace.load`.

    Raises
    ------
    StreamFormatError
    """
    sidecar = load_sidecar(path) if os.path.lexists(sidecar_path(path)) else None
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StreamFormatError(f"{path}: not a regular file; name a .bin file")
        with open(path, "rb") as file:
            return _map(path, file, sidecar, payload)
    except OSError as error:
        raise StreamFormatError(f"{path}: cannot be opened: {error.strerror}; name a .bin file") from error


def _map(
    path: str, file: BinaryIO, sidecar: dict[str, Any] | None, payload: str | None
) -> tuple[Words, Facts]:
    size = os.fstat(file.fileno()).st_size
    stated = sidecar["captures"][0].get("core:header_bytes", 0) if sidecar and payload is None else None
    header, problem, begin = _read_header(file, stated, payload or "8n+8")
    if size < WORD_BYTES or size < begin:
        raise StreamFormatError(
            f"{path}: {size} bytes, not even a whole header ({problem}); nothing was recorded"
        )
    count = (size - begin) // WORD_BYTES
    words: Words = np.empty(0, np.uint64)
    if count:
        mapped = np.memmap(file, dtype="<u8", mode="r", offset=begin, shape=(count,))
        words = mapped.view(np.ndarray)
    core = sidecar["global"] if sidecar else {}
    report: dict[str, Any] = core.get("fastcap:report", {})
    facts = Facts(
        path=path,
        header=header,
        header_problem=problem,
        rate=_rate(report.get("sample_rate_hz"), header),
        start=_start(path, report.get("started"), header),
        meta=report.get("meta") or {},
        gaps=tuple(exact_gaps(report)) if sidecar else (),
        first_word=core.get("fastcap:first_word", 0),
    )
    return words, facts


def _read_header(file: BinaryIO, stated: int | None, payload: str) -> tuple[Header | None, str | None, int]:
    """Return the header, or why there is none, and where data begin: there, if that is ``stated``."""
    if stated == 0:
        return None, "recorded without a header", 0
    raw = file.read(WORD_BYTES)
    try:
        wanted = header_bytes(raw, payload) or 0
    except StreamFormatError as error:
        return None, str(error), stated or 0
    raw += file.read(wanted - len(raw)) if wanted else b""
    begin = wanted if stated is None else stated
    try:
        return parse_header(raw, payload), None, begin
    except StreamFormatError as error:
        return None, str(error), begin


def _rate(reported_hz: float | None, header: Header | None) -> Fraction | None:
    """Return the capture's rate; the header's, which is exact, where the two are the same."""
    if header and (reported_hz is None or abs(header.sample_rate_hz - reported_hz) < 1e-6 * reported_hz):
        return header.sample_rate_hz
    return Fraction(reported_hz).limit_denominator(1_000_000) if reported_hz else None


def _start(path: str, reported: str | None, header: Header | None) -> datetime | None:
    """Return the capture's start, or the header's, which is to the second, where it is not known."""
    if reported is None:
        return header.start if header else None
    try:
        return datetime.fromisoformat(reported)
    except ValueError as error:
        raise StreamFormatError(f"{sidecar_path(path)}: started {reported!r} is no time") from error
