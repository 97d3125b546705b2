"""Compare a finished file with what its sidecar says of it: size, ledger, checksum, block by block."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fastcap._content import Content
from fastcap._realigned import file_slips, told
from fastcap.errors import StreamFormatError
from fastcap.filehead import read_head
from fastcap.info import file_info, format_info
from fastcap.pagecache import evict as evict_pages
from fastcap.payload import AUTO, check_payload
from fastcap.sidecar import WORD_BYTES, exact_gaps, load_sidecar, sidecar_path
from fastcap.v2header import V2Header, is_v2
from fastcap.verdict import incomplete

_PLACES = 64  # of the data, at which byte slips are looked for

__all__ = ["Verdict", "file_info", "format_info", "format_verdict", "verify_file"]


class Verdict(msgspec.Struct, frozen=True):
    """What comparing a file with its sidecar showed.

    Attributes
    ----------
    path : str
        The file.
    problems : tuple of str
        What is wrong, each one line; empty if nothing is.
    compared : tuple of str
        What was compared: of ``size``, ``ledger``, the checksum's algorithm, ``blocks``; of a V2 file without a
        sidecar ``size`` and ``rollovers``, its table with its words.
    remarks : tuple of str
        What is not wrong, but should be known: losses that the ledger states, no checksum to compare with.
    evicted : bool
        The file was out of this machine's memory before it was read.
    note : str
        If it was not: why.
    """

    path: str
    problems: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    evicted: bool = False
    note: str = ""

    @property
    def ok(self) -> bool:
        """The file is what its sidecar says."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict for JSON, ``ok`` included."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        lists = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
        return {"path": self.path, "ok": self.ok, **fields, **lists}


def format_verdict(verdict: Verdict) -> str:
    """Return the verdict as lines for people."""
    head = f"ok ({', '.join(verdict.compared)})" if verdict.ok else "NOT as it was captured"
    lines = [f"{verdict.path}: {head}", *(f"  {problem}" for problem in verdict.problems)]
    lines += [f"  note: {remark}" for remark in verdict.remarks]
    if verdict.note:
        lines.append(f"  note: {verdict.note}; what was read may not be what is on the disk")
    return "\n".join(lines)


def verify_file(
    path: str | os.PathLike[str], *, evict: bool = True, progress: Callable[[int], None] | None = None,
    payload: str = AUTO,
) -> Verdict:  # fmt: skip
    """Compare a file with its sidecar. Reads all of it, in a few MiB of memory; changes nothing.

    Parameters
    ----------
    path : path
        The ``.bin`` file.
    evict : bool
        Drop the file's pages from memory first, so that the disk is read.
    progress : callable, optional
        Called with the bytes of each piece that was read.
    payload : {"auto", "8n", "8n+8", "none"}
        As `fastcap.load` takes it: from where words are counted in what is said of wrong blocks.

    Returns
    -------
    Verdict
        Whatever is wrong with the files is a problem in it; this raises nothing for them.

    Raises
    ------
    ValueError
        ``payload`` is unknown.
    """
    path, payload = Path(path), check_payload(payload)
    name = os.fspath(path)
    if path.name.endswith(".part"):
        return Verdict(name, (_part_statement(path),))
    if path.name.endswith(".sigmf-meta"):
        return Verdict(name, ("this is a sidecar: name the .bin file beside it",))
    if path.exists() and not path.is_file():
        return Verdict(name, ("not a regular file: name the .bin file",))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        part = path.with_name(path.name + ".part")
        return Verdict(name, (f"no such file; {_part_statement(part)}" if part.exists() else "no such file",))
    except OSError as error:
        return Verdict(name, (f"cannot be opened: {error.strerror}",))
    progress = progress or (lambda nbytes: None)
    try:
        if not os.path.lexists(sidecar_path(path)) and is_v2(os.pread(fd, WORD_BYTES, 0), payload):
            return _compare_with_header(name, fd, evict, progress)
        sidecar = load_sidecar(path)
        return _compare(name, fd, sidecar, evict, progress, payload)
    except StreamFormatError as error:
        return Verdict(name, (f"there is nothing to compare with: {error}",))
    except OSError as error:
        return Verdict(name, (f"cannot be read: {error.strerror}",))
    finally:
        os.close(fd)


def _part_statement(path: Path) -> str:
    try:
        size = f"{path.stat().st_size} bytes"
    except FileNotFoundError:
        whole = path.with_suffix("")
        return f"no such file; its capture has ended: name {whole}" if whole.exists() else "no such file"
    return f"{path.name} ({size}) is a capture that was not completed, or that still runs: no checksum yet"


def _compare(
    name: str, fd: int, sidecar: dict[str, Any], evict: bool, progress: Callable[[int], None], payload: str
) -> Verdict:
    report = sidecar["global"]["fastcap:report"]
    eviction = evict_pages(fd) if evict else None
    size = os.fstat(fd).st_size
    problems = _ledger_problems(sidecar)
    remarks = _remarks(report)
    begin, doubt = _begin(fd, sidecar, payload)
    remarks += [doubt] if doubt else []
    remarks += _slips(name, fd, begin, size, report)
    compared = ["size", "ledger"]
    checksum = report["checksum"] or {"algorithm": "none", "value": None}
    content = None
    if checksum["value"] is None:
        remarks.append("no checksum was made when it was captured: the content was not compared")
    elif checksum["algorithm"] != "sha256":
        problems.append(f"checksum {checksum['algorithm']!r} is unknown to this version; known: sha256")
    else:
        content = Content(fd, sidecar, progress, begin)
        content.compare()
        compared += ["sha256", "blocks"] if content.blocks else ["sha256"]
        problems += content.problems
    if size != report["bytes"]:
        problems.insert(0, _size_statement(size, report["bytes"], content.is_whole if content else None))
    evicted, note = (eviction.evicted, eviction.note) if eviction else (False, "pages were not evicted")
    return Verdict(name, tuple(problems), tuple(compared), tuple(remarks), evicted, note)


def _begin(fd: int, sidecar: dict[str, Any], payload: str) -> tuple[int, str | None]:
    """Return where words begin, and why that is in doubt: what the sidecar says where the file cannot."""
    try:
        with open(fd, "rb", closefd=False) as file:
            head = read_head(file, payload, sidecar)
    except (StreamFormatError, OSError):  # its checksum says so
        return sidecar["captures"][0].get("core:header_bytes", 0), None
    return head.begin, head.doubt


def _compare_with_header(name: str, fd: int, evict: bool, progress: Callable[[int], None]) -> Verdict:
    """Compare a V2 file that nothing stands beside with its own header and table of rollovers."""
    from fastcap._tracefile import open_words
    from fastcap.rollovers import find_rollovers

    eviction = evict_pages(fd) if evict else None
    try:
        stored, facts = open_words(name, None)
        problems = [problem.removeprefix(f"{name}: ") for problem in facts.problems]
        remarks = ["no sidecar, so no checksum to compare with: only its header says what it should hold"]
        compared = ["size"]
        if facts.rollovers is not None:
            problems += facts.rollovers.differences(find_rollovers(stored, progress=progress))
            compared.append("rollovers")
        elif isinstance(facts.header, V2Header) and not problems:
            remarks.append("its rollover table holds no entry: rollovers are found in the words")
    except StreamFormatError as error:
        problems, compared, remarks = [str(error).removeprefix(f"{name}: ")], [], []
    evicted, note = (eviction.evicted, eviction.note) if eviction else (False, "pages were not evicted")
    return Verdict(name, tuple(problems), tuple(compared), tuple(remarks), evicted, note)


def _size_statement(size: int, expected: int, prefix_is_whole: bool | None) -> str:
    if size < expected:
        return f"truncated: {size} bytes, {expected - size} fewer than the {expected} that were captured"
    rest = {
        True: "the bytes before them are as captured",
        False: "those before them are damaged, too",
        None: "",
    }
    grown = f"grown: {size} bytes, {size - expected} more than the {expected} that were captured"
    return f"{grown}; {rest[prefix_is_whole]}".removesuffix("; ")


def _slips(name: str, fd: int, begin: int, size: int, report: dict[str, Any]) -> list[str]:
    """Return what is to be said of byte slips: the file is as it was captured, its words are not."""
    words = max(0, size - begin) // WORD_BYTES
    found = told(name, file_slips(fd, begin, words, report, places=_PLACES), report, realigned=False)
    return [line.removeprefix(f"{name}: ") for line in found]


def _remarks(report: dict[str, Any]) -> list[str]:
    remarks = []
    gaps = exact_gaps(report)
    if report["words_lost"]:
        places = "1 gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
        remarks.append(f"{report['words_lost']} words were lost in {places}, as the ledger says")
    if report["interrupted"]:
        remarks.append("the capture was interrupted: the file ends where it was stopped")
    return remarks


def _ledger_problems(sidecar: dict[str, Any]) -> list[str]:
    """Return in what the sidecar contradicts itself."""
    report, problems = sidecar["global"]["fastcap:report"], []
    header = sidecar["captures"][0].get("core:header_bytes", 0)
    odd = sidecar["global"].get("core:trailing_bytes", 0)
    accounted = header + report["words"] * WORD_BYTES + odd
    if accounted != report["bytes"] or not 0 <= odd < WORD_BYTES:
        problems.append(
            f"sidecar: header {header} + {report['words']} words + {odd} odd bytes are {accounted} bytes, "
            f"but the report says {report['bytes']}"
        )
    exact = sum(e["words"] for e in report["ledger"] if e["certainty"] == "exact")
    if exact != report["words_lost"]:
        problems.append(
            f"sidecar: words_lost is {report['words_lost']}, but the ledger's exact losses are {exact}"
        )
    outside = [g.word for g in exact_gaps(report) if not 0 <= g.file_word <= report["words"]]
    if outside:
        problems.append(f"sidecar: the gap at word {outside[0]} is not within the {report['words']} words")
    return [*problems, *incomplete(report)]
