"""The header of a V2 file: magic, byte order, start, JSON, and the table of M's rollovers before the data.

All numbers behind the byte-order mark, the data words included, are in the order of whoever wrote the file. What
the table says is the business of `fastcap.rollovers`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap.errors import StreamFormatError
from fastcap.payload import AUTO, V2_LAYOUT, V2_MAGIC, Layout, check_payload
from fastcap.start_time import NS, StartTime, parse_start, start_in_form
from fastcap.stream import WORD_BYTES, Header
from fastcap.teststream import FAST_HZ, SLOW_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import IO, Literal, TypeGuard

    ByteOrder = Literal["little", "big"]

MAX_TEXT_BYTES = 1 << 19  # less than what a stream's splitter looks at: `fastcap.payload.LOOK_BYTES`
MAX_TABLE_ENTRIES = 1 << 24  # the lab's program makes one for 20,000 words: enough for 2 TB
_BYTE_ORDERS: dict[bytes, ByteOrder] = {b"\xff\xfe": "little", b"\xfe\xff": "big"}
_SECONDS_AT = len(V2_MAGIC) + 2
_LENGTH_AT = _SECONDS_AT + 8
_TEXT_AT = _LENGTH_AT + 8
_MAX_SKIP = (1 << 32) - 1
_MAX_OFFSET = 1 << 40  # rollovers: a phase of 2**56 turns, beyond what a float64 tells apart
_NAMED = ("file_start", "num_samples", "skip_num", "speed", "m_overflow_total", "m_offset")
_APART_S = 1  # of the two starts: one of them is whole seconds


class V2Header(Header, frozen=True, kw_only=True):
    """A V2 file's header; ``raw`` ends before the table, ``header_bytes`` behind it.

    Attributes
    ----------
    byte_order : {"little", "big"}
        Of table and data words.
    table_offset, table_entries : int
        Where the table of rollovers begins, and how many entries it has room for.
    m_offset : int
        Rollovers before the first word, each of 65,536 turns: M~ begins at M[0] + 65536 * m_offset.
    details : dict
        The JSON as it is.
    problems : tuple of str
        In what the header contradicts itself.
    """

    byte_order: ByteOrder
    table_offset: int
    table_entries: int
    m_offset: int
    details: dict[str, Any]
    problems: tuple[str, ...] = ()

    @property
    def states_rate(self) -> bool:
        """Whether its JSON has the speed and how many samples are skipped."""
        return self.details.get("speed") is not None and self.details.get("skip_num") is not None

    @property
    def text(self) -> bytes:
        """The JSON as it came."""
        return v2_text(self.raw)

    @property
    def num_files(self) -> int | None:
        """Files that the run was to have; None where the header does not say."""
        value = self.details.get("num_files")
        return value if _is_count(value) else None

    @property
    def gain(self) -> Any:
        """The board's gain; None where none was set."""
        return self.details.get("gain")

    @property
    def filter_const(self) -> Any:
        """The board's filter constant; None where none was set."""
        return self.details.get("filter_const")

    @property
    def stream_fold(self) -> tuple[Any, ...]:
        """Software filters that the words went through before they were written, in order."""
        return _filters(self.details.get("stream_fold"))

    @property
    def meta(self) -> dict[str, Any]:
        """What the JSON says beside times, rate, and the places of things; without what was not set."""
        others = {key: value for key, value in self.details.items() if key not in _NAMED}
        others["stream_fold"] = list(self.stream_fold) or None
        return {key: value for key, value in others.items() if value is not None}

    @property
    def live_warnings(self) -> tuple[str, ...]:
        """That live values are wrong where the words are in the other byte order: only a file's are swapped."""
        if self.byte_order == sys.byteorder:
            return ()
        return (
            f"words are {self.byte_order}-endian, this machine is not: the file is right, but live statistics, "
            "blocks and functions take them as they come, and are wrong",
        )

    @property
    def wraps(self) -> int:
        """Rollovers before the first word, in the direction of `fastcap.words.Carry`."""
        return -self.m_offset

    def size_problem(self, count: int) -> str | None:
        """Return what is wrong with a file of ``count`` words, if that is not what the header says."""
        if self.num_words is None or self.num_words == count:
            return None
        short = "truncated: " if count < self.num_words else ""
        return f"{short}holds {count} words, its header says {self.num_words}"


def v2_extent(prefix: bytes) -> tuple[int, bool]:
    """Return how many bytes of a V2 file have to be read next, and whether that is the whole header.

    Parameters
    ----------
    prefix : bytes
        The file's first bytes, the magic among them; call again with as many as were asked for.

    Returns
    -------
    nbytes : int
    known : bool
        ``nbytes`` is where data begin.

    Raises
    ------
    StreamFormatError
        It is no V2 header, or it says impossible things.
    """
    if prefix[: len(V2_MAGIC)] != V2_MAGIC:
        raise StreamFormatError(f"starts with {prefix[:8]!r}, not with {V2_MAGIC.decode()}")
    if len(prefix) < _TEXT_AT:
        return _TEXT_AT, False
    text_end = _padded(_TEXT_AT + _text_bytes(prefix))
    if len(prefix) < text_end:
        return text_end, False
    return text_end + WORD_BYTES * _count(_details(prefix), "m_overflow_total", MAX_TABLE_ENTRIES), True


def is_v2(raw: bytes, payload: str | None) -> bool:
    """Tell whether a file that begins with ``raw`` is to be read as V2: ``payload`` asks for nothing else."""
    return check_payload(payload) == AUTO and raw[: len(V2_MAGIC)] == V2_MAGIC


def read_v2_header(file: IO[bytes], size: int) -> bytes:
    """Return a V2 file's header without its table, as `parse_v2_header` takes it.

    Raises
    ------
    StreamFormatError
        It is no V2 header, it is torn, or says impossible things of a file of ``size`` bytes.
    """
    file.seek(0)
    raw = file.read(_TEXT_AT)
    while True:
        wanted, known = v2_extent(raw)
        if known and wanted > size:
            raise StreamFormatError(
                f"V2 header says that data begin at byte {wanted}, behind its rollover table, of a file of {size}: "
                "it is truncated or damaged"
            )
        if known:
            return raw
        more = file.read(wanted - len(raw)) if wanted <= size else b""
        if not more:
            raise StreamFormatError(f"V2 header is torn: {size} of {wanted} bytes are there")
        raw += more


def parse_v2_header(raw: bytes) -> V2Header:
    """Parse the header of a V2 file; the table and what follows it need not be in ``raw``.

    Raises
    ------
    StreamFormatError
        The header is torn, or does not say rate or where data begin.
    """
    wanted, known = v2_extent(raw)
    if not known:
        raise StreamFormatError(f"V2 header is torn: {len(raw)} of {wanted} bytes are there")
    details, order = _details(raw), v2_byte_order(raw)
    text_end = _padded(_TEXT_AT + _text_bytes(raw))
    seconds = int.from_bytes(raw[_SECONDS_AT:_LENGTH_AT], order, signed=True)
    warnings: list[str] = []
    problems: list[str] = []
    header = V2Header(
        raw=bytes(raw[:text_end]),
        layout=Layout(V2_LAYOUT, "magic", 0, wanted),
        text_lines=tuple(f"{key}: {json.dumps(value)}" for key, value in details.items()),
        unknown_lines=(),
        argv=None,
        start_time=_start(details, seconds, warnings, problems),
        device=None,
        base_rate_hz=_base_rate_hz(details, warnings),
        skip=_skip(details, warnings),
        num_words=_num_words(details, warnings),
        warnings=(),
        byte_order=order,
        table_offset=text_end,
        table_entries=_count(details, "m_overflow_total", MAX_TABLE_ENTRIES),
        m_offset=_m_offset(details, warnings),
        details=details,
        problems=tuple(problems),
    )
    return msgspec.structs.replace(header, warnings=(*warnings, *_fold_warnings(details)))


def v2_text(raw: bytes) -> bytes:
    """Return a header's JSON as it came."""
    return bytes(raw[_TEXT_AT : _TEXT_AT + _text_bytes(raw)])


def v2_byte_order(raw: bytes) -> ByteOrder:
    """Return the order of a V2 file's numbers and data words, from its first 10 bytes.

    Raises
    ------
    StreamFormatError
        The byte-order mark is none.
    """
    mark = bytes(raw[len(V2_MAGIC) : _SECONDS_AT])
    if mark not in _BYTE_ORDERS:
        raise StreamFormatError(
            f"V2 header has the byte-order mark {mark.hex(' ')}, not ff fe or fe ff: it is damaged"
        )
    return _BYTE_ORDERS[mark]


def build_v2_header(details: dict[str, Any], seconds: int, text_bytes: int = 0) -> bytes:
    """Build a V2 header in this machine's byte order, without its table.

    Parameters
    ----------
    details : dict
        The JSON.
    seconds : int
        The start, Unix time.
    text_bytes : int
        The JSON is padded with spaces to so many bytes.

    Raises
    ------
    ValueError
        It is longer than that, or than a header may be.
    """
    text = json.dumps(details, separators=(",", ":"), ensure_ascii=False).encode()
    if len(text) > (text_bytes or MAX_TEXT_BYTES):
        raise ValueError(f"JSON of {len(text)} bytes is longer than {text_bytes or MAX_TEXT_BYTES}")
    text = text.ljust(text_bytes)
    return _packed(sys.byteorder, seconds, text)


def later_v2_header(raw: bytes, elapsed_ns: int) -> bytes:
    """Return a whole header for the later file of a recording: its start moved on, of the same length.

    How often M has rolled over before it is not known here, and is left out; so is what the table may hold.

    Raises
    ------
    StreamFormatError
        It cannot be parsed.
    """
    header = parse_v2_header(raw)
    start = header.start_time
    details = {key: value for key, value in header.details.items() if key != "m_offset"}
    if start is None:
        return raw
    later = start.later(elapsed_ns)
    if "file_start" in details and parse_start(str(details["file_start"])) is not None:
        details["file_start"] = later.text()
    text = json.dumps(details, separators=(",", ":"), ensure_ascii=False).encode()
    room = _text_bytes(raw)
    if len(text) > room:
        return raw
    head = _packed(header.byte_order, later.unix_ns // NS, text.ljust(room))
    return head.ljust(len(raw), b"\0")


def _packed(order: ByteOrder, seconds: int, text: bytes) -> bytes:
    numbers = ((0xFEFF, 2), (seconds, 8), (len(text), 8))
    head = b"".join(value.to_bytes(size, order, signed=value < 0) for value, size in numbers)
    return (V2_MAGIC + head + text).ljust(_padded(_TEXT_AT + len(text)), b"\0")


def _padded(nbytes: int) -> int:
    return -(-nbytes // WORD_BYTES) * WORD_BYTES


def _text_bytes(raw: bytes) -> int:
    length = int.from_bytes(raw[_LENGTH_AT:_TEXT_AT], v2_byte_order(raw))
    if not 2 <= length <= MAX_TEXT_BYTES:
        raise StreamFormatError(
            f"V2 header announces {length} bytes of JSON, from 2 to {MAX_TEXT_BYTES} are possible: it is damaged"
        )
    return length


def _details(raw: bytes) -> dict[str, Any]:
    """Return the JSON."""
    text = v2_text(raw)
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise StreamFormatError(f"V2 header is not JSON ({error}): it is damaged") from error
    if not isinstance(found, dict):
        raise StreamFormatError(f"V2 header is JSON, but a {type(found).__name__}, not an object")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count(details: dict[str, Any], key: str, most: int) -> int:
    value = details.get(key)
    if not _is_count(value) or value > most:
        stated = json.dumps(value)[:40] if key in details else "nothing"
        raise StreamFormatError(f"V2 header says {stated} for {key}; a whole number up to {most} is needed")
    return value


def _skip(details: dict[str, Any], warnings: list[str]) -> int:
    if details.get("skip_num") is None:
        warnings.append("header has no skip_num: taken as 0; give the rate if it is another")
        return 0
    return _count(details, "skip_num", _MAX_SKIP)


def _base_rate_hz(details: dict[str, Any], warnings: list[str]) -> int:
    speed = details.get("speed")
    if speed is None:
        warnings.append("header has no speed: rate taken as that of 20 MHz; give the rate if it is another")
        return FAST_HZ
    first = speed[:1].lower() if isinstance(speed, str) else ""
    if first not in ("l", "h"):
        raise StreamFormatError(f"V2 header says speed {json.dumps(speed)[:40]}; Low or High is needed")
    return SLOW_HZ if first == "l" else FAST_HZ


def _num_words(details: dict[str, Any], warnings: list[str]) -> int | None:
    value = details.get("num_samples")
    if _is_count(value):
        return value or None
    warnings.append(f"header says {json.dumps(value)[:40]} for num_samples, which is not a number of words")
    return None


def _m_offset(details: dict[str, Any], warnings: list[str]) -> int:
    value = details.get("m_offset")
    if value is None:
        warnings.append("header has no m_offset: phase is counted from the file's first word")
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MAX_OFFSET:
        raise StreamFormatError(
            f"V2 header says {json.dumps(value)[:40]} for m_offset; a whole number within ±{_MAX_OFFSET} is needed"
        )
    return value


def _start(
    details: dict[str, Any], seconds: int, warnings: list[str], problems: list[str]
) -> StartTime | None:
    """Return the first word's time: the JSON's, which is exact, or the whole seconds before it."""
    from datetime import UTC, datetime

    try:
        whole: datetime | None = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        whole = None
    text = details.get("file_start")
    exact = _parse_zoned(text) if isinstance(text, str) else None
    if exact is None:
        stated = "has no file_start" if text is None else f"says {json.dumps(text)[:60]} for file_start"
        warnings.append(f"header {stated}: its start is known to the second" if whole else f"header {stated}")
        return None if whole is None else StartTime(seconds * NS, "T", 0, "Z")
    if whole is None or not -_APART_S < (exact.moment - whole).total_seconds() < 1 + _APART_S:
        at = whole or f"second {seconds}"
        problems.append(f"header says it begins at {exact.moment}, which is used, and at {at}")
    return exact


def _parse_zoned(text: str) -> StartTime | None:
    """Parse ``2025-02-18T17:03:08.123456789+08:00[Asia/Singapore]``; None if it is no time with a zone."""
    from datetime import datetime

    exact = parse_start(text)
    if exact is not None:
        return exact if exact.offset else None
    try:
        return start_in_form(datetime.fromisoformat(text.partition("[")[0]), "iso-ns")
    except ValueError:
        return None


def _filters(fold: Any) -> tuple[Any, ...]:
    """Return the filters of ``stream_fold``, which may be a list, one of an object's values, or a text."""
    if isinstance(fold, dict):
        lists = [value for value in fold.values() if isinstance(value, list)]
        return tuple(lists[0]) if len(fold) == len(lists) == 1 else (fold,) if fold else ()
    if isinstance(fold, list):
        return tuple(fold)
    return () if fold in (None, "") else (fold,)


def _fold_warnings(details: dict[str, Any]) -> Iterator[str]:
    filters = _filters(details.get("stream_fold"))
    if filters:
        names = ", ".join(_name(each) for each in filters)[:200]
        yield (
            f"stream_fold: the words went through software filters ({names}); the rate is that of skip_num, and "
            "lower if one of them decimates"
        )


def _name(filter_: Any) -> str:
    if isinstance(filter_, dict) and filter_:
        return ", ".join(map(str, filter_))
    return str(filter_)
