"""The board's stream: magic word, header text, then 8-byte data words.

The layout: a magic word (bits 63..16 fixed, bits 15..0 ``n``), ``n`` words of text padded with NUL, then
data. The samples themselves are the business of `fastcap.words`, which needs numpy; this module does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from fastcap.errors import ConfigError, StreamFormatError
from fastcap.teststream import BoardFlags, parse_board_argv, word_rate_hz

if TYPE_CHECKING:
    from datetime import datetime
    from fractions import Fraction

__all__ = [
    "MAX_HEADER_BYTES",
    "WORD_BYTES",
    "BoardFlags",
    "Header",
    "build_header",
    "format_start",
    "header_bytes",
    "parse_board_argv",
    "parse_header",
    "rewrite_start",
]

WORD_BYTES = 8
MAX_HEADER_BYTES = WORD_BYTES * (0xFFFF + 1)
ONLY_BINARY = "only binary output (-b) is supported"
PAYLOADS = ("8n+8", "8n")  # where data start: after n words of text, or n counts the magic word
NO_HEADER = "none"  # a file's words begin with it
WITHOUT_HEADER = f"say payload={NO_HEADER!r} (--payload {NO_HEADER}) if it was recorded without a header"

_MAGIC = bytes.fromhex("efcdab563412")  # what follows n_lo n_hi
_COMMAND = "# command line:"
_START = "# recording start:"
_START_SHAPE = "dddd-dd-dd dd:dd:dd sdddd"


class Header(msgspec.Struct, frozen=True):
    """A parsed header. ``raw`` is stored as it came; everything else is what could be read from it.

    ``argv`` and ``start`` (aware, 1 s resolution) are None where the text does not give them, and
    ``warnings`` then says what was assumed.
    """

    raw: bytes
    header_bytes: int
    text_lines: tuple[str, ...]
    unknown_lines: tuple[str, ...]
    argv: tuple[str, ...] | None
    start: datetime | None
    device: str | None
    base_rate_hz: int
    skip: int
    num_words: int | None
    warnings: tuple[str, ...]

    @property
    def sample_rate_hz(self) -> Fraction:
        """Words per second, exactly."""
        return word_rate_hz(self.base_rate_hz, self.skip)


def check_payload(payload: str | None) -> None:
    """Refuse what is no way to read a file's header.

    Raises
    ------
    ValueError
    """
    if payload not in (None, NO_HEADER, *PAYLOADS):
        raise ValueError(f"payload {payload!r} is not one of {', '.join((*PAYLOADS, NO_HEADER))}")


def header_bytes(prefix: bytes, payload: str = "8n+8") -> int | None:
    """Return how many bytes the header of a stream occupies; data start right after them.

    Parameters
    ----------
    prefix : bytes
        The stream's first bytes; 8 are looked at.
    payload : {"8n+8", "8n"}
        Whether the magic word's n counts the words after it, or itself too.

    Returns
    -------
    int or None
        None while fewer than 8 bytes are there.

    Raises
    ------
    StreamFormatError
        The stream does not start with the magic word.
    ValueError
        ``payload`` is none of the two.
    """
    if payload not in PAYLOADS:
        raise ValueError(f"payload {payload!r} is not one of {', '.join(PAYLOADS)}")
    if len(prefix) < WORD_BYTES:
        return None
    first = bytes(prefix[:WORD_BYTES])
    if first[2:] != _MAGIC:
        printable = all(32 <= byte < 127 or byte in b"\t\r\n" for byte in first)
        hint = f"it looks like text: {ONLY_BINARY}" if printable else "is it a trace file?"
        raise StreamFormatError(
            f"stream starts with {first.hex(' ')}, not with the magic word (n n {_MAGIC.hex(' ')}); {hint}"
        )
    words = int.from_bytes(first[:2], "little")
    if words == 0:
        raise StreamFormatError("magic word announces 0 words of header text; rate and start are unknown")
    return WORD_BYTES * (words + 1 if payload == "8n+8" else words)


def parse_header(raw: bytes, payload: str = "8n+8") -> Header:
    """Parse a header: the magic word and all of its text. Bytes after the header are ignored.

    Raises
    ------
    StreamFormatError
        The header is torn, is not text, or names an output format other than binary.
    ValueError
        ``payload`` is unknown.
    """
    size = header_bytes(raw, payload)
    if size is None or len(raw) < size:
        raise StreamFormatError(
            f"header is torn: {len(raw)} of {size or 'at least 8'} bytes are there, then the source ended"
        )
    raw = bytes(raw[:size])
    lines, warnings = _text_lines(raw)
    argv, flags = _command(lines, warnings)
    start = _start(lines, warnings)
    unknown = tuple(line for line in lines if not line.startswith((_COMMAND, _START)))
    return Header(
        raw=raw,
        header_bytes=size,
        text_lines=lines,
        unknown_lines=unknown,
        argv=argv,
        start=start,
        device=flags.device,
        base_rate_hz=flags.base_rate_hz,
        skip=flags.skip,
        num_words=flags.num_words,
        warnings=(*warnings, *flags.warnings),
    )


def _text_lines(raw: bytes) -> tuple[tuple[str, ...], list[str]]:
    """Split the text before the first NUL into lines; refuse what is torn or not text."""
    warnings: list[str] = []
    data = raw[WORD_BYTES:].partition(b"\0")[0]
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
    if not any(line.startswith("# ") for line in lines):
        raise StreamFormatError(
            f"header text {text[:40]!r} holds no line that starts with '# ': it is garbage"
        )
    last = lines[-1]
    whole = last.startswith(_START) and _parse_start(last[len(_START) :].strip()) is not None
    if not text.endswith("\n") and not whole:
        raise StreamFormatError(f"header is torn: its text stops inside the line {last[:60]!r}")
    return lines, warnings


def _command(lines: tuple[str, ...], warnings: list[str]) -> tuple[tuple[str, ...] | None, BoardFlags]:
    """Read the flags from the command line in the header; without one, the defaults with a warning."""
    import shlex

    line = next((line for line in lines if line.startswith(_COMMAND)), None)
    if line is None:
        warnings.append("header has no command line: rate taken as 20 MHz; give the rate if it is another")
        return None, BoardFlags()
    text = line[len(_COMMAND) :].strip()
    try:
        argv = tuple(shlex.split(text))
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


def _start(lines: tuple[str, ...], warnings: list[str]) -> datetime | None:
    """Read the recording start; None with a warning if it is not there or not a time."""
    line = next((line for line in lines if line.startswith(_START)), None)
    if line is None:
        warnings.append("header has no recording start")
        return None
    text = line[len(_START) :].strip()
    start = _parse_start(text)
    if start is None:
        warnings.append(f"recording start {text[:40]!r} is not a time like 2023-11-23 17:03:08 +0800")
    return start


def _parse_start(text: str) -> datetime | None:
    """Parse ``%F %T %z``; strptime would cost as much start-up time as all the rest of this module."""
    from datetime import datetime

    shape = "".join(
        "d" if c in "0123456789" else "s" if c in "+-" and k == 20 else c for k, c in enumerate(text)
    )
    if shape != _START_SHAPE:
        return None
    try:
        return datetime.fromisoformat(text[:19] + text[20:])
    except ValueError:
        return None


def format_start(start: datetime) -> str:
    """Format a time as the header does, ``%F %T %z``: always 25 characters, sub-seconds cut off.

    Raises
    ------
    ValueError
        ``start`` has no time zone, or one that is no whole number of minutes.
    """
    offset = start.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        raise ValueError(f"recording start {start!r} needs a time zone of whole minutes")
    minutes = int(offset.total_seconds()) // 60
    hours, minutes_left = divmod(abs(minutes), 60)
    zone = f"{'-' if minutes < 0 else '+'}{hours:02d}{minutes_left:02d}"
    return f"{start.replace(tzinfo=None).isoformat(' ', 'seconds')} {zone}"


def build_header(argv: Sequence[str], start: datetime) -> bytes:
    """Build a header as the board's program writes it: magic word, two lines of text, NUL to a whole word.

    Raises
    ------
    ValueError
        ``argv`` holds a line break or another control character, is too long, or ``start`` is naive.
    """
    import shlex

    if wrong := [arg for arg in argv if any(c < " " and c != "\t" for c in arg)]:
        raise ValueError(
            f"argument {wrong[0]!r} holds a line break or control character; a header line cannot"
        )
    text = f"{_COMMAND} {shlex.join(argv)}\n{_START} {format_start(start)}\n".encode(errors="surrogateescape")
    words = -(-len(text) // WORD_BYTES)
    if words > 0xFFFF:
        raise ValueError(f"command line of {len(text)} bytes does not fit a header; it holds 524280")
    return words.to_bytes(2, "little") + _MAGIC + text.ljust(words * WORD_BYTES, b"\0")


def rewrite_start(raw: bytes, start: datetime) -> bytes:
    """Return the header with its recording start replaced, all other bytes and the length unchanged.

    Raises
    ------
    StreamFormatError
        ``raw`` is no header, or gives no recording start.
    ValueError
        ``start`` is naive.
    """
    header_bytes(raw)
    text = raw[WORD_BYTES:].partition(b"\0")[0]
    key = _START.encode()
    at = 0 if text.startswith(key) else text.find(b"\n" + key) + 1
    old = text[at + len(key) :].partition(b"\n")[0].strip() if text.startswith(key, at) else b""
    if _parse_start(old.decode("latin-1")) is None:
        raise StreamFormatError(f"header has no recording start to rewrite (found {old[:40]!r})")
    where = WORD_BYTES + text.index(old, at + len(key))
    new = format_start(start).encode()
    return raw[:where] + new + raw[where + len(new) :]
