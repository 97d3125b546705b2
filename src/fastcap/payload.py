"""Where the data of a stream or file begin: told from its first bytes.

    text before the magic | magic word, n | header text, NUL ... | data words
                          ^ byte 0 of what follows               ^ byte 8n, or 8n+8

``n`` counts the magic word: data begin at byte 8n of the header (layout "8n"). fastcap's emulator once took n for the
words of text alone ("8n+8"). A text of L bytes fills ceil(L/8) words, so the two can be told:

- a NUL within [8, 8n): the text ends there, and its last word lies before 8n. It is 8n.
- no NUL: either the text fills its last word, and data follow at 8n; or it goes on for one to eight bytes at 8n, and
  the rest of that word is NUL. Where the text before 8n is whole and does not go on, or the word cannot be its
  continuation, it is 8n; where only both together are whole, 8n+8. What is still open is taken as 8n.

Bytes behind the text's first NUL mean nothing: the board's program leaves stale ones there.
"""

from __future__ import annotations

import msgspec

from fastcap.errors import StreamFormatError
from fastcap.start_time import parse_start

__all__ = [
    "AUTO",
    "LAYOUTS",
    "NO_HEADER",
    "PAYLOADS",
    "Layout",
    "NoMagicError",
    "TornHeaderError",
    "check_payload",
    "find_layout",
]

WORD_BYTES = 8
MAGIC = bytes.fromhex("efcdab563412")  # what follows n_lo n_hi
PREAMBLE_BYTES = 64 << 10  # text before the magic word is looked through so far
MAX_HEADER_BYTES = WORD_BYTES * (0xFFFF + 1)  # without text before it
LOOK_BYTES = (
    PREAMBLE_BYTES + MAX_HEADER_BYTES + WORD_BYTES
)  # so much tells where data begin, whatever there is
V2_MAGIC = b"VHFV2BIN"
V2_LAYOUT = "v2"
AUTO, NO_HEADER = "auto", "none"
LAYOUTS = ("8n", "8n+8")
PAYLOADS = (AUTO, *LAYOUTS, NO_HEADER)
ONLY_BINARY = "only binary output (-b) is supported"
WITHOUT_HEADER = f"say payload={NO_HEADER!r} (--payload {NO_HEADER}) if it was recorded without a header"
START = "# recording start:"

_SPACES = b"\t\r\n"
_PRINTABLE = bytes(range(32, 127)) + _SPACES + bytes(range(128, 256))  # these if they are UTF-8


class NoMagicError(StreamFormatError):
    """The stream does not begin with the magic word, nor with text and then that."""


class TornHeaderError(StreamFormatError):
    """The stream ended within its header."""


class Layout(msgspec.Struct, frozen=True):
    """Where data begin, and how that is known.

    Attributes
    ----------
    name : {"8n", "8n+8", "v2", "none"}
        "none": there is no header; "v2": the file is a V2 file (`fastcap.v2header`).
    known_by : str
        "text": the header's text says so; "default": it cannot be told, and 8n is the rule; "option": whoever
        asked said so; "source": the configuration or URL says that there is no header; "sidecar": the file's
        sidecar says so; "magic": its first bytes say so; "no magic": the stream does not begin with a magic
        word, so it has no header; "torn": it ended within its header, so nothing of it is one; "too large":
        the ring does not hold its header, so it is taken for data.
    preamble_bytes : int
        Text before the magic word.
    header_bytes : int
        All that stands before the data, text before the magic word included.
    """

    name: str
    known_by: str
    preamble_bytes: int = 0
    header_bytes: int = 0

    def report(self) -> dict[str, str]:
        """Return what report and sidecar say of it."""
        return {"layout": self.name, "known_by": self.known_by}


def check_payload(payload: str | None) -> str:
    """Return how a header is to be read; None means "auto".

    Raises
    ------
    ValueError
        It is none of the known ways.
    """
    if payload is None:
        return AUTO
    if payload not in PAYLOADS:
        raise ValueError(f"payload {payload!r} is not one of {', '.join(PAYLOADS)}")
    return payload


def find_layout(head: bytes, payload: str = AUTO, *, final: bool = False) -> Layout | int:
    """Tell from the first bytes of a stream where its data begin.

    Parameters
    ----------
    head : bytes
        What is there so far, from the first byte on; more than is needed does no harm.
    payload : {"auto", "8n", "8n+8", "none"}
        The reading asked for.
    final : bool
        No more will come.

    Returns
    -------
    Layout or int
        With an int: so many bytes must be there to tell, more than there are.

    Raises
    ------
    NoMagicError
        There is no header.
    TornHeaderError
        It is not whole, and no more will come.
    StreamFormatError
        Its magic word counts no words.
    """
    if payload == NO_HEADER:
        return Layout(NO_HEADER, "option")
    if payload == AUTO and head[: len(V2_MAGIC)] == V2_MAGIC:
        return _find_v2(head, final)
    at = _find_magic(head, final)
    if at < 0:
        return -at
    words = int.from_bytes(head[at : at + 2], "little")
    if words == 0:
        raise StreamFormatError("magic word announces 0 words of header text; rate and start are unknown")
    wanted = at + WORD_BYTES * (words + (payload == "8n+8"))
    if len(head) < wanted:
        if final:
            raise TornHeaderError(
                f"header is torn: {len(head)} bytes are less than its header of {wanted} bytes"
            )
        return wanted
    if payload != AUTO:
        return Layout(payload, "option", at, wanted)
    text = bytes(head[at + WORD_BYTES : wanted])
    if b"\0" in text or text.endswith(b"\n"):
        return Layout("8n", "text", at, wanted)
    word = bytes(head[wanted : wanted + WORD_BYTES])
    if len(word) < WORD_BYTES and not final and text:
        return wanted + WORD_BYTES
    name, known_by = _by_next_word(text, word)
    return Layout(name, known_by, at, wanted + WORD_BYTES * (name == "8n+8"))


def layout_of_size(head: bytes, size: int, known_by: str | None = None) -> Layout | None:
    """Return the layout of a header that is known to be ``size`` bytes long; None: of neither is it that long.

    Without ``known_by`` it was decided by `find_layout`, and the text says so unless it breaks off.

    Raises
    ------
    StreamFormatError
        There is no header.
    """
    if size == 0:
        return Layout(NO_HEADER, known_by or "no magic")
    if head[: len(V2_MAGIC)] == V2_MAGIC:
        found = _find_v2(head, final=True)
        return found if isinstance(found, Layout) and found.header_bytes == size else None
    at = _find_magic(head, final=True)
    end = at + WORD_BYTES * int.from_bytes(head[at : at + 2], "little")
    if end == at or size not in (end, end + WORD_BYTES):
        return None
    text = bytes(head[at + WORD_BYTES : end])
    told = size > end or b"\0" in text or _is_whole(text)
    return Layout(LAYOUTS[size > end], known_by or ("text" if told else "default"), at, size)


def _find_v2(head: bytes, final: bool) -> Layout | int:
    """Tell where the data of a V2 stream begin: as soon as its JSON is there, its table of rollovers or not."""
    from fastcap.v2header import v2_extent

    wanted, known = v2_extent(head)
    if known:
        return Layout(V2_LAYOUT, "magic", 0, wanted)
    if final:
        raise TornHeaderError(f"V2 header is torn: {len(head)} of {wanted} bytes are there")
    return wanted


def _find_magic(head: bytes, final: bool) -> int:
    """Return where the magic word begins; below 0: minus the bytes that must be there to tell.

    Raises
    ------
    NoMagicError
    """
    if head[2:WORD_BYTES] == MAGIC:
        return 0
    if len(head) < WORD_BYTES:
        if final:
            raise NoMagicError(f"the stream ended after {len(head)} bytes, before its header")
        return -WORD_BYTES
    at = head.find(MAGIC, 2, PREAMBLE_BYTES + WORD_BYTES) - 2
    if at > 0 and _is_text(head[:at], whole=True):
        return at
    # the last seven bytes may be the beginning of the magic word
    so_far = bytes(head[: PREAMBLE_BYTES if final else len(head) - WORD_BYTES + 1])
    if at < 0 and not final and len(head) < PREAMBLE_BYTES + WORD_BYTES and _is_text(so_far, whole=False):
        return -(len(head) + 1)
    first = bytes(head[:WORD_BYTES])
    if first == V2_MAGIC:
        raise StreamFormatError("this is a V2 file, and is read as one: leave out payload (--payload)")
    hint = f"it looks like text: {ONLY_BINARY}" if _is_text(first, whole=False) else "is it a trace file?"
    raise NoMagicError(
        f"stream starts with {first.hex(' ')}, not with the magic word (n n {MAGIC.hex(' ')}); {hint}"
    )


def _is_text(data: bytes, *, whole: bool) -> bool:
    """Tell whether bytes are lines that can be printed; of those that are not whole the last may be missing."""
    if bytes(data).translate(None, _PRINTABLE):
        return False
    try:
        bytes(data).decode()
    except UnicodeDecodeError as error:
        return not whole and error.start > len(data) - 4 and error.reason == "unexpected end of data"
    return True


def _by_next_word(text: bytes, word: bytes) -> tuple[str, str]:
    """Decide for a text without NUL that does not end in a newline, by the word behind it."""
    more, _, rest = word.partition(b"\0")
    goes_on = bool(text and more) and not rest.strip(b"\0") and not more.translate(None, _PRINTABLE)
    if len(word) < WORD_BYTES or not goes_on:
        return "8n", "text" if text else "default"
    whole, longer = _is_whole(text), _is_whole(text + more)
    if longer and (not whole or _is_emulators(text + more)):
        return "8n+8", "text"
    return "8n", "text" if whole and not longer else "default"


def _is_whole(text: bytes) -> bool:
    """Tell whether a text stops where one may: behind a line, or behind a start time."""
    last = text.removesuffix(b"\n").rpartition(b"\n")[2].decode("latin-1")
    if last.startswith(START):
        return parse_start(last[len(START) :].strip()) is not None
    return text.endswith(b"\n")


def _is_emulators(text: bytes) -> bool:
    """Tell whether a text ends as the emulator's did, of which alone the layout 8n+8 is known."""
    last = text.removesuffix(b"\n").rpartition(b"\n")[2].decode("latin-1")
    start = parse_start(last[len(START) :].removeprefix(" ")) if last.startswith(START) else None
    return start is not None and (start.separator, start.digits, len(start.offset)) == (" ", 0, 6)
