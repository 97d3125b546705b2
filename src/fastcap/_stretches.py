"""Stretches: words that follow each other without a gap, maybe over the edges of files.

What filters or transforms the phase works through them one by one, so that nothing is smeared over a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw

if TYPE_CHECKING:
    from fastcap.stats import TraceStats
    from fastcap.trace import Trace

Floats = NDArray[np.float64]


class Stretch(msgspec.Struct, frozen=True):
    """Words of one recording, none missing between them.

    Attributes
    ----------
    at : int
        Index of its first word in the source that it is of, lost words counted.
    parts : tuple of Trace
        Its words, in order: of one file, or of consecutive ones. None of them holds a gap.
    wraps : int
        How often M has rolled over in the files of the recording before the first part's.
    """

    at: int
    parts: tuple[Trace, ...]
    wraps: int = 0

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def carry(self) -> fw.Carry:
        """Return the rollover state before the first word."""
        first = self.parts[0]
        carry = first._origin.index.carry_before(first._begin)
        carry.wraps += self.wraps
        return carry

    def phases(self) -> Iterator[Floats]:
        """Yield the phase in pieces that stay in cache; each is valid until the next."""
        carry, out = self.carry(), np.empty(0)
        for part in self.parts:
            for words in pieces_of(part):
                if out.size < words.size:
                    out = np.empty(words.size)
                yield fw.phase(words, out[: words.size], carry)


def pieces_of(trace: Trace) -> Iterator[fw.Words]:
    """Yield a trace's words in pieces; each is valid until the next."""
    return trace._origin.stored.pieces(trace._begin, trace._end)


class Source(Protocol):
    """What has phase over time: a trace, a window over several files, or a set of traces."""

    @property
    def sample_rate(self) -> Fraction | None:
        """Words per second."""

    @property
    def start(self) -> datetime | None:
        """When its first word was sampled, or would have been."""

    @property
    def span_words(self) -> int:
        """Words from its begin to its end, missing ones counted."""

    def stretches(self) -> Iterator[Stretch]:
        """Yield what is there, in order."""


class TraceSource:
    """A trace or a window of one as a `Source`."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._gaps = trace.gaps

    @property
    def sample_rate(self) -> Fraction | None:
        """Words per second."""
        return self._trace.sample_rate

    @property
    def start(self) -> datetime | None:
        """When its first word was sampled."""
        return self._trace.start

    @property
    def span_words(self) -> int:
        """Words from its begin to its end, missing ones counted."""
        return len(self._trace) + self._trace.words_lost

    def stretches(self) -> Iterator[Stretch]:
        """Yield the words between gaps."""
        lost = 0
        edges = [0, *(gap.file_word for gap in self._gaps), len(self._trace)]
        losses = [0, *(gap.words_lost for gap in self._gaps)]
        for (begin, end), words_lost in zip(pairwise(edges), losses, strict=True):
            lost += words_lost
            if end > begin:
                yield Stretch(begin + lost, (self._trace[begin:end],))


def source_of(data: Trace | Source) -> Source:
    """Return ``data`` as a source of stretches.

    Raises
    ------
    ValueError
        It is a window of a trace all of which was lost.
    """
    from fastcap.trace import Trace

    if not isinstance(data, Trace):
        return data
    data._refuse_lost()
    return TraceSource(data)


def stats_of(stretches: Iterable[Stretch]) -> TraceStats:
    """Return statistics of stretches, without the start-up transients that they hold; the phase as it is."""
    from fastcap.stats import TRANSIENT_WORDS, TraceStats

    total = TraceStats(0)
    for stretch in stretches:
        first = stretch.parts[0]
        recorded = first._origin.facts.first_word + first._first
        stats = TraceStats(max(0, TRANSIENT_WORDS - recorded), carry=stretch.carry())
        for part in stretch.parts:
            for words in pieces_of(part):
                stats.update(words)
        total.merge(stats)
    return total
