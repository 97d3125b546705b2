"""The words of a trace where they are stored: in a file, or in memory.

Nothing of a file is mapped: a mapped file that becomes shorter, or whose disk fails, kills whoever touches what is
gone. All words of a file come through `FileWords`, which reads them into memory of this process and raises
an error where it cannot. No numpy is needed to open a file: importing that takes longer than all else.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastcap.errors import StreamFormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastcap.words import Carry

    Words = NDArray[np.uint64]
    Floats = NDArray[np.float64]

WORD_BYTES = 8
PIECE_WORDS = 1 << 16  # that stay in cache
_MOST_THREADS = 2  # that decode: a capture may run on the same machine
_WORTH_THREADS = 1 << 18  # words


class Stored(ABC):
    """Words in memory, or of a file: see `FileWords`.

    Attributes
    ----------
    count : int
        How many words there are.
    """

    count: int

    @abstractmethod
    def read(self, begin: int, end: int) -> Words:
        """Return words ``begin`` to ``end``, ``(n,) uint64``, in memory; read-only where they are a file's."""

    @abstractmethod
    def pieces(self, begin: int, end: int) -> Iterator[Words]:
        """Yield words ``begin`` to ``end`` in pieces; each is valid until the next."""

    @abstractmethod
    def decode(
        self, begin: int, end: int, phase: Floats | None, radius: Floats | None, carry: Carry | None = None
    ) -> None:
        """Fill phase and radius, those that are given, of words ``begin`` to ``end``; see `fastcap.words`."""

    @abstractmethod
    def check(self, end: int) -> None:
        """Check that the words before ``end`` are still there, without reading them.

        Raises
        ------
        StreamFormatError
            The file became shorter.
        """


class InMemory(Stored):
    """Words of an array, which is kept, not copied."""

    def __init__(self, words: Words) -> None:
        self.count = int(words.size)
        self._words = words

    def read(self, begin: int, end: int) -> Words:
        """Return a view of the array."""
        return self._words[begin:end]

    def pieces(self, begin: int, end: int) -> Iterator[Words]:
        """Yield views of the array."""
        for at in range(begin, end, PIECE_WORDS):
            yield self._words[at : min(end, at + PIECE_WORDS)]

    def decode(
        self, begin: int, end: int, phase: Floats | None, radius: Floats | None, carry: Carry | None = None
    ) -> None:
        """Fill phase and radius, those that are given."""
        _decode_into(self._words[begin:end], phase, radius, carry, threads=_threads(end - begin))

    def check(self, end: int) -> None:
        """Do nothing: they are."""


class FileWords(Stored):
    """Words of a file, read when they are asked for and not kept.

    Every method raises StreamFormatError if the file became shorter or the disk cannot read it.

    Parameters
    ----------
    path : str
        Named in errors.
    fd : int
        The file, open for reading; stays the caller's.
    offset : int
        Byte at which its words begin: any.
    swapped : bool
        The bytes of its words lie in the other order than this machine's.
    """

    def __init__(self, path: str, fd: int, offset: int, *, swapped: bool = False) -> None:
        status = os.fstat(fd)
        self.path = path
        self.offset = offset
        self.file_bytes = status.st_size
        self.mtime_ns = status.st_mtime_ns
        self.device, self.inode = status.st_dev, status.st_ino
        self.ctime_ns = status.st_ctime_ns
        self.count = max(0, self.file_bytes - offset) // WORD_BYTES
        self.swapped = swapped
        self._fd = os.dup(fd)
        weakref.finalize(self, close_fd, self._fd)

    def is_unchanged(self) -> bool:
        """Tell whether the file is as it was opened, or has only grown."""
        try:
            now = os.stat(self.path)
        except OSError:
            return False
        same = (now.st_dev, now.st_ino) == (self.device, self.inode)
        return same and (now.st_size > self.file_bytes or now.st_mtime_ns == self.mtime_ns)

    def read(self, begin: int, end: int) -> Words:
        """Return a copy of words ``begin`` to ``end``."""
        from fastcap._arrays import new_array

        words: Words = new_array(max(0, end - begin), "u8")
        self._fill(words, begin)
        words.flags.writeable = False
        return words

    def pieces(self, begin: int, end: int) -> Iterator[Words]:
        """Yield copies of words ``begin`` to ``end``, all in the same memory."""
        import numpy as np

        buffer = np.empty(min(PIECE_WORDS, max(0, end - begin)), np.uint64)
        shown = buffer[:]
        shown.flags.writeable = False
        for at in range(begin, end, PIECE_WORDS):
            size = min(PIECE_WORDS, end - at)
            self._fill(buffer[:size], at)
            yield shown[:size]

    def _fill(self, words: Words, begin: int) -> None:
        """Read ``words`` from word ``begin`` on."""
        left, at = words.view("u1").data, self.offset + begin * WORD_BYTES
        while left.nbytes:
            try:
                got = os.preadv(self._fd, [left], at)
            except OSError as error:
                raise self._unreadable(error) from error
            if not got:
                raise self._shorter()
            left, at = left[got:], at + got
        if self.swapped:
            words.byteswap(inplace=True)

    def decode(
        self, begin: int, end: int, phase: Floats | None, radius: Floats | None, carry: Carry | None = None
    ) -> None:
        """Fill phase and radius, those that are given, in one pass by up to two threads."""
        outs = [out for out in (phase, radius) if out is not None]
        if all(out.flags.carray for out in outs):
            self._decode_whole(begin, end, phase, radius, carry)
            return
        at = 0
        for words in self.pieces(begin, end):
            part = slice(at, at + words.size)
            _decode_into(
                words,
                None if phase is None else phase[part],
                None if radius is None else radius[part],
                carry,
            )
            at += words.size

    def _decode_whole(
        self, begin: int, end: int, phase: Floats | None, radius: Floats | None, carry: Carry | None
    ) -> None:
        from fastcap import _decode
        from fastcap.words import put_state, state_of

        state, threads, at = state_of(carry), _threads(end - begin), begin
        while at < end:
            place = self.offset + at * WORD_BYTES
            outs = tuple(None if out is None else out[at - begin :] for out in (phase, radius))
            given = (self._fd, place, self.swapped, end - at, outs[0], outs[1])
            try:
                done, *advanced = _decode.decode_file(*given, *state, threads)
            except EOFError as error:
                raise self._shorter() from error
            except OSError as error:
                raise self._unreadable(error) from error
            at, state = at + done, (advanced[0], advanced[1])
        put_state(carry, state)

    def check(self, end: int) -> None:
        """Check that the words before ``end`` are still there, without reading them."""
        try:
            now = os.fstat(self._fd)
        except OSError as error:
            raise self._unreadable(error) from error
        if now.st_size < self.offset + end * WORD_BYTES:
            raise self._shorter()

    def _shorter(self) -> StreamFormatError:
        size = os.fstat(self._fd).st_size
        return StreamFormatError(
            f"{self.path}: became shorter while it was open: {size} bytes, {self.file_bytes} at first; load it again"
        )

    def _unreadable(self, error: OSError) -> StreamFormatError:
        return StreamFormatError(f"{self.path}: cannot be read: {error.strerror}")


def close_fd(fd: int) -> None:
    """Close a file that was only read: of a disk that has gone even that is an error, and of no use to anybody."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _threads(words: int) -> int:
    """Return how many threads are worth while for so many words."""
    return 1 if words < _WORTH_THREADS else min(_MOST_THREADS, len(os.sched_getaffinity(0)))


def _decode_into(
    words: Words, phase: Floats | None, radius: Floats | None, carry: Carry | None, threads: int = 1
) -> None:
    from fastcap import words as fw

    if phase is not None and radius is not None:
        fw.phase_radius(words, phase, radius, carry, threads)
    elif phase is not None:
        fw.phase(words, phase, carry, threads)
    elif radius is not None:
        fw.radius(words, radius, threads)
