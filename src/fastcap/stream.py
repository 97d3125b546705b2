"""The header of the board's stream: magic word, text, and then the data.

Where data begin is the business of `fastcap.payload`, how a start is written that of `fastcap.start_time`, and the
samples themselves that of `fastcap.words`, which needs numpy; this module does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from fastcap.errors import ConfigError, StreamFormatError
from fastcap.payload import (
    AUTO,
    LAYOUTS,
    MAGIC,
    MAX_HEADER_BYTES,
    ONLY_BINARY,
    START,
    V2_LAYOUT,
    WORD_BYTES,
    Layout,
    find_layout,
    layout_of_size,
)
from fastcap.start_time import StartTime, format_start, parse_start, start_in_form
from fastcap.teststream import BoardFlags, parse_board_argv, split_command, word_rate_hz

if TYPE_CHECKING:
    from datetime import datetime
    from fractions import Fraction

__all__ = [
    "MAX_HEADER_BYTES",
    "ONLY_BINARY",
    "WORD_BYTES",
    "BoardFlags",
    "Header",
    "build_header",
    "format_start",
    "header_bytes",
    "parse_board_argv",
    "parse_header",
    "parse_whole_header",
    "rewrite_start",
]

_COMMAND = "# command line:"


class Header(msgspec.Struct, frozen=True):
    """A parsed header. ``raw`` is stored as it came; everything else is what could be read from it.

    ``argv`` and ``start_time`` are None where the text does not give them, and ``warnings`` then says what was
    assumed. ``raw`` holds all that stands before the data, ``preamble`` what of it stands before the magic word.
    """

    raw: bytes
    layout: Layout
    text_lines: tuple[str, ...]
    unknown_lines: tuple[str, ...]
    argv: tuple[str, ...] | None
    start_time: StartTime | None
    device: str | None
    base_rate_hz: int
    skip: int
    num_words: int | None
    warnings: tuple[str, ...]

    @property
    def header_bytes(self) -> int:
        """Bytes before the data."""
        return self.layout.header_bytes

    @property
    def preamble(self) -> bytes:
        """Text that the program wrote before the magic word."""
        return self.raw[: self.layout.preamble_bytes]

    @property
    def text(self) -> bytes:
        """The header's text, without what pads it."""
        return self.raw[self.layout.preamble_bytes + WORD_BYTES :].partition(b"\0")[0]

    @property
    def live_warnings(self) -> tuple[str, ...]:
        """What whoever looks at the words before they are in a file should know: nothing, but of a V2 header."""
        return ()

    @property
    def wraps(self) -> int:
        """Rollovers of M before the first word: 0, for only a V2 header knows of any."""
        return 0

    @property
    def start(self) -> datetime | None:
        """When the first word was sampled, aware, to the microsecond; see `start_ns`."""
        return self.start_time.moment if self.start_time else None

    @property
    def start_ns(self) -> int | None:
        """The same in nanoseconds since 1970, exactly as the text says it."""
        return self.start_time.unix_ns if self.start_time else None

    @property
    def states_rate(self) -> bool:
        """Whether the rate stands in it; else `sample_rate_hz` is an assumption."""
        return self.argv is not None

    @property
    def sample_rate_hz(self) -> Fraction:
        """Words per second, exactly."""
        return word_rate_hz(self.base_rate_hz, self.skip)


def header_bytes(prefix: bytes, payload: str = AUTO) -> int | None:
    """Return how many bytes stand before the data; None while ``prefix`` is too short to tell.

    Raises
    ------
    StreamFormatError
        There is no header.
    ValueError
        ``payload`` is unknown.
    """
    if payload not in (AUTO, *LAYOUTS):
        raise ValueError(f"payload {payload!r} is not one of {', '.join((AUTO, *LAYOUTS))}")
    found = find_layout(prefix, payload)
    return found.header_bytes if isinstance(found, Layout) else None


def parse_header(raw: bytes, payload: str = AUTO) -> Header:
    """Parse the header at the beginning of ``raw``; what follows it is looked at only to tell where it ends.

    Parameters
    ----------
    raw : bytes
        All of the header, and eight bytes more if they are there.
    payload : {"auto", "8n", "8n+8"}
        See `fastcap.payload`.

    Raises
    ------
    StreamFormatError
        There is none, it is torn, is not text, or names an output format other than binary.
    ValueError
        ``payload`` is unknown.
    """
    if payload not in (AUTO, *LAYOUTS):
        raise ValueError(f"payload {payload!r} is not one of {', '.join((AUTO, *LAYOUTS))}")
    found = find_layout(raw, payload, final=True)
    assert isinstance(found, Layout)
    return parse_found_header(raw, found)


def parse_whole_header(raw: bytes) -> Header:
    """Parse a header of which ``raw`` is all, text before the magic word included, and no data.

    Raises
    ------
    StreamFormatError
        As for `parse_header`, or its size is none that the magic word allows.
    """
    found = layout_of_size(raw, len(raw), "text")
    if found is None or not raw:
        raise StreamFormatError(f"header is torn: {len(raw)} bytes are not what its magic word announces")
    return parse_found_header(raw, found)


def parse_found_header(raw: bytes, layout: Layout) -> Header:
    """Parse a header whose layout is known; see `parse_header`."""
    if layout.name == V2_LAYOUT:
        from fastcap.v2header import parse_v2_header

        return parse_v2_header(raw)
    raw = bytes(raw[: layout.header_bytes])
    room = raw[layout.preamble_bytes + WORD_BYTES :]
    lines, warnings = _text_lines(room.partition(b"\0")[0], len(room))
    argv, flags = _command(lines, warnings)
    start = _start(lines, warnings)
    unknown = tuple(line for line in lines if not line.startswith((_COMMAND, START)))
    return Header(
        raw=raw,
        layout=layout,
        text_lines=lines,
        unknown_lines=unknown,
        argv=argv,
        start_time=start,
        device=flags.device,
        base_rate_hz=flags.base_rate_hz,
        skip=flags.skip,
        num_words=flags.num_words,
        warnings=(*warnings, *flags.warnings),
    )


def _text_lines(data: bytes, room: int) -> tuple[tuple[str, ...], list[str]]:
    """Split a header's text, for which there are ``room`` bytes, into lines; refuse what is torn or not text."""
    warnings: list[str] = []
    if control := [byte for byte in data if byte < 32 and byte not in b"\t\r\n"]:
        raise StreamFormatError(
            f"header text holds the control byte 0x{control[0]:02x}: it is torn or garbage"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        text = data.decode(errors="replace")
        warnings.append(f"header text is not UTF-8 ({error.reason} at byte {WORD_BYTES + error.start})")
    lines = tuple(stripped for line in text.split("\n") if (stripped := line.rstrip("\r")))
    if text and not any(line.startswith("# ") for line in lines):
        raise StreamFormatError(
            f"header text {text[:40]!r} holds no line that starts with '# ': it is garbage"
        )
    if text and not text.endswith("\n"):
        _check_last_line(lines[-1], warnings, fits=len(data) > room - WORD_BYTES)
    return lines, warnings


def _check_last_line(line: str, warnings: list[str], *, fits: bool) -> None:
    """Refuse a last line that was cut short: it does not end in a newline.

    A start time with its offset ends by itself; any other line may do without a newline where the text reaches into
    the header's last word (``fits``), as its magic word says that it does.
    """
    start = _time_in(line) if line.startswith(START) else None
    ends = start is not None and (fits or start.offset)
    if not ends and not (fits and line.startswith("# ") and not line.startswith(START)):
        raise StreamFormatError(f"header is torn: its text stops inside the line {line[:60]!r}")
    if not ends:
        warnings.append(f"header's last line {line[:60]!r} does not end: part of it may be missing")


def _command(lines: tuple[str, ...], warnings: list[str]) -> tuple[tuple[str, ...] | None, BoardFlags]:
    """Read the flags from the command line in the header; without one, the defaults with a warning."""
    line = next((line for line in lines if line.startswith(_COMMAND)), None)
    if line is None:
        warnings.append("header has no command line: rate taken as 20 MHz; give the rate if it is another")
        return None, BoardFlags()
    text = line[len(_COMMAND) :].strip()
    try:
        argv = split_command(text)
    except ValueError as error:
        argv = tuple(text.split())
        warnings.append(f"header's command line is not quoted as a shell would ({error}): split at spaces")
    try:
        flags = parse_board_argv(argv)
    except ConfigError as error:
        raise StreamFormatError(f"header's command line cannot be read: {error}") from error
    if flags.encoding != "binary":
        raise StreamFormatError(f"header says {flags.encoding} output: {ONLY_BINARY}")
    return argv, flags


def _start(lines: tuple[str, ...], warnings: list[str]) -> StartTime | None:
    """Read the recording start; None with a warning if it is not there or not a time."""
    line = next((line for line in lines if line.startswith(START)), None)
    if line is None:
        warnings.append("header has no recording start")
        return None
    start = _time_in(line)
    if start is None:
        text = line[len(START) :].strip()
        warnings.append(f"recording start {text[:40]!r} is not a time like 2023-11-23 17:03:08 +0800")
    elif not start.offset:
        warnings.append(f"recording start {start.text()} has no offset: taken as this machine's local time")
    return start


def _time_in(line: str) -> StartTime | None:
    return parse_start(line[len(START) :].strip())


def build_header(
    argv: Sequence[str] | None,
    start: datetime | StartTime | None,
    *,
    payload: str = "8n",
    stale: bool = False,
) -> bytes:
    """Build a header as the board's program writes it: magic word, lines of text, NUL to a whole word.

    Parameters
    ----------
    argv, start : optional
        What its two lines hold; without one, that line is missing. A datetime is written as ``%F %T %z``.
    payload : {"8n", "8n+8"}
        Whether n counts the magic word.
    stale : bool
        Leave stale bytes behind the text's NUL, as the board's program may.

    Raises
    ------
    ValueError
        ``argv`` holds a line break or another control character, is too long, or ``start`` is naive.
    """
    import shlex

    if wrong := [arg for arg in argv or () if any(c < " " and c != "\t" for c in arg)]:
        raise ValueError(
            f"argument {wrong[0]!r} holds a line break or control character; a header line cannot"
        )
    text = "" if argv is None else f"{_COMMAND} {shlex.join(argv)}\n"
    if start is not None:
        start = start if isinstance(start, StartTime) else start_in_form(start, "space")
        text += f"{START} {start.text()}\n"
    data = text.encode(errors="surrogateescape")
    size = -(-len(data) // WORD_BYTES) * WORD_BYTES
    words = size // WORD_BYTES + (payload == "8n")
    if not 0 < words <= 0xFFFF:
        raise ValueError(f"header text of {len(data)} bytes does not fit a header; it holds 1 to 524272")
    data = data.ljust(min(size, len(data) + 1), b"\0").ljust(size, b"\xb5" if stale else b"\0")
    return words.to_bytes(2, "little") + MAGIC + data


def rewrite_start(raw: bytes, start: datetime | StartTime) -> bytes:
    """Return a whole header with its recording start replaced, all other bytes and the length unchanged.

    Parameters
    ----------
    raw : bytes
        All that stands before the data.
    start : datetime or StartTime
        Is written in the form of the one that it replaces; what that has no digits for is cut off.

    Raises
    ------
    StreamFormatError
        ``raw`` is no header, or gives no recording start.
    ValueError
        ``start`` is naive.
    """
    found = layout_of_size(raw, len(raw), "text")
    begin = WORD_BYTES + (found.preamble_bytes if found else 0)
    text = raw[begin:].partition(b"\0")[0]
    key = START.encode()
    at = 0 if text.startswith(key) else text.find(b"\n" + key) + 1
    old = text[at + len(key) :].partition(b"\n")[0].strip() if text.startswith(key, at) else b""
    written = parse_start(old.decode("latin-1"))
    if written is None:
        raise StreamFormatError(f"header has no recording start to rewrite (found {old[:40]!r})")
    unix_ns = start.unix_ns if isinstance(start, StartTime) else start_in_form(start, "space").unix_ns
    where = begin + text.index(old, at + len(key))
    new = msgspec.structs.replace(written, unix_ns=unix_ns).text().encode("latin-1")
    return raw[:where] + new + raw[where + len(old) :]
