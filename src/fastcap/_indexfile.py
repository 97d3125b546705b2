"""The index file `NAME.index` beside `NAME.bin`: its bytes, for whoever writes or reads it; without numpy.

A header of 128 bytes, one row of 80 bytes per block of 65,536 words, and a CRC-32 for every 64 rows, all
little-endian. The header says of which file the rows are: size, where data begin, time of last change, inode and
time of its last change. Nobody has to trust an index: `fastcap.index` compares it with its file, and makes it
again if it does not fit.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator

import msgspec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK_WORDS = 65_536
WORD_BYTES = 8
ROW_BYTES = 80
ROW_FORMAT = "<qiI8d"  # wraps, m_before, words; phase's, then radius' min, max, mean, m2
NO_WORD_BEFORE = 65_536  # as m_before of a file's first block
GROUP_ROWS = 64  # rows under one CRC
HEADER_BYTES = 128
MAGIC = b"FCINDEX1"
_HEADER = struct.Struct("<8s4I3QqQ")
_IDENTITY = struct.Struct("<Qq")  # behind the fields above; 0 in an index of an earlier version
_CRC = struct.Struct("<I")
_CLOCKS_NS = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000_000, 1000, 100)  # steps of file systems' times
_FLUSH_BYTES = 1 << 20


class Head(msgspec.Struct, frozen=True):
    """What an index says of its file.

    Attributes
    ----------
    file_bytes : int
        The file's size when it was looked at.
    data_offset : int
        Byte at which its data begin.
    words : int
        Words that the rows stand for, from the first on; fewer than the file's in an index not yet complete.
    mtime_ns : int
        The file's last change then, ns since 1970.
    """

    file_bytes: int
    data_offset: int
    words: int
    mtime_ns: int

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return -(-self.words // BLOCK_WORDS)

    @property
    def index_bytes(self) -> int:
        """Size of the index file."""
        return HEADER_BYTES + self.rows * ROW_BYTES + -(-self.rows // GROUP_ROWS) * _CRC.size

    @property
    def file_words(self) -> int:
        """Whole words that the file held."""
        return max(0, self.file_bytes - self.data_offset) // WORD_BYTES


class Identity(msgspec.Struct, frozen=True):
    """What only the file itself has, and no copy.

    Attributes
    ----------
    inode : int
        0: not known.
    ctime_ns : int
        The last change of its content, name or attributes, ns since 1970: nobody can set it.
    """

    inode: int = 0
    ctime_ns: int = 0

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Return that of a file by its `os.stat`."""
        return cls(status.st_ino, status.st_ctime_ns)


def index_path(bin_path: str | os.PathLike[str]) -> str:
    """Return where the index of ``bin_path`` stands, whether or not either exists."""
    return os.fspath(bin_path).removesuffix(".part").removesuffix(".bin") + ".index"


def pack_head(head: Head, identity: Identity | None = None) -> bytes:
    """Return the index file's first 128 bytes."""
    fields = _HEADER.pack(
        MAGIC, HEADER_BYTES, ROW_BYTES, BLOCK_WORDS, GROUP_ROWS,
        head.file_bytes, head.data_offset, head.words, head.mtime_ns, head.rows,
    )  # fmt: skip
    fields += _IDENTITY.pack(*msgspec.structs.astuple(identity or Identity()))
    body = fields.ljust(HEADER_BYTES - _CRC.size, b"\0")
    return body + _CRC.pack(zlib.crc32(body))


def unpack_head(raw: bytes, index_bytes: int) -> Head:
    """Return what an index file of ``index_bytes`` bytes that begins with ``raw`` says of its file.

    Raises
    ------
    ValueError
        It is no index, of another version, damaged, or truncated; the text says which.
    """
    if raw[: len(MAGIC)] != MAGIC:
        raise ValueError("it is no index of this version")
    if len(raw) < HEADER_BYTES or index_bytes < HEADER_BYTES:
        raise ValueError("it is truncated")
    body = raw[: HEADER_BYTES - _CRC.size]
    if _CRC.unpack_from(raw, len(body))[0] != zlib.crc32(body):
        raise ValueError("its header is damaged")
    _, *shape, file_bytes, data_offset, words, mtime_ns, rows = _HEADER.unpack_from(raw)
    head = Head(file_bytes, data_offset, words, mtime_ns)
    if shape != [HEADER_BYTES, ROW_BYTES, BLOCK_WORDS, GROUP_ROWS] or rows != head.rows:
        raise ValueError("it is no index of this version")
    if words > head.file_words:
        raise ValueError(f"it counts {words} words in a file of {head.file_words}")
    if index_bytes != head.index_bytes:
        raise ValueError(f"it is truncated: {index_bytes} bytes of {head.index_bytes}")
    return head


def unpack_identity(raw: bytes) -> Identity:
    """Return what an index file that begins with ``raw``, as `unpack_head` took it, knows of its file alone."""
    return Identity(*_IDENTITY.unpack_from(raw, _HEADER.size))


def is_proven(
    head: Head, noted: Identity, index_ctime_ns: int, file_bytes: int, mtime_ns: int, file: Identity
) -> bool:
    """Tell whether a file's times prove that it is as it was when its index was made.

    Size and time of last change are the index' own, but for what a file system's clock cannot tell: those of a
    copy that keeps times, too. Of the very same file, nothing has changed it since index and file were last
    written, renamed or moved. Otherwise it may be the file, but only its words can say so.
    """
    if head.file_bytes != file_bytes or not _same_time(head.mtime_ns, mtime_ns):
        return False
    return noted.inode != file.inode or file.ctime_ns <= max(noted.ctime_ns, index_ctime_ns)


def _same_time(noted_ns: int, found_ns: int) -> bool:
    """Tell whether two times are the same to the step of the coarser file system's clock."""
    if noted_ns == found_ns:
        return True
    return any(found_ns % step == 0 and abs(found_ns - noted_ns) < step for step in _CLOCKS_NS)


def check_head(head: Head, index_mtime_ns: int, file_bytes: int, data_offset: int, mtime_ns: int) -> None:
    """Check that an index can be that of a file of such size, place of data and time of last change.

    A file that has grown since is still the index's. A copy has a time of its own, but then its index, copied
    with it, is no older.

    Raises
    ------
    ValueError
        It cannot; the text says why.
    """
    if head.data_offset != data_offset:
        raise ValueError(f"it is of data from byte {head.data_offset} on, not {data_offset}")
    if head.file_bytes > file_bytes:
        raise ValueError(f"it is of a file of {head.file_bytes} bytes, not {file_bytes}")
    if head.file_bytes == file_bytes and head.mtime_ns != mtime_ns and index_mtime_ns < mtime_ns:
        raise ValueError("it is older than its file")


def cache_path(device: int, inode: int, data_offset: int) -> str:
    """Return where an index stands that cannot stand beside its file; its header says of which state of it."""
    home = os.environ.get("XDG_CACHE_HOME") or ""
    if not os.path.isabs(home):
        home = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "fastcap", f"{device:x}-{inode:x}-{data_offset}.index")


def index_state(bin_path: str | os.PathLike[str], status: os.stat_result, data_offset: int) -> dict[str, Any]:
    """Return ``index`` and ``index_words`` of a file's index, or ``index_problem``; all None: there is none.

    Only its header is read: whether the rows are those of the file is seen when they are used.
    """
    found: dict[str, Any] = {"index": None, "index_words": None, "index_problem": None}
    for path in (index_path(bin_path), cache_path(status.st_dev, status.st_ino, data_offset)):
        try:
            with open(path, "rb") as file:
                index = os.fstat(file.fileno())
                head = unpack_head(file.read(HEADER_BYTES), index.st_size)
            check_head(head, index.st_mtime_ns, status.st_size, data_offset, status.st_mtime_ns)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            found["index_problem"] = found["index_problem"] or f"{path}: {error}"
            continue
        return {"index": path, "index_words": head.words, "index_problem": None}
    return found


def group_crcs(rows: bytes | memoryview) -> Iterator[int]:
    """Yield the CRC of each group of ``rows``, the last of which may be short."""
    view = memoryview(rows).cast("B")
    for at in range(0, view.nbytes, GROUP_ROWS * ROW_BYTES):
        yield zlib.crc32(view[at : at + GROUP_ROWS * ROW_BYTES])


class IndexWriter:
    """Writes an index file from its first row to its last, in fixed memory but for a CRC per 32 MiB of file.

    Parameters
    ----------
    open_file : callable
        Returns an empty file's descriptor, which stays the caller's; called when there is something to write.
        The header comes last: until `finish` has returned it is no index.
    """

    def __init__(self, open_file: Callable[[], int]) -> None:
        self._open_file = open_file
        self._fd = -1
        self._waiting = bytearray()
        self._crcs: list[int] = []
        self._written = HEADER_BYTES

    def add(self, rows: bytes | memoryview) -> None:
        """Take in whole rows.

        Raises
        ------
        OSError
            They are taken in, and written by a later call.
        """
        self._waiting += rows
        if len(self._waiting) >= _FLUSH_BYTES:
            whole = len(self._waiting) - len(self._waiting) % (GROUP_ROWS * ROW_BYTES)
            self._flush(whole)

    def _flush(self, size: int) -> None:
        rows = bytes(self._waiting[:size])
        self._put(rows, self._written)
        self._crcs.extend(group_crcs(rows))
        self._written += size
        del self._waiting[:size]

    def _put(self, data: bytes, offset: int) -> None:
        if self._fd < 0:
            self._fd = self._open_file()
        view = memoryview(data)
        while view.nbytes:
            done = os.pwrite(self._fd, view, offset)
            offset += done
            view = view[done:]

    def finish(self, head: Head, identity: Identity | None = None) -> None:
        """Write what is left and the header.

        Raises
        ------
        OSError
            Call it again.
        ValueError
            ``head`` counts other words than there are rows of.
        """
        self._flush(len(self._waiting))
        if self._written != HEADER_BYTES + head.rows * ROW_BYTES:
            rows = (self._written - HEADER_BYTES) // ROW_BYTES
            raise ValueError(f"{rows} rows cannot be those of {head.words} words, which are {head.rows}")
        self._put(b"".join(map(_CRC.pack, self._crcs)), self._written)
        self._put(pack_head(head, identity), 0)
