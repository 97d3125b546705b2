"""The words of a trace where they are stored: mapped from a file, or in memory.

A mapped file that becomes shorter kills whoever touches what is gone. What reads through `Stored.read` asks
the kernel for the pages first, and gets an error instead. A file is mapped without numpy, which its words need:
importing that takes longer than everything else that opens a trace.
"""

from __future__ import annotations

import errno
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from fastcap.errors import StreamFormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

WORD_BYTES = 8
PIECE_WORDS = 1 << 18
_MADV_POPULATE_READ = 22  # Linux 5.14: read the pages now, and fail rather than kill
_PAGE = mmap.ALLOCATIONGRANULARITY


class Stored(ABC):
    """Words in memory, or of a file: see `Mapped`.

    Attributes
    ----------
    count : int
        How many words there are.
    """

    count: int

    @property
    @abstractmethod
    def words(self) -> Words:
        """All words, ``(count,) uint64``, read-only where they are a file's."""

    def view(self, begin: int, end: int) -> Words:
        """Return words ``begin`` to ``end``, of which a file's may be read when they are touched."""
        return self.words[begin:end]

    def read(self, begin: int, end: int) -> Words:
        """Return words ``begin`` to ``end``, in memory."""
        return self.words[begin:end]

    def pieces(self, begin: int, end: int) -> Iterator[Words]:
        """Yield words ``begin`` to ``end`` in pieces of at most 2 MiB; each is in memory until the next."""
        for at in range(begin, end, PIECE_WORDS):
            yield self.read(at, min(end, at + PIECE_WORDS))

    @abstractmethod
    def release(self, begin: int, end: int) -> None:
        """Say that words ``begin`` to ``end`` will not be needed soon."""


class InMemory(Stored):
    """Words of an array, which is kept, not copied."""

    def __init__(self, words: Words) -> None:
        self.count = int(words.size)
        self._words = words

    @property
    def words(self) -> Words:
        """The array."""
        return self._words

    def release(self, begin: int, end: int) -> None:
        """Do nothing: the array is the caller's."""


class Mapped(Stored):
    """Words of a file, of which memory holds what was looked at last.

    Parameters
    ----------
    path : str
        Named in errors.
    fd : int
        The file, open for reading; stays the caller's.
    offset : int
        Byte at which its words begin.
    """

    def __init__(self, path: str, fd: int, offset: int) -> None:
        status = os.fstat(fd)
        self.path = path
        self.offset = offset
        self.file_bytes = status.st_size
        self.mtime_ns = status.st_mtime_ns
        self.device, self.inode = status.st_dev, status.st_ino
        self.count = max(0, self.file_bytes - offset) // WORD_BYTES
        self._mapping = mmap.mmap(fd, self.file_bytes, prot=mmap.PROT_READ) if self.count else None

    @property
    def words(self) -> Words:
        """All words, ``(count,) uint64``: a read-only view of the mapping."""
        return self._as_stored

    @cached_property
    def _as_stored(self) -> Words:
        import numpy as np

        if self._mapping is None:
            return np.empty(0, np.uint64)
        return np.frombuffer(self._mapping, "<u8", self.count, self.offset).view(np.uint64)

    def is_unchanged(self) -> bool:
        """Tell whether the file is as it was opened, or has only grown."""
        try:
            now = os.stat(self.path)
        except OSError:
            return False
        same = (now.st_dev, now.st_ino) == (self.device, self.inode)
        return same and (now.st_size > self.file_bytes or now.st_mtime_ns == self.mtime_ns)

    def read(self, begin: int, end: int) -> Words:
        """Return words ``begin`` to ``end``, read into memory.

        Raises
        ------
        StreamFormatError
            The file became shorter, or the disk cannot read it.
        """
        return self._read_as_stored(begin, end)

    def _read_as_stored(self, begin: int, end: int) -> Words:
        if end > begin:
            self._populate(begin, end)
        return self._as_stored[begin:end]

    def _populate(self, begin: int, end: int) -> None:
        assert self._mapping is not None
        needed = self.offset + end * WORD_BYTES
        if (size := self._mapping.size()) < needed:
            raise StreamFormatError(
                f"{self.path}: became shorter while it was open: {size} bytes, {self.file_bytes} at first; "
                "load it again"
            )
        start = (self.offset + begin * WORD_BYTES) // _PAGE * _PAGE
        try:
            self._mapping.madvise(_MADV_POPULATE_READ, start, needed - start)
        except OSError as error:
            if error.errno != errno.EINVAL:  # an older kernel: the pages come when they are touched
                raise StreamFormatError(f"{self.path}: cannot be read: {error.strerror}") from error

    def release(self, begin: int, end: int) -> None:
        """Let go of the pages of words ``begin`` to ``end``; they come back when they are touched."""
        first = -(-(self.offset + begin * WORD_BYTES) // _PAGE) * _PAGE
        last = (self.offset + end * WORD_BYTES) // _PAGE * _PAGE
        if self._mapping is not None and last > first:
            self._mapping.madvise(mmap.MADV_DONTNEED, first, last - first)


class Swapped(Mapped):
    """Words of a file that were written in the other byte order; every one that is asked for is a copy."""

    @property
    def words(self) -> Words:
        """All words, ``(count,) uint64``, swapped: as much memory as the file has data."""
        return self.read(0, self.count)

    def view(self, begin: int, end: int) -> Words:
        """Return words ``begin`` to ``end``, read into memory."""
        return self.read(begin, end)

    def read(self, begin: int, end: int) -> Words:
        """Return words ``begin`` to ``end``, read into memory and swapped; see `Mapped.read`."""
        return self._read_as_stored(begin, end).byteswap()
