"""Byte slips: bytes lost in mid-stream, behind which every word is garbage, and how they are found.

At low skip the board's byte alignment has been known to break: 1 to 7 bytes are missing, and what is read behind
them as words are the ends and beginnings of two. No length and no count says so; the data do.

**What tells the alignment.** Read in their place, words obey three rules whatever the light does. A field's byte
changes only when the one below it does: numbers that move are carried from the bottom up. M changes its pace by a
few turns at most, for it counts the turns of a phase. And M stands still where I or Q does, for the phase turns by
them. Read a few bytes off, some field holds the top byte of one number below the bottom byte of another, or M's
place holds the low bytes of I or Q; then a rule is broken in most words. `_align.h` counts broken words for all
eight alignments in a run of 256 words. A verdict needs seven alignments that break the rules in more than an
eighth of the words, one that does in less than a thirty-second, and low bytes of I and Q that are alive. All else is
*unknown*: constant data, zeros, counters, text, random bytes, a board in the dark with no noise.

**What a slip is.** A change from one alignment to another: four runs that agree before it, four behind, none in
between that says otherwise. Which alignment a recording has does not matter, only that it changes; so a stream
that begins in the middle of a word, or holds something else than it should, gives no alarm. Words that were dropped
whole change nothing. Neither can a slip be told that lies within some thousand words of a recording's start or end.

**Its place.** From the last run of the old alignment to the first of the new one, the words before it must go on
from each other in the old alignment, those behind in the new one: the place is where the fewest do not, and its
bounds hold every place that is nearly as good. The damaged word itself counts as lost.

**Its size** is known modulo 8: eight bytes more, or a whole word twice, look the same in data without a counter.
Slips that undo each other, or follow each other within 2,000 words, are told as their sum, if at all.

The splitter looks at one run in 32,768 words, which costs it some microseconds; a stored file is looked at in a
few places, since a slip shows in all that follows it, and then by bisection.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import msgspec

from fastcap._slips import RUN_WORDS, UNKNOWN, alignments, place

WORD_BYTES = 8
ENOUGH = 4  # runs that agree
GROUP_RUNS = 16  # looked at in one place
GROUP_WORDS = GROUP_RUNS * RUN_WORDS + 2
FEW_WORDS = ENOUGH * RUN_WORDS + 2
DENSE_WORDS = 1 << 15  # so close together, places are joined by a look at all runs between them
PLACES = 8  # of a file that is opened
_UNKNOWN = UNKNOWN & 0xFF

Read = Callable[[int, int], bytes]  # words begin to end of the data, as they stand in the file


class Slip(msgspec.Struct, frozen=True):
    """Bytes that are missing in mid-stream.

    Attributes
    ----------
    word : int
        Whole words before it, as they stand in the file: the likely place.
    low, high : int
        Its bounds.
    bytes : int
        How many are missing, 1 to 7; known modulo 8.
    old, new : int
        At which byte of every eight words begin before and behind it, counted from where data begin.
    """

    word: int
    low: int
    high: int
    bytes: int
    old: int
    new: int

    def moved(self, words: int) -> Slip:
        """Return the same slip, counted from ``words`` words earlier on."""
        return msgspec.structs.replace(
            self, word=self.word + words, low=self.low + words, high=self.high + words
        )


def agreed(runs: bytes) -> int | None:
    """Return the alignment that at least four runs have and none contradicts; None if there is none."""
    known = [run for run in runs if run != _UNKNOWN]
    return known[0] if len(known) >= ENOUGH and len(set(known)) == 1 else None


def slips_within(data: bytes, old: int) -> list[Slip]:
    """Return the slips in ``data``, whose first words are known to be of alignment ``old``.

    Parameters
    ----------
    data : bytes
        From the beginning of a word as it stands in the file; places are counted from there.
    old : int
        0 to 7.
    """
    found: list[Slip] = []
    last_old, new, first, count = 0, old, 0, 0
    for k, run in enumerate(alignments(data)):
        if run == _UNKNOWN:
            continue
        if run == old:
            last_old, count = k, 0
            continue
        if not count or run != new:
            new, first, count = run, k, 0
        count += 1
        if count == ENOUGH:
            found.append(_placed(data, last_old, first, old, new))
            old, last_old, count = new, k, 0
    return found


def _placed(data: bytes, last_old: int, first: int, old: int, new: int) -> Slip:
    """Place a slip that lies between two runs. A run bears a few words of the other alignment: take one more."""
    begin = max(0, last_old - 1) * RUN_WORDS
    end = (first + 2) * RUN_WORDS + 2
    low, word, high = place(data[begin * WORD_BYTES : end * WORD_BYTES], old, new)
    return Slip(word, low, high, (old - new) % WORD_BYTES, old, new).moved(begin)


def find_slips(read: Read, words: int, *, places: int = PLACES, hints: Iterable[int] = ()) -> list[Slip]:
    """Return the slips in stored data, in their order.

    Parameters
    ----------
    read : callable
        ``read(begin, end)`` returns those words' bytes.
    words : int
        How many whole ones there are.
    places : int
        Where to look, evenly spread: slips that undo each other between two places stay unseen.
    hints : iterable of int
        Words near which slips are known to be.
    """
    last = words - GROUP_WORDS
    if last <= DENSE_WORDS:
        return _from_the_start(read(0, words))
    wanted = {last * k // (places - 1) for k in range(1, places - 1)}
    wanted |= {min(max(0, hint + off), last) for hint in hints for off in (-2 * GROUP_WORDS, GROUP_WORDS)}
    known = _edge(read, last, at_start=True)
    for at in sorted(wanted):
        if (seen := _seen_at(read, at, known[-1][1] if known else None)) is not None:
            known.append((at, seen))
    known += _edge(read, last, at_start=False)
    found: list[Slip] = []
    for (a, old), (b, new) in itertools.pairwise(known):
        found += _between(read, a, old, b, new)
    return found


def _edge(read: Read, last: int, *, at_start: bool) -> list[tuple[int, int]]:
    """Return the place next to one end of the data where the alignment is known, and that; none if it is far.

    Where a few runs tell nothing at all, no more are looked at: data may be dark, or zeros, for long.
    """
    off = 0
    while off < last // PLACES:
        at = off if at_start else last - off
        outermost = at if at_start else at + GROUP_WORDS - FEW_WORDS
        few = alignments(read(outermost, outermost + FEW_WORDS))
        seen = agreed(few)
        if seen is None and any(run != _UNKNOWN for run in few):
            runs = bytes(run for run in alignments(read(at, at + GROUP_WORDS)) if run != _UNKNOWN)
            seen = agreed(runs[:ENOUGH] if at_start else runs[-ENOUGH:])
        if seen is not None:
            return [(at, seen)]
        off = 2 * off + GROUP_WORDS
    return []


def _from_the_start(data: bytes) -> list[Slip]:
    """Return the slips in all of some data, the first alignment that is agreed on being the old one."""
    runs = alignments(data)
    known = [k for k, run in enumerate(runs) if run != _UNKNOWN]
    if len(known) < ENOUGH or agreed(bytes(runs[k] for k in known[:ENOUGH])) is None:
        return []
    begin = known[0] * RUN_WORDS
    return [slip.moved(begin) for slip in slips_within(data[begin * WORD_BYTES :], runs[known[0]])]


def _seen_at(read: Read, at: int, expected: int | None = None) -> int | None:
    """Return the alignment at word ``at``; of the one that is expected a few runs convince."""
    if expected is not None and agreed(alignments(read(at, at + FEW_WORDS))) == expected:
        return expected
    return agreed(alignments(read(at, at + GROUP_WORDS)))


def _between(read: Read, a: int, old: int, b: int, new: int) -> list[Slip]:
    """Return the slips between words ``a`` and ``b``, whose alignments are known."""
    if old == new:
        return []
    if b - a <= DENSE_WORDS:
        return [slip.moved(a) for slip in slips_within(read(a, b + GROUP_WORDS), old)]
    for at in _inner(a, b):
        if (seen := _seen_at(read, at)) is not None:
            return _between(read, a, old, at, seen) + _between(read, at, seen, b, new)
    return [Slip((a + b) // 2, a, b + GROUP_WORDS, (old - new) % WORD_BYTES, old, new)]


def _inner(a: int, b: int) -> list[int]:
    """Return words between ``a`` and ``b`` to look at, the middle first."""
    step = (b - a) // 16
    return [a + 8 * step + sign * k * step for k in range(8) for sign in (1, -1)][1:]
