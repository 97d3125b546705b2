"""Traces on one axis of time: which follows which, where nothing is, and how phases go on from file to file.

The axis counts words at the traces' common rate, from the first trace's first word. A trace that continues
another's recording lies exactly behind it; any other where its start says, to the word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import msgspec

from fastcap import words as fw
from fastcap._gaps import shifted
from fastcap._stretches import Stretch, TraceSource
from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap
from fastcap.trace import Trace

NO_FILE = "no file"  # a gap's stage: nothing was recorded, or that file is not in the set
_MICROSECOND = timedelta(microseconds=1)
_CLOSE_S = 1  # the resolution of a header's start: so far may a file seem to begin before the last has ended


class Placed(msgspec.Struct, frozen=True):
    """A trace on the axis.

    Attributes
    ----------
    trace : Trace
        All of a file.
    at, end : int
        Where it begins and ends; words that were lost within count.
    continues : bool
        Whether it is the next file of the recording that the one before it is of.
    """

    trace: Trace
    at: int
    end: int
    continues: bool


class Layout:
    """Traces in the order of their starts.

    Parameters
    ----------
    traces : sequence of Trace
        Whole ones, at least one.

    Raises
    ------
    StreamFormatError
        The rates differ, a start or rate is not known, or traces overlap.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        self.rate = _common_rate(traces)
        ordered = sorted(traces, key=lambda trace: (_start_ns(trace), trace._origin.facts.first_word))
        self.start = _start(ordered[0])
        self._start_ns = _start_ns(ordered[0])
        self.placed: list[Placed] = []
        for trace in ordered:
            self._place(trace)
        self._at = [placed.at for placed in self.placed]
        self._wraps: dict[int, int] = {}

    @property
    def span_words(self) -> int:
        """Words from the first trace's begin to the last one's end."""
        return self.placed[-1].end

    def words_after(self, time: datetime) -> Fraction:
        """Return ``time`` on the axis, exactly; negative before the first trace."""
        return Fraction((time - self.start) // _MICROSECOND, 1_000_000) * self.rate

    def _place(self, trace: Trace) -> None:
        span = TraceSource(trace).span_words
        at = round(Fraction(_start_ns(trace) - self._start_ns, 10**9) * self.rate)
        if not self.placed:
            self.placed.append(Placed(trace, 0, span, False))
            return
        last = self.placed[-1]
        continues = self._continues(last, trace, at)
        if not continues and at < last.end - _CLOSE_S * self.rate:
            raise StreamFormatError(
                f"{trace.path} begins {float((last.end - at) / self.rate):.3f} s before {last.trace.path} ends: "
                "these are no files of one board; load them as sets of their own"
            )
        at = last.end if continues else max(at, last.end)
        self.placed.append(Placed(trace, at, at + span, continues))

    def _continues(self, last: Placed, trace: Trace, at: int) -> bool:
        """Tell whether ``trace`` is the next file of a split recording."""
        before, facts = last.trace._origin.facts, trace._origin.facts
        follows = facts.first_word > 0 and facts.first_word == before.first_word + last.end - last.at
        return follows and abs(at - last.end) <= _CLOSE_S * self.rate

    def within(self, begin: int, end: int) -> Iterator[tuple[int, Placed]]:
        """Yield the traces that have a share of ``begin`` to ``end``, with their numbers."""
        first = max(0, bisect_right(self._at, begin) - 1)
        for k in range(first, len(self.placed)):
            if self.placed[k].at >= end:
                return
            if self.placed[k].end > begin:
                yield k, self.placed[k]

    def stretches(self, begin: int, end: int) -> Iterator[Stretch]:
        """Yield what lies between ``begin`` and ``end``; positions count from ``begin``."""
        open_: Stretch | None = None
        for k, first, part in self._parts(begin, end):
            for run in TraceSource(part).stretches():
                at = first + run.at
                if open_ is not None and self.placed[k].continues and open_.at + len(open_) == at:
                    open_ = Stretch(open_.at, (*open_.parts, *run.parts), open_.wraps)
                    continue
                if open_ is not None:
                    yield open_
                open_ = Stretch(at, run.parts, self.wraps_before(k))
        if open_ is not None:
            yield open_

    def gaps(self, begin: int, end: int) -> Iterator[Gap]:
        """Yield what is missing between ``begin`` and ``end``: words that were lost, and time that is in no file.

        Indices count from ``begin``; of a gap that an edge cuts, what lies within.
        """
        words = upto = 0  # that are there; of the axis
        for _, first, part in self._parts(begin, end):
            if first > upto:
                yield Gap(words, upto, first - upto, NO_FILE)
            yield from shifted(part.gaps, words, first)
            words, upto = words + len(part), first + len(part) + part.words_lost
        if end - begin > upto:
            yield Gap(words, upto, end - begin - upto, NO_FILE)

    def _parts(self, begin: int, end: int) -> Iterator[tuple[int, int, Trace]]:
        """Yield each trace between ``begin`` and ``end``: its number, where its share begins, and that share."""
        for k, placed in self.within(begin, end):
            low = max(placed.at, begin)
            yield k, low - begin, placed.trace._span(low - placed.at, min(placed.end, end) - placed.at)

    def wraps_before(self, k: int) -> int:
        """Return how often M has rolled over in the recording before trace ``k``; uses the files' indices."""
        if not self.placed[k].continues:
            return 0
        if k not in self._wraps:
            first = k
            while self.placed[first].continues and first not in self._wraps:
                first -= 1
            wraps = self._wraps.get(first, 0)
            for n in range(first + 1, k + 1):
                wraps += _wraps_over(self.placed[n - 1].trace, self.placed[n].trace)
                self._wraps[n] = wraps
        return self._wraps[k]


def _wraps_over(before: Trace, after: Trace) -> int:
    """Return the rollovers from the begin of a file to that of the next."""
    carry = before._origin.index.carry_before(len(before))
    fw.phase(after._origin.stored.read(0, min(1, len(after))), None, carry)
    return carry.wraps - after._origin.facts.wraps


def _common_rate(traces: Sequence[Trace]) -> Fraction:
    rates: dict[Fraction, str | None] = {}
    for trace in traces:
        if trace.sample_rate is None:
            raise StreamFormatError(f"{trace.path}: the word rate is not known, so it has no place in time")
        rates.setdefault(trace.sample_rate, trace.path)
    if len(rates) > 1:
        told = ", ".join(f"{float(rate):.10g} Hz in {path}" for rate, path in rates.items())
        raise StreamFormatError(f"different word rates, {told}; load them as sets of their own")
    return next(iter(rates))


def _start_ns(trace: Trace) -> int:
    """Return a trace's start in nanoseconds: a microsecond may be ten words."""
    _start(trace)
    assert trace.start_ns is not None
    return trace.start_ns


def _start(trace: Trace) -> datetime:
    start = trace.start
    if start is None:
        raise StreamFormatError(
            f"{trace.path}: when it was recorded is not known, so it has no place in time"
        )
    return start.astimezone(UTC)
