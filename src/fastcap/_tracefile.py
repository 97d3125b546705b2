"""A trace file opened: where its words are, and what header and sidecar say of it."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, BinaryIO

import msgspec

from fastcap._realigned import file_slips, realign, told
from fastcap._stored import FileWords, Stored
from fastcap.errors import StreamFormatError
from fastcap.filehead import FileHead, read_head
from fastcap.payload import AUTO, WORD_BYTES, Layout, check_payload
from fastcap.rollovers import Rollovers, read_table
from fastcap.sidecar import Gap, exact_gaps, load_sidecar, sidecar_path
from fastcap.stream import Header
from fastcap.v2header import V2Header

_Sidecar = dict[str, Any] | None
_APART_S = 10.0  # of a header's start, to the second, and the first bytes' arrival: more is another recording


class Facts(msgspec.Struct, frozen=True):
    """What is known of a file beside its words.

    Attributes
    ----------
    problems : tuple of str
        In what header, sidecar and file contradict each other, and byte slips; each one line.
    start_ns : int, optional
        ``start`` in nanoseconds since 1970: exact where a header alone states it, with up to nine digits.
    layout : Layout, optional
        Where data begin in the file, and how that is known.
    payload : str
        The reading that was asked for.
    usual : bool
        Data begin where they do for whoever asks for no reading.
    wraps : int
        Rollovers of M before the first word.
    rollovers : Rollovers, optional
        Those within that a V2 file's table tells.
    realigned : bool
        Its words were asked for as they were before byte slips.
    """

    path: str | None = None
    header: Header | None = None
    header_problem: str | None = None
    rate: Fraction | None = None
    start: datetime | None = None
    start_ns: int | None = None
    meta: dict[str, Any] = {}
    gaps: tuple[Gap, ...] = ()
    first_word: int = 0
    problems: tuple[str, ...] = ()
    layout: Layout | None = None
    payload: str = AUTO
    usual: bool = True
    wraps: int = 0
    rollovers: Rollovers | None = None
    realigned: bool = False

    @property
    def complete_rollovers(self) -> Rollovers | None:
        """The rollovers, if those of all words are known."""
        return self.rollovers if self.rollovers is not None and self.rollovers.known is None else None


def open_words(path: str, payload: str | None, *, realigned: bool = False) -> tuple[Stored, Facts]:
    """Open the words of ``path``; see `fastcap.trace.load`.

    Raises
    ------
    StreamFormatError
    ValueError
        ``payload`` is unknown.
    """
    payload = check_payload(payload)
    if path.endswith((".sigmf-meta", ".index")):
        raise StreamFormatError(f"{path}: stands beside a trace file: name the .bin file")
    if not path:
        raise StreamFormatError("'' is no file; name a .bin file")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise StreamFormatError(f"{path}: not a regular file; name a .bin file")
        sidecar = load_sidecar(path) if os.path.lexists(sidecar_path(path)) else None
        with open(path, "rb") as file:
            return _opened(path, file, sidecar, payload, realigned=realigned)
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


def _opened(
    path: str, file: BinaryIO, sidecar: _Sidecar, payload: str, *, realigned: bool
) -> tuple[Stored, Facts]:
    try:
        head = read_head(file, payload, sidecar)
    except StreamFormatError as error:
        raise StreamFormatError(f"{path}: {error}") from error
    v2 = head.header if isinstance(head.header, V2Header) else None
    stored = FileWords(path, file.fileno(), head.begin, swapped=head.swapped)
    if stored.file_bytes < max(head.begin, WORD_BYTES):
        least = f"its header of {head.begin} bytes" if head.begin else "a word"
        raise StreamFormatError(
            f"{path}: {stored.file_bytes} bytes are less than {least}; nothing was recorded, or not yet"
        )
    core = sidecar["global"] if sidecar else {}
    report: dict[str, Any] = core.get("fastcap:report", {})
    gaps = exact_gaps(report) if sidecar else []
    start = _start(path, report.get("started"), head.header)
    rollovers, v2_problems = _v2_facts(v2, file, stored, captured=sidecar is not None) if v2 else (None, [])
    facts = Facts(
        path=path,
        header=head.header,
        header_problem=head.problem,
        rate=_rate(report.get("sample_rate_hz"), head.header),
        start=start,
        start_ns=head.header.start_ns if head.header and report.get("started") is None else unix_ns(start),
        meta=(v2.meta if v2 else {}) | (report.get("meta") or {}),
        gaps=tuple(gap for gap in gaps if gap.file_word <= stored.count),
        first_word=core.get("fastcap:first_word", 0),
        problems=(
            *_problems(path, stored, head, core, whole=payload == AUTO),
            *(f"{path}: {problem}" for problem in v2_problems),
        ),
        layout=head.layout,
        payload=payload,
        usual=payload == AUTO or head.begin == _usual_begin(file, sidecar, head.begin),
        wraps=-v2.m_offset if v2 else 0,
        rollovers=rollovers,
    )
    return _with_slips(stored, facts, file.fileno(), report or None, realigned=realigned)


def _with_slips(
    stored: FileWords, facts: Facts, fd: int, report: dict[str, Any] | None, *, realigned: bool
) -> tuple[Stored, Facts]:
    """Look for byte slips, and put the words behind them together if that is asked for."""
    try:
        slips = [] if stored.swapped else file_slips(fd, stored.offset, stored.count, report)
    except OSError as error:
        slip_problems = [f"{stored.path}: cannot be read in some places: {error.strerror}"]
        return stored, msgspec.structs.replace(facts, problems=(*facts.problems, *slip_problems))
    problems = (*facts.problems, *told(stored.path, slips, report, realigned=realigned))
    if not realigned:
        return stored, msgspec.structs.replace(facts, problems=problems)
    words, gaps = realign(stored, fd, slips, report)
    usual, rollovers = (facts.usual, facts.rollovers) if words is stored else (False, None)
    return words, msgspec.structs.replace(
        facts, problems=problems, gaps=tuple(gaps), usual=usual, rollovers=rollovers, realigned=True
    )


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


def _usual_begin(file: BinaryIO, sidecar: _Sidecar, otherwise: int) -> int:
    """Return where data begin for whoever asks for no reading; ``otherwise``, if that is an error."""
    try:
        return read_head(file, AUTO, sidecar).begin
    except StreamFormatError:
        return otherwise


def _rate(reported_hz: float | None, header: Header | None) -> Fraction | None:
    """Return the capture's rate; the header's, which is exact, where the two are the same."""
    if header and (reported_hz is None or not _differ(header, reported_hz)):
        return header.sample_rate_hz
    return Fraction(reported_hz).limit_denominator(1_000_000) if reported_hz else None


def unix_ns(moment: datetime | None) -> int | None:
    """Return an aware moment in nanoseconds since 1970, exactly; None for None."""
    if moment is None:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


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
    path: str, stored: FileWords, head: FileHead, core: dict[str, Any], *, whole: bool
) -> list[str]:
    """Return the contradictions; ``whole``: data begin where the sidecar says."""
    found, report = [], core.get("fastcap:report", {})
    if head.header is None and head.problem and head.begin:
        found.append(f"{path}: header: {head.problem}")
    if head.doubt:
        found.append(f"{path}: {head.doubt}")
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
    if head.header and head.header.states_rate and rate_hz and _differ(head.header, rate_hz):
        stated = float(head.header.sample_rate_hz)
        found.append(
            f"{path}: its sidecar says {rate_hz:.10g} words/s, which is used; its header {stated:.10g}"
        )
    start, stated_start = (
        _start(path, report["started"], head.header),
        head.header and head.header.start,
    )
    if start and stated_start and abs((start - stated_start).total_seconds()) > _APART_S:
        found.append(
            f"{path}: its sidecar says it begins at {start}, which is used; its header at {stated_start}"
        )
    return found
