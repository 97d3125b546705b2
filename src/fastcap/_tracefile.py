"""A trace file opened: where its words are, and what header and sidecar say of it."""

from __future__ import annotations

import errno
import os
import stat
from datetime import datetime
from fractions import Fraction
from typing import Any, BinaryIO

import msgspec

from fastcap._stored import FileWords
from fastcap.errors import StreamFormatError
from fastcap.rollovers import Rollovers, read_table
from fastcap.sidecar import Gap, exact_gaps, load_sidecar, sidecar_path
from fastcap.stream import (
    NO_HEADER,
    ONLY_BINARY,
    PAYLOADS,
    WITHOUT_HEADER,
    WORD_BYTES,
    Header,
    check_payload,
    header_bytes,
    parse_header,
)
from fastcap.v2header import V2Header, is_v2, parse_v2_header, read_v2_header, v2_byte_order, v2_extent

_Sidecar = dict[str, Any] | None
_APART_S = 10.0  # of a header's start, to the second, and the first bytes' arrival: more is another recording


class Facts(msgspec.Struct, frozen=True):
    """What is known of a file beside its words.

    Attributes
    ----------
    problems : tuple of str
        In what header, sidecar and file contradict each other; each one line.
    payload : str, optional
        The reading that was asked for.
    usual : bool
        Data begin where they do for whoever asks for no reading.
    wraps : int
        Rollovers of M before the first word.
    rollovers : Rollovers, optional
        Those within that a V2 file's table tells.
    """

    path: str | None = None
    header: Header | None = None
    header_problem: str | None = None
    rate: Fraction | None = None
    start: datetime | None = None
    meta: dict[str, Any] = {}
    gaps: tuple[Gap, ...] = ()
    first_word: int = 0
    problems: tuple[str, ...] = ()
    payload: str | None = None
    usual: bool = True
    wraps: int = 0
    rollovers: Rollovers | None = None


class _Layout(msgspec.Struct, frozen=True):
    """Where data begin, and the header before them or why there is none."""

    begin: int
    header: Header | None = None
    problem: str | None = None
    swapped: bool = False


def open_words(path: str, payload: str | None) -> tuple[FileWords, Facts]:
    """Open the words of ``path``; see `fastcap.trace.load`.

    Raises
    ------
    StreamFormatError
    ValueError
        ``payload`` is unknown.
    """
    check_payload(payload)
    if path.endswith((".sigmf-meta", ".index")):
        raise StreamFormatError(f"{path}: stands beside a trace file: name the .bin file")
    if not path:
        raise StreamFormatError("'' is no file; name a .bin file")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StreamFormatError(f"{path}: not a regular file; name a .bin file")
        sidecar = load_sidecar(path) if os.path.lexists(sidecar_path(path)) else None
        with open(path, "rb") as file:
            return _opened(path, file, sidecar, payload)
    except FileNotFoundError as error:
        raise StreamFormatError(f"{path}: cannot be opened: {error.strerror}; {_instead(path)}") from error
    except OSError as error:
        many = error.errno == errno.EMFILE
        remedy = "let go of other traces, or raise the limit (ulimit -n)" if many else "name a .bin file"
        raise StreamFormatError(f"{path}: cannot be opened: {error.strerror}; {remedy}") from error


def _instead(path: str) -> str:
    """Return what to name instead of a file that is not there."""
    if os.path.exists(f"{path}.part"):
        return f"its capture still runs: name {path}.part"
    whole = path.removesuffix(".part")
    return f"its capture has ended: name {whole}" if os.path.exists(whole) else "name a .bin file"


def _opened(path: str, file: BinaryIO, sidecar: _Sidecar, payload: str | None) -> tuple[FileWords, Facts]:
    layout = _layout(path, file, sidecar, payload)
    header = layout.header
    v2 = header if isinstance(header, V2Header) else None
    stored = FileWords(path, file.fileno(), layout.begin, swapped=layout.swapped)
    if stored.file_bytes < max(layout.begin, WORD_BYTES):
        least = f"its header of {layout.begin} bytes" if layout.begin else "a word"
        raise StreamFormatError(
            f"{path}: {stored.file_bytes} bytes are less than {least}; nothing was recorded, or not yet"
        )
    core = sidecar["global"] if sidecar else {}
    report: dict[str, Any] = core.get("fastcap:report", {})
    gaps = exact_gaps(report) if sidecar else []
    rollovers, v2_problems = _v2_facts(v2, file, stored, captured=sidecar is not None) if v2 else (None, [])
    facts = Facts(
        path=path,
        header=header,
        header_problem=layout.problem,
        rate=_rate(report.get("sample_rate_hz"), header),
        start=_start(path, report.get("started"), header),
        meta=(v2.meta if v2 else {}) | (report.get("meta") or {}),
        gaps=tuple(gap for gap in gaps if gap.file_word <= stored.count),
        first_word=core.get("fastcap:first_word", 0),
        problems=(
            *_problems(path, stored, layout, core, whole=payload is None),
            *(f"{path}: {problem}" for problem in v2_problems),
        ),
        payload=payload,
        usual=payload is None or layout.begin == _usual_begin(path, file, sidecar, layout.begin),
        wraps=-v2.m_offset if v2 else 0,
        rollovers=rollovers,
    )
    return stored, facts


def _v2_facts(
    header: V2Header, file: BinaryIO, stored: FileWords, *, captured: bool
) -> tuple[Rollovers | None, list[str]]:
    """Return what a V2 file's table tells, and in what file and header contradict each other.

    The table of a file that came through a pipe was sent before the words were known: it says nothing of them.
    """
    problems, wrong_size = list(header.problems), header.size_problem(stored.count)
    if wrong_size is not None and not captured:
        problems.append(wrong_size)
    whole = not captured and header.num_words == stored.count
    rollovers, wrong = read_table(header, file.fileno(), count=stored.count, whole=whole)
    return rollovers, problems + wrong


def _layout(path: str, file: BinaryIO, sidecar: _Sidecar, payload: str | None) -> _Layout:
    """Read the header as ``payload`` says, else where the sidecar says that data begin, else as "8n+8"."""
    stated = sidecar["captures"][0].get("core:header_bytes", 0) if sidecar and payload is None else None
    if stated == 0 or payload == NO_HEADER:
        return _Layout(0, problem="recorded without a header" if stated == 0 else "none was asked for")
    file.seek(0)
    raw = file.read(WORD_BYTES)
    if is_v2(raw, payload):
        return _v2_layout(path, file, stated)
    try:
        wanted = header_bytes(raw, payload or PAYLOADS[0])
    except StreamFormatError as error:
        raise StreamFormatError(f"{path}: {error}{_remedy(error, stated)}") from error
    if wanted is None:
        if raw:
            return _Layout(0, problem=f"{len(raw)} bytes are not even a word")
        raise StreamFormatError(f"{path}: 0 bytes: nothing was recorded, or not yet")
    if stated not in (None, *(header_bytes(raw, reading) for reading in PAYLOADS)):
        raise StreamFormatError(
            f"{path}: its sidecar says that data begin at byte {stated}, its header that they do at {wanted}: "
            f"one of them is another file's; say payload={PAYLOADS[0]!r} (--payload {PAYLOADS[0]}) to believe "
            "the header"
        )
    return _parsed(path, raw + file.read(wanted - WORD_BYTES), payload or PAYLOADS[0], stated or wanted)


def _v2_layout(path: str, file: BinaryIO, stated: int | None) -> _Layout:
    """Read a V2 file's header; one that says where data begin, but not their rate, is a problem of the file."""
    size = os.fstat(file.fileno()).st_size
    try:
        raw = read_v2_header(file, size)
        begin = v2_extent(raw)[0]
    except StreamFormatError as error:
        raise StreamFormatError(f"{path}: {error}") from error
    if stated not in (None, begin):
        raise StreamFormatError(
            f"{path}: its sidecar says that data begin at byte {stated}, its header that they do at {begin}: "
            "one of them is another file's; move the sidecar away to believe the header"
        )
    swapped = v2_byte_order(raw) == "big"
    try:
        return _Layout(begin, header=parse_v2_header(raw), swapped=swapped)
    except StreamFormatError as error:
        return _Layout(begin, problem=str(error), swapped=swapped)


def _usual_begin(path: str, file: BinaryIO, sidecar: _Sidecar, otherwise: int) -> int:
    """Return where data begin for whoever asks for no reading; ``otherwise``, if that is an error."""
    try:
        return _layout(path, file, sidecar, None).begin
    except StreamFormatError:
        return otherwise


def _parsed(path: str, raw: bytes, payload: str, begin: int) -> _Layout:
    try:
        return _Layout(begin, header=parse_header(raw, payload))
    except StreamFormatError as error:
        if ONLY_BINARY in str(error):  # what follows are no words
            raise StreamFormatError(f"{path}: {error}") from error
        return _Layout(begin, problem=str(error))


def _remedy(error: StreamFormatError, stated: int | None) -> str:
    if ONLY_BINARY in str(error):
        return ""
    if stated is not None:
        return f"; but its sidecar says that data follow a header of {stated} bytes: is it another file's?"
    return f"; {WITHOUT_HEADER}"


def _rate(reported_hz: float | None, header: Header | None) -> Fraction | None:
    """Return the capture's rate; the header's, which is exact, where the two are the same."""
    if header and (reported_hz is None or not _differ(header, reported_hz)):
        return header.sample_rate_hz
    return Fraction(reported_hz).limit_denominator(1_000_000) if reported_hz else None


def _differ(header: Header, reported_hz: float) -> bool:
    return abs(header.sample_rate_hz - Fraction(reported_hz)) >= Fraction(reported_hz) / 1_000_000


def _start(path: str, reported: str | None, header: Header | None) -> datetime | None:
    """Return the capture's start, or the header's, which is to the second, where it is not known."""
    if reported is None:
        return header.start if header else None
    try:
        start = datetime.fromisoformat(reported)
    except ValueError as error:
        raise StreamFormatError(f"{sidecar_path(path)}: started {reported!r} is no time") from error
    if start.tzinfo is None:
        raise StreamFormatError(f"{sidecar_path(path)}: started {reported!r} has no time zone")
    return start


def _problems(
    path: str, stored: FileWords, layout: _Layout, core: dict[str, Any], *, whole: bool
) -> list[str]:
    """Return the contradictions; ``whole``: data begin where the sidecar says."""
    found, report = [], core.get("fastcap:report", {})
    if layout.header is None and layout.problem and layout.begin:
        found.append(f"{path}: header: {layout.problem}")
    if not report:
        return found
    size, captured, words = stored.file_bytes, report["bytes"], stored.count
    if size < captured:
        found.append(f"{path}: truncated: {size} bytes of the {captured} that were captured")
    elif size > captured:
        found.append(
            f"{path}: {size} bytes, but only {captured} were captured: the rest is of unknown origin"
        )
    elif whole and words != report["words"]:
        found.append(f"{path}: holds {words} words, its sidecar says {report['words']}")
    rate_hz, plain = report["sample_rate_hz"], core.get("core:sample_rate")
    if plain is not None and plain != rate_hz:
        found.append(
            f"{path}: its sidecar says {rate_hz} words/s, which is used, and core:sample_rate {plain}"
        )
    if layout.header and rate_hz and _differ(layout.header, rate_hz):
        stated = float(layout.header.sample_rate_hz)
        found.append(
            f"{path}: its sidecar says {rate_hz:.10g} words/s, which is used; its header {stated:.10g}"
        )
    start, stated_start = (
        _start(path, report["started"], layout.header),
        layout.header and layout.header.start,
    )
    if start and stated_start and abs((start - stated_start).total_seconds()) > _APART_S:
        found.append(
            f"{path}: its sidecar says it begins at {start}, which is used; its header at {stated_start}"
        )
    return found
