"""The sidecar `NAME.sigmf-meta` beside `NAME.bin`: SigMF-shaped JSON with the whole report in it.

A sample, in SigMF's sense, is a word: four interleaved channels of 16 bits, the lowest first. What SigMF has
no key for stands in the ``fastcap:`` namespace of the global object: ``report``, ``header``, ``payload``,
``first_word``, ``checksum``, ``blocks``, ``settings``. ``core:header_bytes`` is all that stands before the data, text
before the magic word included; ``fastcap:payload`` says how it is known (see `fastcap.payload.Layout`).

A ledger entry's ``after_word`` counts the words of the source before the loss, from the file's first word on
and lost ones included, so that word k was sampled at start + k/rate throughout; ``core:sample_start`` counts
the words that are in the file; ``fastcap:first_word`` is what precedes this file of a split.
"""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import msgspec

from fastcap._sidecar_shape import SidecarShape
from fastcap.errors import StreamFormatError
from fastcap.naming import sidecar_path as sidecar_path

SIGMF_VERSION = "1.2.0"
EXTENSION_VERSION = "1.0.0"
WORD_BYTES = 8
BLOCKS_ALGORITHM = "sha256-running"
_MAX_BYTES = 256 << 20


class Gap(msgspec.Struct, frozen=True):
    """Words that are missing in a file, exactly counted.

    Attributes
    ----------
    file_word : int
        Index in the file of the first word behind the gap: as many words stand before it.
    word : int
        Index of the first lost word, counted from the file's first word, lost ones included.
    words_lost : int
        How many are missing.
    stage : str
        Where they were lost.
    """

    file_word: int
    word: int
    words_lost: int
    stage: str


def exact_gaps(report: dict[str, Any]) -> list[Gap]:
    """Return the gaps of a file in their order: its ledger's exact entries, which shift word indices."""
    found: list[Gap] = []
    lost = 0
    entries = [e for e in report["ledger"] if e["certainty"] == "exact" and e["after_word"] is not None]
    for entry in sorted(entries, key=lambda e: int(e["after_word"])):
        word = entry["after_word"]
        found.append(Gap(word - lost, word, entry["words"], entry["stage"]))
        lost += entry["words"]
    return found


def build_sidecar(
    report: dict[str, Any],
    *,
    header_bytes: int,
    raw_header_text: str | None,
    first_word: int = 0,
    settings: dict[str, Any] | None = None,
    blocks: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the sidecar's content for a finished file.

    Parameters
    ----------
    report : dict
        The capture's report. It is stored as it is.
    header_bytes : int
        Bytes before the first data word.
    raw_header_text : str or None
        The board's header as it came, None if there was none.
    first_word : int
        Index in the whole recording of this file's first word; above 0 only for later files of a split.
    settings : dict, optional
        The board's settings and those of other devices.
    blocks : dict, optional
        ``{"bytes": size, "algorithm": "sha256-running", "values": [...]}``: the sha256 of the file up to the
        end of each whole block, in hexadecimal; so many digits as the writer likes, 16 are enough. `verify`
        names the first wrong block by them.
    """
    core: dict[str, Any] = {
        "core:datatype": "ru16_le",
        "core:num_channels": 4,
        "core:sample_rate": report["sample_rate_hz"],
        "core:version": SIGMF_VERSION,
        "core:dataset": os.path.basename(report["path"] or ""),
        "core:trailing_bytes": report["bytes"] - header_bytes - report["words"] * WORD_BYTES,
        "core:recorder": f"fastcap {report['fastcap']}",
        "core:extensions": [{"name": "fastcap", "version": EXTENSION_VERSION, "optional": True}],
    }
    namespace = {
        "fastcap:first_word": first_word,
        "fastcap:header": raw_header_text,
        "fastcap:payload": report.get("payload"),
        "fastcap:checksum": report["checksum"],
        "fastcap:settings": settings,
        "fastcap:blocks": blocks,
        "fastcap:report": report,
    }
    content = {
        "global": {key: value for key, value in (core | namespace).items() if value is not None},
        "captures": _captures(report, header_bytes, first_word),
        "annotations": _annotations(report),
    }
    plain = _plain(content)
    assert isinstance(plain, dict)
    return plain


def _captures(report: dict[str, Any], header_bytes: int, first_word: int) -> list[dict[str, Any]]:
    """One segment for the file, and one more behind each gap: SigMF's way to say that indices jump."""
    segments = [
        {
            "core:sample_start": 0,
            "core:global_index": first_word,
            "core:header_bytes": header_bytes,
            "core:datetime": _utc(report, 0),
        }
    ]
    for gap in exact_gaps(report):
        behind = gap.word + gap.words_lost
        segments.append(
            {
                "core:sample_start": gap.file_word,
                "core:global_index": first_word + behind,
                "core:datetime": _utc(report, behind),
            }
        )
    return [{key: value for key, value in segment.items() if value is not None} for segment in segments]


def _utc(report: dict[str, Any], word: int) -> str | None:
    started, rate_hz = report["started"], report["sample_rate_hz"]
    if started is None or (word and not rate_hz):
        return None
    after = timedelta(microseconds=round(word * 1_000_000 / rate_hz)) if word else timedelta()
    moment = datetime.fromisoformat(started).astimezone(UTC) + after
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _annotations(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an annotation for every ledger entry that has a place; gaps are points, they hold no samples."""
    gaps = exact_gaps(report)
    lost_by_then = [0, *accumulate(gap.words_lost for gap in gaps)]
    found = []
    for entry in report["ledger"]:
        word = entry["after_word"]
        if word is None:
            continue
        gaps_before = bisect_left(gaps, word, key=lambda gap: gap.word)
        count = "an unknown number of" if entry["words"] is None else f"{entry['words']:,}"
        slip = _slip_annotation(entry) if entry["stage"] == "slip" else {}
        found.append(
            {
                "core:sample_start": max(0, word - lost_by_then[gaps_before]),
                "core:sample_count": 0,
                "core:label": "gap" if entry["certainty"] == "exact" else f"{entry['certainty']} loss",
                "core:comment": f"{count} words lost ({entry['stage']}, {entry['certainty']})",
                "core:generator": "fastcap",
                "fastcap:words_lost": entry["words"],
                "fastcap:stage": entry["stage"],
                "fastcap:certainty": entry["certainty"],
                "fastcap:after_word": word,
                "fastcap:at_s": entry.get("at_s"),
            }
            | slip
        )
    return sorted(found, key=lambda annotation: int(annotation["core:sample_start"]))


def _slip_annotation(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of bytes that are missing in mid-stream."""
    behind = "before this file" if entry.get("carried") else "in mid-stream"
    return {
        "core:label": "byte slip",
        "core:comment": f"{entry['bytes']} bytes lost {behind}; the words behind are out of step",
        "fastcap:bytes_lost": entry["bytes"],
        "fastcap:within_words": entry["within_words"],
    }


def _plain(value: Any) -> Any:
    """Return ``value`` in JSON's own types: no finite number becomes None, what is foreign its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    for method in ("tolist", "isoformat"):  # numpy's scalars and arrays; dates
        convert = getattr(value, method, None)
        if callable(convert):
            return _plain(convert())
    return str(value)


def encode(sidecar: dict[str, Any]) -> bytes:
    """Return the file's bytes: readable, the same for the same content, pure ASCII, without NaN."""
    plain = _plain(sidecar)
    # one line for the block checksums, of which a day's file has 20,000
    mark, values = "fastcap:blocks are written here", None
    blocks = plain.get("global", {}).get("fastcap:blocks")
    if blocks is not None:
        values, blocks["values"] = blocks["values"], mark
    text = json.dumps(plain, indent=2, allow_nan=False)
    if values is not None:
        text = text.replace(f'"values": "{mark}"', f'"values": {json.dumps(values, separators=(",", ":"))}')
    return text.encode("ascii") + b"\n"


def load_sidecar(bin_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the sidecar of ``bin_path``, its shape checked.

    Raises
    ------
    StreamFormatError
        There is none, it cannot be read, or it is no sidecar of this package.
    """
    path = sidecar_path(bin_path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size  # read() makes room for all that it is asked for
            raw = file.read(min(size, _MAX_BYTES) + 1)
    except FileNotFoundError as error:
        raise StreamFormatError(f"{path}: no such sidecar; only the .bin file is here") from error
    except OSError as error:
        raise StreamFormatError(f"{path}: the sidecar cannot be read: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise StreamFormatError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, so this is no sidecar")
    try:
        content = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise StreamFormatError(f"{path}: not JSON ({error}); restore the sidecar from a copy") from error
    try:
        msgspec.convert(content, SidecarShape)
    except msgspec.ValidationError as error:
        raise StreamFormatError(
            f"{path}: not a sidecar of fastcap: {error}; if it is another program's, move it away from the .bin file, "
            "which can be read without one"
        ) from error
    assert isinstance(content, dict)
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
