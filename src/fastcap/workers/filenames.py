"""Names and headers of the files that one recording is split into."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def file_name(names: dict[str, Any], index: int, first_word: int, given: str | None = None) -> str:
    """Return a file's name.

    Parameters
    ----------
    names : dict
        ``base`` (without .bin); for split recordings also ``split`` (True) and, where the name is the time,
        ``start`` (ISO 8601), ``suffix`` and ``rate`` ([numerator, denominator], words per second).
    index : int
        The file's number in the recording, from 0.
    first_word : int
        The source's index of its first word.
    given : str, optional
        A name, without ending, that was given to this file: it goes before all others.
    """
    if given is not None:
        return f"{given}.bin"
    if not names.get("split"):
        return f"{names['base']}.bin"
    if not names.get("start") or not names.get("rate"):
        return f"{names['base']}_{index:04d}.bin"
    from datetime import datetime

    begun = datetime.fromisoformat(names["start"]) + _elapsed(first_word, *names["rate"])
    return f"{begun:%Y-%m-%dT%H:%M:%S.%f}{names['suffix']}.bin"


def shifted_header(header: bytes, first_word: int) -> bytes:
    """Return the board's header with `recording start` moved on to ``first_word``; same length."""
    from fastcap.stream import parse_header, rewrite_start

    if not header or not first_word:
        return header
    parsed = parse_header(header)
    if parsed.start is None:
        return header
    rate = parsed.sample_rate_hz
    return rewrite_start(header, parsed.start + _elapsed(first_word, rate.numerator, rate.denominator))


def _elapsed(words: int, numerator: int, denominator: int) -> Any:
    from datetime import timedelta

    return timedelta(microseconds=words * denominator * 1_000_000 // numerator)
