"""Feed made-up headers, sidecars and index files to their readers: ``python tools/fuzz_readers.py``.

Needs atheris. Options are libFuzzer's, such as ``-max_total_time=60``; a file's name tries that one again.
The corpus begins with golden files that are made here. What is expected: a good answer, or StreamFormatError;
an index, whatever it holds, must not change what a trace says. Anything else is a crash, and the input that
caused it is left as ``crash-…``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["fastcap"]):
    import numpy as np

    from fastcap import compat, info, trace
    from fastcap._indexfile import index_path
    from fastcap.errors import StreamFormatError
    from fastcap.index import build_index
    from fastcap.sidecar import build_sidecar, encode, load_sidecar, sidecar_path
    from fastcap.stream import build_header, header_bytes, parse_header, rewrite_start
    from fastcap.words import encode as encode_words

_START = datetime(2026, 11, 22, 10, 0, 0, tzinfo=timezone(timedelta(hours=8)))
_ARGVS = (
    ("teststream", "-U", "/dev/usbhybrid0", "-q", "33554432", "-s", "4", "-l", "-b", "-v", "3"),
    ("/home/lab/a # b -s 9/teststream.exec", "-hbs1", "-G2", "-F", "3", "--", "stray"),
    ("teststream", "-x"),
    ("teststream", "-b"),
)
_BLOCK_WORDS = 1 << 16


class Readers:
    """A small capture in a folder of its own, of which one part is replaced by what the fuzzer makes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "run.bin"
        self._indexed = folder / "indexed.bin"
        header = build_header(_ARGVS[0], _START)
        words = encode_words(np.linspace(0, 1e5, 3 * _BLOCK_WORDS - 100), 30_000.0)
        self._indexed.write_bytes(header + words.tobytes())
        self._file.write_bytes(header + words[:4000].tobytes() + b"odd")
        self.sidecar = build_sidecar(
            _report(self._file), header_bytes=len(header), raw_header_text=header[8:].decode()
        )
        build_index(self._indexed)
        self.index = Path(index_path(self._indexed)).read_bytes()
        self._good = header + words[:4000].tobytes()
        self._phase = self._look(self._indexed)

    def seeds(self) -> list[bytes]:
        """Return inputs from which the fuzzer begins: the first byte says what the rest is."""
        headers = [build_header(argv, _START) for argv in _ARGVS]
        stale = headers[0][:-8] + b"\0\xff\xfe\xfdstl"
        torn = headers[0][:30]
        sidecar = encode(self.sidecar)
        fields = [b"\2" + bytes([k]) + b"-1" for k in range(0, 60, 3)]
        rows = [b"\4" + bytes([k, 0, 0xFF]) for k in range(0, 250, 16)]
        return [b"\0" + raw for raw in (*headers, stale, torn, b"")] + [
            b"\1" + sidecar,
            *fields,
            b"\3" + self.index[:400],
            *rows,
        ]

    def __call__(self, data: bytes) -> None:
        """Try one input."""
        kind, rest = data[:1], data[1:]
        try:
            if kind == b"\0":
                self._header(rest)
            elif kind == b"\1":
                self._sidecar(rest)
            elif kind == b"\2":
                self._sidecar(json.dumps(_replaced(self.sidecar, rest)).encode())
            elif kind == b"\3":
                self._index(rest)
            else:
                self._index(_damaged(self.index, rest))
        except StreamFormatError:
            return

    def _header(self, raw: bytes) -> None:
        _forget(sidecar_path(self._file))
        self._file.write_bytes(raw)
        for payload in ("auto", "8n+8", "8n"):
            self._everything(payload)
        size = header_bytes(raw)
        if size is not None and len(raw) >= size and parse_header(raw).start is not None:
            again = parse_header(rewrite_start(raw[:size], datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)))
            assert again.header_bytes == size
            assert again.start == datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)

    def _sidecar(self, raw: bytes) -> None:
        self._file.write_bytes(self._good)
        Path(sidecar_path(self._file)).write_bytes(raw)
        load_sidecar(self._file)
        self._everything("auto")

    def _index(self, raw: bytes) -> None:
        Path(index_path(self._indexed)).write_bytes(raw)
        assert self._look(self._indexed) == self._phase, "an index changed what its trace says"

    def _everything(self, payload: str) -> None:
        """Read the file in every way that does not read all of it."""
        for read in (
            self._told,
            lambda: self._read(payload),
            lambda: compat.VHFparser(self._file, payload=payload),
        ):
            try:
                read()
            except StreamFormatError:
                continue

    def _told(self) -> None:
        told = info.file_info(self._file)
        json.dumps(told, allow_nan=False)
        info.format_info(told)

    def _read(self, payload: str) -> None:
        found = trace.load(self._file, payload=payload)
        repr(found)
        assert found.phase().size == found.radius().size == len(found)
        middle = found[len(found) // 2 :]
        assert middle.start is None or found.start is None or middle.start >= found.start
        assert all(0 <= gap.file_word <= len(found) for gap in found.gaps)

    @staticmethod
    def _look(path: Path) -> bytes:
        found = trace.load(path)
        parts = (found[-10:], found[_BLOCK_WORDS : _BLOCK_WORDS + 10])
        return b"".join(part.phase().tobytes() for part in parts)


def _report(path: Path) -> dict[str, Any]:
    entry = {"stage": "ring", "after_word": 1000, "words": 500, "certainty": "exact", "at_s": 0.1}
    return {
        "path": str(path), "bytes": 0, "words": 4000, "sample_rate_hz": 2e6, "started": _START.isoformat(),
        "duration_s": 0.002, "complete": True, "interrupted": False, "words_lost": 500, "ledger": [entry],
        "board": {"estimated_words_lost": 0, "detectable_words": 6000}, "checksum": None, "analysis": None,
        "sink": {"stalls": [{"at_s": 1.0, "for_s": 0.5}]}, "source": {"command": list(_ARGVS[0])},
        "meta": {"laser_curr": "392.8mA"}, "fastcap": "0.1.0",
    }  # fmt: skip


def _replaced(content: Any, data: bytes) -> Any:
    """Return the sidecar with one of its values replaced by what ``data`` spells."""
    content = json.loads(json.dumps(content))
    places = list(_places(content))
    holder, key = places[(data[0] if data else 0) % len(places)]
    text = data[1:].decode(errors="replace")
    try:
        holder[key] = json.loads(text)
    except (ValueError, RecursionError):
        holder[key] = text
    return content


def _places(content: Any) -> Any:
    """Yield every (container, key) of a JSON value."""
    for key in list(content) if isinstance(content, dict) else range(len(content)):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


def _damaged(index: bytes, data: bytes) -> bytes:
    """Return the index with bytes of it changed: place (two bytes), exclusive or (one), and so on."""
    changed = bytearray(index)
    for at in range(0, len(data) - 2, 3):
        changed[int.from_bytes(data[at : at + 2], "little") % len(changed)] ^= data[at + 2]
    return bytes(changed)


def _forget(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def main() -> None:
    """Fuzz until the time is over or something breaks."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="fastcap-fuzz-") as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        (folder / "corpus").mkdir()
        (folder / "capture").mkdir()
        readers = Readers(folder / "capture")
        for k, seed in enumerate(readers.seeds()):
            (folder / "corpus" / str(k)).write_bytes(seed)
        again = any(not arg.startswith("-") for arg in sys.argv[1:])
        corpus = [] if again else ["-max_len=8192", str(folder / "corpus")]
        atheris.Setup([*sys.argv, *corpus], readers)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
