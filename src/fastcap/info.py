"""What a file holds, from its header and, where there is one, its sidecar."""

from __future__ import annotations

import os
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from fastcap._indexfile import index_state
from fastcap._realigned import file_slips
from fastcap.errors import StreamFormatError
from fastcap.filehead import FileHead, read_head
from fastcap.payload import AUTO, NO_HEADER, Layout, check_payload
from fastcap.rollovers import read_table
from fastcap.sidecar import WORD_BYTES, exact_gaps, load_sidecar, sidecar_path
from fastcap.stream import Header
from fastcap.v2header import V2Header

_SHOWN = 8  # gaps and stalls in a listing
_LONGEST_LINE = 200
_PLACES = 64  # of the data, at which byte slips are looked for


def file_info(path: str | os.PathLike[str], *, payload: str = AUTO) -> dict[str, Any]:
    """Return what is known of a file, of whose data only some places are read; ``payload`` as for `fastcap.load`.

    Keys whose value is not known are None; those from ``complete`` on are known from the sidecar only.
    ``sidecar_problem`` and ``index_problem`` say why one that is there could not be used.

    Raises
    ------
    StreamFormatError
        The file cannot be read, is empty, or has neither a header nor a sidecar that says where data begin.
    ValueError
        ``payload`` is unknown.
    """
    path = Path(path)
    payload = check_payload(payload)
    sidecar, problem = _sidecar(path)
    head, status = _head(path, payload, sidecar)
    size, header, begin = status.st_size, head.header, head.begin
    core = sidecar["global"] if sidecar else {}
    report: dict[str, Any] = core.get("fastcap:report", {})
    rate_hz = _rate(report.get("sample_rate_hz"), header)
    words, odd = divmod(max(0, size - begin), WORD_BYTES)
    gaps = exact_gaps(report) if sidecar else []
    span = words + sum(gap.words_lost for gap in gaps)
    started = report.get("started") or (header.start.isoformat() if header and header.start else None)
    return {
        "path": os.fspath(path),
        "bytes": size,
        "header_bytes": begin,
        "payload": head.layout.report(),
        "preamble": header.preamble.decode(errors="replace") if header else "",
        "words": words,
        "odd_bytes": odd,
        "sample_rate_hz": None if rate_hz is None else float(rate_hz),
        "duration_s": None if rate_hz is None else float(span / rate_hz),
        "started": started,
        "header": list(header.text_lines) if header else None,
        "header_problem": None if head.layout.known_by == "option" and not begin else head.problem,
        "warnings": [*(header.warnings if header else ()), *((head.doubt,) if head.doubt else ())],
        "command": (report.get("source") or {}).get("command")
        or (list(header.argv or ()) if header else None),
        "sidecar": sidecar_path(path) if sidecar else None,
        "sidecar_problem": problem,
        **_v2_facts(header, path, words, captured=sidecar is not None),
        "slips": _slips(path, head, words, report or None),
        **index_state(path, status, begin),
        **_from_report(report, core, gaps),
    }


def _slips(
    path: Path, head: FileHead, words: int, report: dict[str, Any] | None
) -> list[dict[str, Any]] | None:
    """Return the byte slips in a file; None where its data cannot be searched for them."""
    if head.swapped:
        return None
    try:
        with path.open("rb") as file:
            slips = file_slips(file.fileno(), head.begin, words, report, places=_PLACES)
    except OSError:
        return None
    return [{"after_word": s.word, "bytes": s.bytes, "within_words": [s.low, s.high]} for s in slips]


def _v2_facts(header: Header | None, path: Path, words: int, *, captured: bool) -> dict[str, Any]:
    """Return what only a V2 file says, and in what it contradicts itself; ``v2`` is None for others."""
    if not isinstance(header, V2Header):
        return {"v2": None, "problems": []}
    problems, wrong_size = list(header.problems), None if captured else header.size_problem(words)
    with path.open("rb") as file:
        whole = not captured and words == header.num_words
        _, wrong = read_table(header, file.fileno(), count=words, whole=whole)
    said = {
        "byte_order": header.byte_order,
        "num_samples": header.num_words,
        "num_files": header.num_files,
        "gain": header.gain,
        "filter_const": header.filter_const,
        "stream_fold": list(header.stream_fold),
        "m_offset": header.m_offset,
        "m_overflow_total": header.table_entries,
    }
    return {"v2": said, "problems": [*problems, *([wrong_size] if wrong_size else []), *wrong]}


def _head(path: Path, payload: str, sidecar: dict[str, Any] | None) -> tuple[FileHead, os.stat_result]:
    """Return what the file begins with, and its size and times; what cannot be read is a problem beside a sidecar."""
    if path.exists() and not path.is_file():
        raise StreamFormatError(f"{path}: not a regular file; name a .bin file")
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            head = read_head(file, payload, sidecar)
    except OSError as error:
        raise StreamFormatError(f"{path}: cannot be read: {error.strerror}") from error
    except StreamFormatError as error:
        if sidecar is None:
            raise StreamFormatError(f"{path}: {error}") from error
        begin = sidecar["captures"][0].get("core:header_bytes", 0) if payload == AUTO else 0
        return FileHead(Layout(NO_HEADER, "sidecar", 0, begin), problem=str(error)), status
    if head.layout.known_by == "torn" and sidecar is None:
        raise StreamFormatError(f"{path}: {head.problem}")
    return head, status


def _rate(reported_hz: float | None, header: Header | None) -> Fraction | None:
    """Return the capture's rate; the header's, which is exact, where the two are the same."""
    if header and (reported_hz is None or abs(header.sample_rate_hz - reported_hz) < 1e-6 * reported_hz):
        return header.sample_rate_hz
    return Fraction(reported_hz) if reported_hz else None


def _sidecar(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    if not os.path.lexists(sidecar_path(path)):
        return None, None
    try:
        return load_sidecar(path), None
    except StreamFormatError as error:
        return None, str(error)


def _from_report(report: dict[str, Any], core: dict[str, Any], gaps: list[Any]) -> dict[str, Any]:
    return {
        "complete": report.get("complete"),
        "interrupted": report.get("interrupted"),
        "words_lost": report.get("words_lost"),
        "gaps": [{"file_word": g.file_word, "words_lost": g.words_lost, "stage": g.stage} for g in gaps],
        "ledger": report.get("ledger"),
        "board": report.get("board"),
        "first_word": core.get("fastcap:first_word"),
        "checksum": report.get("checksum"),
        "stalls": (report.get("sink") or {}).get("stalls"),
        "settings": core.get("fastcap:settings"),
        "meta": report.get("meta"),
    }


def format_info(info: dict[str, Any]) -> str:
    """Return `file_info`'s dict as lines for people."""
    rows = [
        ("file", info["path"]),
        ("size", _size(info)),
        ("words", f"{info['words']:,}"),
        ("rate", "unknown" if info["sample_rate_hz"] is None else f"{info['sample_rate_hz']:,.10g} words/s"),
        ("start", info["started"] or "unknown"),
        ("duration", "unknown" if info["duration_s"] is None else _duration(info["duration_s"])),
    ]
    if info["first_word"]:
        rows.append(("first word", f"{info['first_word']:,} of the recording"))
    why_none = info["header_problem"] or "not asked for"
    rows += [("header", _cut(line)) for line in info["header"] or [f"none: {why_none}"]]
    rows += [("warning", warning) for warning in info["warnings"]]
    rows += _some("slip", [_slip(slip) for slip in info["slips"] or []])
    rows += [("problem", problem) for problem in info["problems"]]
    rows += _sidecar_rows(info) if info["sidecar"] else [("sidecar", info["sidecar_problem"] or "none")]
    if info["preamble"]:
        rows += [("preamble", line) for line in info["preamble"].splitlines()]
    rows.append(("index", _index(info)))
    return "\n".join(f"{label:<11}{value}" for label, value in rows)


def _cut(line: str) -> str:
    """Return a header's line without the hundreds of numbers that a filter may have."""
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."


def _size(info: dict[str, Any]) -> str:
    odd = f", {info['odd_bytes']} odd bytes at the end" if info["odd_bytes"] else ""
    how = f"{info['payload']['layout']}, known by {info['payload']['known_by']}"
    return f"{info['bytes']:,} bytes, {info['header_bytes']:,} of them header ({how}){odd}"


def _index(info: dict[str, Any]) -> str:
    if info["index"] is None:
        return info["index_problem"] or "none"
    part = "" if info["index_words"] == info["words"] else f", of the first {info['index_words']:,} words"
    return f"{info['index']}{part}"


def _duration(seconds: float) -> str:
    return f"{seconds:.6g} s" if seconds < 120 else f"{timedelta(seconds=round(seconds))} ({seconds:,.1f} s)"


def _sidecar_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    state = "complete" if info["complete"] else "NOT complete"
    checksum = info["checksum"] or {"algorithm": "none", "value": None}
    rows = [
        ("state", f"{state}, interrupted" if info["interrupted"] else state),
        ("lost", f"{info['words_lost']:,} words, exactly" + _board(info["board"])),
    ]
    rows += _some("gap", [f"{g['words_lost']:,} words before word {g['file_word']:,}" for g in info["gaps"]])
    rows += _some("stall", [f"at {s['at_s']:.3f} s for {s['for_s']:.3f} s" for s in info["stalls"] or []])
    rows.append(("checksum", f"{checksum['algorithm']} {checksum['value'] or ''}".rstrip()))
    rows += [("command", " ".join(info["command"]))] if info["command"] else []
    rows += [("meta", f"{key} = {value}") for key, value in (info["meta"] or {}).items()]
    return rows


def _board(board: dict[str, Any] | None) -> str:
    estimated = (board or {}).get("estimated_words_lost")
    if estimated is None:
        return "; by the board: not known"
    detectable = (board or {}).get("detectable_words")
    return f"; by the board: about {estimated:,}" + (f" (seen from {detectable:,} on)" if detectable else "")


def _slip(slip: dict[str, Any]) -> str:
    low, high = slip["within_words"]
    size = f"{slip['bytes']} byte{'s' if slip['bytes'] > 1 else ''}"
    return (
        f"{size} lost about word {slip['after_word']:,} ({low:,} to {high:,}): the words behind are garbage"
    )


def _some(label: str, values: list[str]) -> list[tuple[str, str]]:
    more = [(label, f"and {len(values) - _SHOWN} more")] if len(values) > _SHOWN else []
    return [(label, value) for value in values[:_SHOWN]] + more
