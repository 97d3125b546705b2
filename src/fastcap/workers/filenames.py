"""Names and headers of the files that one recording is split into."""

from __future__ import annotations

from fastcap.naming import alternative, plain_name, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MOST_CHECKED = 200_000  # names that are looked for at the start; a run of more files is checked up to here


class FileNames:
    """The names of one recording's files; one that others have taken is replaced by the next free one.

    Parameters
    ----------
    names : dict
        See `file_name`; and ``taken``: by file number (as text), which alternative a predecessor came to; ``plain``:
        the file system does not take the names as they are; ``fixed``: somebody chose this very name.

    Attributes
    ----------
    plain : bool
        Names hold plain characters only: see `fastcap.naming.plain_name`.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self.plain: bool = names.get("plain", False)
        self._number: dict[int, int] = {int(k): number for k, number in names.get("taken", {}).items()}

    def wanted(self, index: int, first_word: int, given: str | None) -> str:
        """Return the name that a file would have if nobody else had it."""
        return file_name(self._names, index, first_word, given)

    def name(self, index: int, first_word: int, given: str | None) -> str:
        """Return a file's name."""
        wanted = self.wanted(index, first_word, given)
        return alternative(plain_name(wanted) if self.plain else wanted, self.number(index))

    @property
    def can_be_plain(self) -> bool:
        """Other names may be taken where the file system does not take these."""
        return not self.plain and not self._names.get("fixed")

    def number(self, index: int) -> int:
        """Return which alternative a file has come to; 1 is the name that was wanted."""
        return self._number.get(index, 1)

    def go_to(self, index: int, number: int) -> None:
        """Take another alternative."""
        self._number[index] = number


def needed(names: dict[str, Any]) -> Iterator[str]:
    """Yield every name that is known to be needed: by this recording, and by those that follow it.

    ``files`` and ``file_words`` of ``names`` say how many files a recording has, and how long they are; ``later``
    lists the ``base`` of each later recording.
    """
    left = _MOST_CHECKED
    for base in (names["base"], *names.get("later", ())):
        for index in range(min(left, names.get("files") or 1)):
            yield file_name({**names, "base": base}, index, index * names.get("file_words", 0))
            left -= 1


def file_name(names: dict[str, Any], index: int, first_word: int, given: str | None = None) -> str:
    """Return a file's name.

    Parameters
    ----------
    names : dict
        ``base`` (without .bin); for split recordings also ``split`` (True) and, where the name is the time,
        ``start`` (ISO 8601), ``offset`` (of its zone: True), ``suffix`` and ``rate`` ([numerator, denominator],
        words per second).
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
    return f"{stamp(begun, offset=bool(names.get('offset')))}{names['suffix']}.bin"


def header_text(header: bytes) -> str | None:
    """Return the text of a whole header, that before the magic word left out; None: there is no header."""
    from fastcap.payload import MAGIC, V2_MAGIC

    if not header:
        return None
    if header.startswith(V2_MAGIC):
        from fastcap.v2header import v2_text

        return v2_text(header).decode("utf-8", "replace")
    return header[header.find(MAGIC) + len(MAGIC) :].partition(b"\0")[0].decode("utf-8", "replace")


def shifted_header(header: bytes, first_word: int, stated: list[int] | None = None) -> bytes:
    """Return a whole header with `recording start` moved on to ``first_word``, in its own form; same length.

    What stands before the magic word stays: words begin at the same byte in every file of a recording. ``stated`` is
    the rate, words per second as [numerator, denominator]; None: the header's own.
    """
    from fastcap.errors import StreamFormatError
    from fastcap.payload import V2_MAGIC
    from fastcap.stream import parse_whole_header, rewrite_start

    if not header or not first_word:
        return header
    try:
        parsed = parse_whole_header(header)
    except StreamFormatError:  # the report says so; the words are good all the same
        return header
    if parsed.start_time is None:
        return header
    numerator, denominator = stated or parsed.sample_rate_hz.as_integer_ratio()
    elapsed_ns = first_word * denominator * 1_000_000_000 // numerator
    if header.startswith(V2_MAGIC):
        from fastcap.v2header import later_v2_header

        return later_v2_header(header, elapsed_ns)
    return rewrite_start(header, parsed.start_time.later(elapsed_ns))


def words_before(header: bytes) -> tuple[int, bool]:
    """Return what an index must know of a whole header: rollovers before the first word, and if words are swapped."""
    from fastcap.payload import V2_MAGIC

    if not header.startswith(V2_MAGIC):
        return 0, False
    import sys

    from fastcap.errors import StreamFormatError
    from fastcap.v2header import parse_v2_header, v2_byte_order

    swapped = v2_byte_order(header) != sys.byteorder
    try:
        return parse_v2_header(header).wraps, swapped
    except StreamFormatError:  # the report says so
        return 0, swapped


def _elapsed(words: int, numerator: int, denominator: int) -> Any:
    from datetime import timedelta

    return timedelta(microseconds=words * denominator * 1_000_000 // numerator)
