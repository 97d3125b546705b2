"""Rows of an index file, after it was found to be that of its file.

An index is believed if it says the file's size and time, and the rows of blocks all over the file are what these
blocks come to. Where times prove nothing, `SavedRows.proven` says so. Every row is read under its CRC.
"""

from __future__ import annotations

import os
import secrets
import struct
import weakref
from collections.abc import Iterable

import numpy as np

from fastcap._indexfile import (
    BLOCK_WORDS,
    GROUP_ROWS,
    HEADER_BYTES,
    ROW_BYTES,
    Head,
    Identity,
    IndexWriter,
    check_head,
    group_crcs,
    is_proven,
    unpack_head,
    unpack_identity,
)
from fastcap._indexrows import ROW, Rows, carry_of, rows_of, same_rows
from fastcap._stored import FileWords, close_fd

_SAMPLES = 4  # blocks compared with their rows before an index is used


class UnfitError(Exception):
    """An index is not that of its file, or damaged; the text says why."""


class SavedRows:
    """The rows in an index file, which stays open.

    Parameters
    ----------
    path : str
    stored : FileWords
        The words that the rows are to be of.
    wraps : int
        Rollovers of M before the first of them.

    Attributes
    ----------
    head : Head
    count : int
        Rows of use for the words that are there now: the last, of a block that has grown since, is not.
    proven : bool
        The file's times prove that its words are those of the rows; a capture that still runs only appends.

    Raises
    ------
    UnfitError
        It is not the file's index.
    OSError
        It cannot be read.
    """

    def __init__(self, path: str, stored: FileWords, wraps: int = 0) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, close_fd, self._fd)
        status = os.fstat(self._fd)
        try:
            raw = os.pread(self._fd, HEADER_BYTES, 0)
            self.head = unpack_head(raw, status.st_size)
            check_head(self.head, status.st_mtime_ns, stored.file_bytes, stored.offset, stored.mtime_ns)
        except ValueError as error:
            raise UnfitError(str(error)) from error
        file = Identity(stored.inode, stored.ctime_ns)
        self.proven = stored.path.endswith(".part") or is_proven(
            self.head, unpack_identity(raw), status.st_ctime_ns, stored.file_bytes, stored.mtime_ns, file
        )
        total = stored.count
        self.count = (
            self.head.rows if self.head.words == total else min(self.head.words, total) // BLOCK_WORDS
        )
        self._good = np.zeros(-(-self.head.rows // GROUP_ROWS), bool)
        self._check_samples(stored, wraps)

    def read(self, begin: int, end: int) -> Rows:
        """Return rows ``begin`` to ``end``.

        Raises
        ------
        UnfitError
            They are damaged.
        """
        first, last = begin // GROUP_ROWS, -(-end // GROUP_ROWS)
        if not self._good[first:last].all():
            self._check_groups(first, last)
        raw = os.pread(self._fd, (end - begin) * ROW_BYTES, HEADER_BYTES + begin * ROW_BYTES)
        if len(raw) != (end - begin) * ROW_BYTES:
            raise UnfitError("it became shorter while it was open")
        return np.frombuffer(raw, ROW)

    def _check_groups(self, first: int, last: int) -> None:
        begin, end = first * GROUP_ROWS, min(last * GROUP_ROWS, self.head.rows)
        raw = os.pread(self._fd, (end - begin) * ROW_BYTES, HEADER_BYTES + begin * ROW_BYTES)
        at = HEADER_BYTES + self.head.rows * ROW_BYTES + 4 * first
        crcs = os.pread(self._fd, 4 * (last - first), at)
        if len(crcs) != 4 * (last - first) or struct.unpack(f"<{last - first}I", crcs) != tuple(
            group_crcs(raw)
        ):
            raise UnfitError("its rows are damaged")
        self._good[first:last] = True

    def _check_samples(self, stored: FileWords, wraps: int) -> None:
        """Compare the rows of blocks all over the file with these blocks, the first among them."""
        for block in sorted({round(at) for at in np.linspace(0, self.count - 1, min(self.count, _SAMPLES))}):
            (row,) = rows = self.read(block, block + 1)
            if not block and carry_of(row).wraps != wraps:
                raise UnfitError(f"its rollovers count from {carry_of(row).wraps}, the file's from {wraps}")
            begin = block * BLOCK_WORDS
            words = stored.read(begin, min(begin + BLOCK_WORDS, stored.count))
            before = int(stored.read(begin - 1, begin).view(np.int64)[0] >> 48) if block else None
            fits = carry_of(row).last_m == before and same_rows(rows, rows_of(words, carry_of(row)))
            if not fits:
                raise UnfitError(f"its row {block} is not that of the file's words from {begin} on")


def save_rows(path: str, pieces: Iterable[Rows], head: Head, identity: Identity | None = None) -> None:
    """Write an index file whole, or not at all; ``identity`` is that of the file it is of.

    Raises
    ------
    OSError
        It cannot be written there.
    """
    temporary = f"{path}.{secrets.token_hex(2)}.part"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        writer = IndexWriter(lambda: fd)
        for rows in pieces:
            writer.add(np.ascontiguousarray(rows).tobytes())
        writer.finish(head, identity)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
