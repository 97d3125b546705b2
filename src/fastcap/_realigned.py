"""Words behind byte slips, put together again: `fastcap.load` with ``realign=True``.

A file's data are stretches of bytes between losses: a slip of a few bytes, or a gap of whole words, which behind a
slip cuts words in two. Byte x of a stretch was byte x + (all bytes lost before it) of the source. Words are where the
source's were, those whose bytes are all there; the others are lost, and each stretch begins behind a gap.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap._stored import PIECE_WORDS, WORD_BYTES, FileWords, Stored
from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap, exact_gaps
from fastcap.slips import PLACES, Slip, find_slips

if TYPE_CHECKING:
    from fastcap._stored import Floats, Words
    from fastcap.words import Carry

_MOST = 256  # stretches, each of which holds a descriptor


class _Loss(msgspec.Struct, frozen=True):
    """Bytes missing before byte ``at`` of the data."""

    at: int
    count: int
    stage: str


class _Stretch(msgspec.Struct, frozen=True):
    """Whole words from byte ``begin`` of the data on; ``first`` is the source's index of the first."""

    begin: int
    words: int
    first: int
    stage: str


def slip_entries(report: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the ledger's entries of slips; none without a report."""
    return [entry for entry in (report or {}).get("ledger", ()) if entry["stage"] == "slip"]


def file_slips(
    fd: int, offset: int, words: int, report: dict[str, Any] | None, *, places: int = PLACES
) -> list[Slip]:
    """Return the slips in a file, its ledger's among them where the data say so.

    Parameters
    ----------
    fd : int
        The file, open for reading.
    offset : int
        Byte at which its words begin.
    words : int
        How many whole ones there are, as they stand in it.
    report : dict, optional
        The capture's, whose ledger says where to look.
    places : int
        See `fastcap.slips.find_slips`.

    Raises
    ------
    OSError
        The file cannot be read there.
    """

    def read(begin: int, end: int) -> bytes:
        return os.pread(fd, (end - begin) * WORD_BYTES, offset + begin * WORD_BYTES)

    gaps = exact_gaps(report) if report else []
    hints = []
    for entry in slip_entries(report):
        lost = sum(gap.words_lost for gap in gaps if gap.word < entry["after_word"])
        hints.append(entry["after_word"] - lost)
    return find_slips(read, words, places=places, hints=hints)


def told(path: str, slips: Sequence[Slip], report: dict[str, Any] | None, *, realigned: bool) -> list[str]:
    """Return a file's slips as problems, each in a line."""
    then = (
        "the words behind are realigned"
        if realigned
        else "the words behind are garbage; load it with realign=True"
    )
    found = []
    for entry in slip_entries(report):
        if entry.get("carried"):
            found.append(f"{path}: {entry['bytes']} bytes were lost before this file (byte slip): {then}")
    for slip in slips:
        what = f"{slip.bytes} byte{'s' if slip.bytes > 1 else ''} lost about word {slip.word}"
        found.append(f"{path}: {what} ({slip.low} to {slip.high}; byte slip): {then}")
    return found


def realign(
    stored: FileWords, fd: int, slips: Sequence[Slip], report: dict[str, Any] | None
) -> tuple[Stored, list[Gap]]:
    """Return the words of a file as the source's were, and the gaps between them.

    Raises
    ------
    StreamFormatError
        There are too many slips, or no whole word is left.
    """
    gaps = exact_gaps(report) if report else []
    losses = [_Loss(WORD_BYTES * gap.file_word, WORD_BYTES * gap.words_lost, gap.stage) for gap in gaps]
    losses += [_Loss(WORD_BYTES * slip.word + slip.old, slip.bytes, "slip") for slip in slips]
    carried = [entry["bytes"] for entry in slip_entries(report) if entry.get("carried")]
    losses += [_Loss(0, count, "slip") for count in carried]
    if not slips and not carried:
        return stored, [gap for gap in gaps if gap.file_word <= stored.count]
    stretches = _stretches(sorted(losses, key=lambda loss: loss.at), stored.file_bytes - stored.offset)
    if not 0 < len(stretches) <= _MOST:
        raise StreamFormatError(
            f"{stored.path}: {len(slips)} byte slips leave {len(stretches)} stretches of words; "
            f"at most {_MOST} can be realigned: load it without realign"
        )
    parts = []
    for stretch in stretches:
        part = FileWords(stored.path, fd, stored.offset + stretch.begin)
        part.count = stretch.words
        parts.append(part)
    return Realigned(stored, parts), _gaps_between(stretches)


def _stretches(losses: Sequence[_Loss], size: int) -> list[_Stretch]:
    """Return the whole words between losses, in ``size`` bytes of data."""
    found, begin, lost, stage = [], 0, 0, ""
    for loss in [*losses, _Loss(size, 0, "")]:
        end = min(loss.at, size)
        at = begin + -(begin + lost) % WORD_BYTES
        if end - at >= WORD_BYTES:
            found.append(_Stretch(at, (end - at) // WORD_BYTES, (at + lost) // WORD_BYTES, stage))
            stage = ""
        begin, lost = end, lost + loss.count
        stage = stage or loss.stage
    return found


def _gaps_between(stretches: Sequence[_Stretch]) -> list[Gap]:
    gaps, words, source = [], 0, 0
    for stretch in stretches:
        if stretch.first > source:
            gaps.append(Gap(words, source, stretch.first - source, stretch.stage))
        words, source = words + stretch.words, stretch.first + stretch.words
    return gaps


class Realigned(Stored):
    """Words of a file, in stretches of their own.

    Parameters
    ----------
    whole : FileWords
        The file as it stands.
    parts : sequence of FileWords
        The stretches, in their order.
    """

    def __init__(self, whole: FileWords, parts: Sequence[FileWords]) -> None:
        self.path = whole.path
        self._parts = parts
        self._begins = [0, *accumulate(part.count for part in parts)]
        self.count = self._begins[-1]

    def _within(self, begin: int, end: int) -> Iterator[tuple[FileWords, int, int, int]]:
        """Yield the stretches of words ``begin`` to ``end``: each, which of its words, and where they go."""
        k = max(0, bisect_right(self._begins, begin) - 1)
        at = begin
        while at < end:
            low, high = self._begins[k], min(end, self._begins[k + 1])
            yield self._parts[k], at - low, high - low, at - begin
            at, k = high, k + 1

    def read(self, begin: int, end: int) -> Words:
        """Return a copy of words ``begin`` to ``end``."""
        import numpy as np

        pieces = [part.read(low, high) for part, low, high, _ in self._within(begin, end)]
        words: Words = pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, np.uint64)])
        words.flags.writeable = False
        return words

    def pieces(self, begin: int, end: int) -> Iterator[Words]:
        """Yield copies of words ``begin`` to ``end``, in pieces as large as a file's."""
        for at in range(begin, end, PIECE_WORDS):
            yield self.read(at, min(end, at + PIECE_WORDS))

    def decode(
        self, begin: int, end: int, phase: Floats | None, radius: Floats | None, carry: Carry | None = None
    ) -> None:
        """Fill phase and radius, those that are given, stretch by stretch; M goes on from each to the next."""
        from fastcap.words import Carry as NewCarry

        carry = carry or NewCarry()
        for part, low, high, at in self._within(begin, end):
            into = slice(at, at + high - low)
            part.decode(
                low,
                high,
                None if phase is None else phase[into],
                None if radius is None else radius[into],
                carry,
            )

    def check(self, end: int) -> None:
        """Check that the words before ``end`` are still there, without reading them."""
        for part, _, high, _ in self._within(0, end):
            part.check(high)


__all__ = ["Realigned", "file_slips", "realign", "slip_entries", "told"]
