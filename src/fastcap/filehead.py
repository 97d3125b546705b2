"""Where the data of a file begin, and its header: from its first bytes and, where there is one, its sidecar.

payload= of whoever asks > the sidecar's ``core:header_bytes`` > the header's text > 8n
"""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

import msgspec

from fastcap.errors import StreamFormatError
from fastcap.payload import (
    AUTO,
    NO_HEADER,
    ONLY_BINARY,
    V2_LAYOUT,
    WITHOUT_HEADER,
    WORD_BYTES,
    Layout,
    NoMagicError,
    TornHeaderError,
    find_layout,
    layout_of_size,
)
from fastcap.stream import Header, parse_found_header
from fastcap.v2header import is_v2, parse_v2_header, read_v2_header, v2_byte_order, v2_extent

__all__ = ["FileHead", "read_head"]

_READ_BYTES = 4096  # holds the usual header


class FileHead(msgspec.Struct, frozen=True):
    """What a file begins with.

    Attributes
    ----------
    layout : Layout
        Where data begin, and how that is known.
    header : Header or None
        None: there is none, or `problem` says why it cannot be read.
    problem : str or None
        One line.
    doubt : str or None
        The header's text says that data begin elsewhere than the sidecar does; one line.
    swapped : bool
        The bytes of its words lie in the other order than this machine's.
    """

    layout: Layout
    header: Header | None = None
    problem: str | None = None
    doubt: str | None = None
    swapped: bool = False

    @property
    def begin(self) -> int:
        """Byte at which data begin."""
        return self.layout.header_bytes


def read_head(file: BinaryIO, payload: str = AUTO, sidecar: dict[str, Any] | None = None) -> FileHead:
    """Read a file's beginning.

    Parameters
    ----------
    file : binary file
        Is read from its first byte on, wherever it stands.
    payload : {"auto", "8n", "8n+8", "none"}
        With "auto" the sidecar is believed, and without one the header's text.
    sidecar : dict, optional
        As `fastcap.sidecar.load_sidecar` gives it.

    Raises
    ------
    StreamFormatError
        The file is empty; has no header where nobody said so; is torn within it; holds text instead of words; or
        its sidecar is another file's.
    """
    stated = sidecar["captures"][0].get("core:header_bytes", 0) if sidecar and payload == AUTO else None
    if payload == NO_HEADER:
        return FileHead(Layout(NO_HEADER, "option"), problem="none was asked for")
    if stated == 0:
        return FileHead(Layout(NO_HEADER, _recorded(sidecar, "sidecar")), problem="recorded without a header")
    file.seek(0)
    head = file.read(_READ_BYTES)
    if is_v2(head, payload):
        return _v2_head(file, stated)
    if len(head) < WORD_BYTES:
        if head:
            return FileHead(
                Layout(NO_HEADER, "torn"), problem=f"header is torn: {len(head)} bytes are no word"
            )
        raise StreamFormatError("0 bytes: nothing was recorded, or not yet")
    try:
        head, found = _found(file, head, payload)
    except TornHeaderError as error:
        raise StreamFormatError(f"{error}; nothing was recorded, or not yet") from error
    except StreamFormatError as error:
        raise StreamFormatError(f"{error}{_remedy(error, stated)}") from error
    if stated is None:
        return _parsed(head, found)
    believed = layout_of_size(head, stated, _recorded(sidecar, "sidecar"))
    if believed is None:
        raise StreamFormatError(
            f"its sidecar says that data begin at byte {stated}, its header that they do at {found.header_bytes}: "
            "one of them is another file's; say payload='8n' (--payload 8n) to believe the header"
        )
    return _parsed(head, believed, doubt=_doubt(sidecar, believed, found))


def _v2_head(file: BinaryIO, stated: int | None) -> FileHead:
    """Read a V2 file's header; one that says where data begin, but not their rate, is a problem of the file."""
    raw = read_v2_header(file, os.fstat(file.fileno()).st_size)
    begin, swapped = v2_extent(raw)[0], v2_byte_order(raw) != sys.byteorder
    if stated not in (None, begin):
        raise StreamFormatError(
            f"its sidecar says that data begin at byte {stated}, its header that they do at {begin}: "
            "one of them is another file's; move the sidecar away to believe the header"
        )
    layout = Layout(V2_LAYOUT, "magic", 0, begin)
    try:
        return FileHead(layout, header=parse_v2_header(raw), swapped=swapped)
    except StreamFormatError as error:
        return FileHead(layout, problem=str(error), swapped=swapped)


def _found(file: BinaryIO, head: bytes, payload: str) -> tuple[bytes, Layout]:
    """Read on until the layout is known."""
    final = False
    while isinstance(found := find_layout(head, payload, final=final), int):
        more = file.read(max(_READ_BYTES, found - len(head)))
        head, final = head + more, not more
    return head, found


def _recorded(sidecar: dict[str, Any] | None, otherwise: str) -> str:
    """Return how the capture knew where data begin, as far as its sidecar says that."""
    payload = sidecar["global"].get("fastcap:payload") if sidecar else None
    return str(payload["known_by"]) if payload else otherwise


def _doubt(sidecar: dict[str, Any] | None, believed: Layout, found: Layout) -> str | None:
    """Return what is to be said of a sidecar that an earlier version wrote about a header as the lab's programs do."""
    known = sidecar is not None and "fastcap:payload" in sidecar["global"]
    if known or believed.name == found.name or found.known_by != "text":
        return None
    return (
        f"its sidecar says that data begin at byte {believed.header_bytes}, which is used; its header's text that "
        f"they do at {found.header_bytes}: say payload={found.name!r} (--payload {found.name}) to read them from there"
    )


def _parsed(head: bytes, layout: Layout, doubt: str | None = None) -> FileHead:
    try:
        return FileHead(layout, header=parse_found_header(head, layout), doubt=doubt)
    except StreamFormatError as error:
        if ONLY_BINARY in str(error):  # what follows are no words
            raise
        return FileHead(layout, problem=str(error), doubt=doubt)


def _remedy(error: StreamFormatError, stated: int | None) -> str:
    if ONLY_BINARY in str(error):
        return ""
    if stated is not None:
        return f"; but its sidecar says that data follow a header of {stated} bytes: is it another file's?"
    return f"; {WITHOUT_HEADER}" if isinstance(error, NoMagicError) else ""
