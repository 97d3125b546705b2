"""Where a file's M rolls over: read from a V2 file's table, or found in its words.

A table is an index: it gives the phase of any window without the words before it. It is believed where it has
room left, its entries are in order and within the file, and M steps where some of them, all over the file, say so.
One without any entry says nothing: it may as well never have been filled.
Entries are kept without numpy, which opening a file does not need.
"""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_left
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastcap import words as fw
    from fastcap._stored import Stored
    from fastcap.v2header import V2Header

WORD_BYTES = 8
HALF_RANGE = 0x8000  # a step of M of more than this is a rollover: the other way round is shorter
_MINUS = 1 << 63
_READ_ENTRIES = 1 << 14
_SAMPLES = 16  # entries compared with the words when a file is opened


class Rollovers:
    """Words at which M rolls over, from a file's first word on as far as they are known.

    Parameters
    ----------
    words : array of "q"
        Their indices, rising.
    steps : array of "b"
        What each adds to the count of rollovers: 1 where M jumps up, -1 where it jumps down.
    before : int
        The count before the file's first word.
    known : int, optional
        As many words of the file have been looked at; None: all, however many there are.
    """

    def __init__(
        self, words: array[int], steps: array[int], before: int = 0, known: int | None = None
    ) -> None:
        self.words, self.steps = words, steps
        self.before = before
        self.known = known
        self._counts = array("q", accumulate(steps, initial=before))
        self._looked: tuple[int, fw.Carry] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return Rollovers, (self.words, self.steps, self.before, self.known)

    def count_before(self, word: int) -> int:
        """Return the count of rollovers before ``word``, which is at most `known`."""
        return self._counts[bisect_left(self.words, word)]

    def carry_before(self, word: int, stored: Stored) -> fw.Carry:
        """Return the rollover state before ``word``; words behind the known ones are read, once.

        Raises
        ------
        StreamFormatError
            They cannot be read.
        """
        from fastcap import words as fw

        at = word if self.known is None else min(word, self.known)
        if self._looked is not None and at < self._looked[0] <= word:
            at, found = self._looked
            carry = fw.Carry(found.wraps, found.last_m)
        else:
            carry = fw.Carry(self.count_before(at), None if at == 0 else _m(stored, at - 1))
        if at < word:
            for piece in stored.pieces(at, word):
                fw.advance(carry, piece)
            self._looked = word, fw.Carry(carry.wraps, carry.last_m)
        return carry

    def differences(self, found: Rollovers) -> list[str]:
        """Return in what these differ from those found in the words, at most one line."""
        upto = len(found.words) if self.known is None else bisect_left(found.words, self.known)
        if self.words == found.words[:upto] and self.steps == found.steps[:upto]:
            return []
        pairs = zip_longest(
            zip(self.words, self.steps, strict=True), zip(found.words, found.steps, strict=True)
        )
        told, true = next((a, b) for a, b in pairs if a != b)
        said = f"one at word {told[0]}" if told else "none"
        there = f"one at word {true[0]}" if true else "none"
        count = bisect_left(self.words, min(each[0] for each in (told, true) if each))
        return [f"rollover table: after {count} that are right it says {said}, its words show {there}"]


def _m(stored: Stored, word: int) -> int:
    import numpy as np

    return int(stored.read(word, word + 1).view(np.int64)[0] >> 48)


def find_rollovers(
    stored: Stored, before: int = 0, progress: Callable[[int], None] | None = None
) -> Rollovers:
    """Return the rollovers of all words, ``before`` of them before the first; reads them, in constant memory.

    Raises
    ------
    StreamFormatError
        The words cannot be read.
    """
    import numpy as np

    words, steps = array("q"), array("b")
    at, last = 0, None
    for piece in stored.pieces(0, stored.count):
        m = (piece.view(np.int64) >> 48).astype(np.int32)
        step = np.diff(m, prepend=m[:1] if last is None else last)
        found = np.flatnonzero(np.abs(step) > HALF_RANGE)
        words.extend((found + at).tolist())
        steps.extend(np.sign(step[found]).tolist())
        at, last = at + m.size, int(m[-1])
        if progress is not None:
            progress(piece.nbytes)
    return Rollovers(words, steps, before)


def read_table(header: V2Header, fd: int, *, count: int, whole: bool) -> tuple[Rollovers | None, list[str]]:
    """Read the table of a V2 file, and compare some of it with the words.

    Parameters
    ----------
    header : V2Header
    fd : int
        The file, open for reading.
    count : int
        Words that it holds.
    whole : bool
        Nothing was cut off, and the table was written when the words were known: what it leaves out did not happen.

    Returns
    -------
    rollovers : Rollovers or None
        None where the table says nothing, or is not believed.
    problems : list of str
        Why it is not.
    """
    entries = _used_entries(header, fd)
    if not entries:
        return None, []
    words = array("q", (entry & ~_MINUS for entry in entries))
    steps = array("b", (1 if entry & _MINUS else -1 for entry in entries))
    if not whole:  # of the words that are gone
        there = bisect_left(words, count) if _rising(words) else len(words)
        del words[there:], steps[there:]
    problem = _contradiction(header, fd, words, steps, count)
    if problem is not None:
        return None, [f"rollover table: {problem}; it is not used, rollovers are found in the words"]
    complete = whole and len(words) < header.table_entries
    if not words:
        return None, []
    known = None if complete else words[-1] + 1
    return Rollovers(words, steps, -header.m_offset, known), []


def _used_entries(header: V2Header, fd: int) -> array[int]:
    """Return the table's entries before the first unused one."""
    entries = array("Q")
    end = header.table_offset + WORD_BYTES * header.table_entries
    at = header.table_offset
    while at < end:
        raw = os.pread(fd, min(end - at, WORD_BYTES * _READ_ENTRIES), at)
        part = array("Q")
        part.frombytes(raw[: len(raw) - len(raw) % WORD_BYTES])
        if header.byte_order != sys.byteorder:
            part.byteswap()
        used = part.index(0) if 0 in part else len(part)
        entries.extend(part[:used])
        if used < len(part) or not part:
            break
        at += WORD_BYTES * len(part)
    return entries


def _rising(words: array[int]) -> bool:
    return all(a < b for a, b in pairwise(words))


def _contradiction(header: V2Header, fd: int, words: array[int], steps: array[int], count: int) -> str | None:
    """Return in what the table contradicts itself or the words."""
    if not words:
        return None
    if not _rising(words):
        return "its entries do not rise"
    if words[0] == 0:
        return "it says that M rolls over at word 0, before which there is none"
    if words[-1] >= count:
        return f"it says that M rolls over at word {words[-1]} of {count}"
    for k in sorted({round(n * (len(words) - 1) / _SAMPLES) for n in range(_SAMPLES + 1)}):
        pair = os.pread(fd, 2 * WORD_BYTES, header.header_bytes + WORD_BYTES * (words[k] - 1))
        before, at = (_m_of(pair[n : n + WORD_BYTES], header.byte_order) for n in (0, WORD_BYTES))
        if (at - before) * steps[k] <= HALF_RANGE:
            return f"it says that M rolls over at word {words[k]}, but there it goes from {before} to {at}"
    return None


def _m_of(word: bytes, order: str) -> int:
    return int.from_bytes(word[-2:] if order == "little" else word[:2], order, signed=True)  # type: ignore[arg-type]
