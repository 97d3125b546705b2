"""A recorded trace: its words mapped, not read; I, Q, M, radius and phase of any window on demand.

Word index and time part where words were lost: word k of the recording, lost ones counted, was sampled at
start + k/rate. `Trace.window` goes by time, slices go by the words that are there. Phase is unwrapped from
the first word of the file whatever window is asked for; rollovers are found by streaming once, and kept.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._tracefile import Facts, Words, open_words
from fastcap.sidecar import Gap
from fastcap.stats import TRANSIENT_WORDS, TraceStats
from fastcap.stream import Header
from fastcap.units import parse_duration_s

Floats = NDArray[np.float64]

_STEP_WORDS = 1 << 20  # between kept rollover states
_PIECE_WORDS = 1 << 14


class _Origin:
    """What all windows of one file share: its words and facts, and the rollover states found so far."""

    def __init__(self, words: Words, facts: Facts) -> None:
        self.words = words
        self.facts = facts
        self._carries = [fw.Carry()]  # before word k * _STEP_WORDS

    def carry_before(self, word: int) -> fw.Carry:
        """Return the rollover state before ``word``; reads what no call before has read."""
        step = word // _STEP_WORDS
        while len(self._carries) <= step:
            begin = (len(self._carries) - 1) * _STEP_WORDS
            self._carries.append(_advanced(self._carries[-1], self.words[begin : begin + _STEP_WORDS]))
        return _advanced(self._carries[step], self.words[step * _STEP_WORDS : word])

    def source_word(self, word: int) -> int:
        """Return the source's index of ``word``, lost ones counted; both from the file's first word."""
        return word + sum(gap.words_lost for gap in self.facts.gaps if gap.file_word <= word)


class Trace:
    """A trace, or a window of one: made by `load`, `from_words`, by slicing, or by `window`.

    Slicing copies and reads nothing. Values are computed anew at each call, and not kept.
    """

    def __init__(self, origin: _Origin, begin: int, end: int) -> None:
        self._origin = origin
        self._begin = begin
        self._end = end

    @classmethod
    def from_words(
        cls,
        words: Words,
        header: Header | None = None,
        sample_rate: Fraction | int | None = None,
        *,
        start: datetime | None = None,
        meta: Mapping[str, Any] | None = None,
        gaps: Sequence[Gap] = (),
    ) -> Trace:
        """Return a trace of words in memory, as of a file that begins with them.

        Parameters
        ----------
        words : (n,) uint64
            Kept, not copied: leave them unchanged while the trace is in use.
        header : Header, optional
            Gives rate and start where they are not given.
        sample_rate : Fraction or int, optional
            Words per second.

        Raises
        ------
        ValueError
            ``words`` is no one-dimensional array of uint64.
        """
        if words.ndim != 1 or words.dtype != np.uint64:
            raise ValueError(f"words are {words.dtype} of shape {words.shape}; give one-dimensional uint64")
        rate = Fraction(sample_rate) if sample_rate is not None else header.sample_rate_hz if header else None
        start = start or (header.start if header else None)
        facts = Facts(header=header, rate=rate, start=start, meta=dict(meta or {}), gaps=tuple(gaps))
        return cls(_Origin(words, facts), 0, words.size)

    # -- facts -----------------------------------------------------------------------------------

    @property
    def path(self) -> str | None:
        """The file; None for words in memory."""
        return self._origin.facts.path

    @property
    def header(self) -> Header | None:
        """The board's header; None where there is none that can be read, see `header_problem`."""
        return self._origin.facts.header

    @property
    def header_problem(self) -> str | None:
        """Why there is no header."""
        return self._origin.facts.header_problem

    @property
    def meta(self) -> dict[str, Any]:
        """What was noted with the capture (``--meta``, the configuration's details)."""
        return dict(self._origin.facts.meta)

    @property
    def sample_rate(self) -> Fraction | None:
        """Words per second, exactly; None if nothing says it."""
        return self._origin.facts.rate

    @property
    def sample_rate_hz(self) -> float | None:
        """Words per second; None if nothing says it."""
        return None if self.sample_rate is None else float(self.sample_rate)

    @property
    def start(self) -> datetime | None:
        """When the first word of this window was sampled, to the microsecond; None if nothing says it."""
        start = self._origin.facts.start
        if start is None or self._first == 0:
            return start
        if self.sample_rate is None:
            return None
        return start + timedelta(microseconds=int(self._first * 1_000_000 / self.sample_rate))

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where words are missing in this window, exactly counted; indices count from its first word."""
        return tuple(
            Gap(gap.file_word - self._begin, gap.word - self._first, gap.words_lost, gap.stage)
            for gap in self._origin.facts.gaps
            if self._begin < gap.file_word < self._end
            or (gap.file_word == 0 and self._begin == 0)
            or (gap.file_word == self._end == self._origin.words.size)
        )

    @property
    def _first(self) -> int:
        """Source index of the window's first word; a file that begins with a gap begins where that does."""
        return self._origin.source_word(self._begin) if self._begin else 0

    def __len__(self) -> int:
        return self._end - self._begin

    def __repr__(self) -> str:
        rate = "unknown rate" if self.sample_rate is None else f"{self.sample_rate_hz:.10g} Hz"
        lost = f", {len(self.gaps)} gaps" if self.gaps else ""
        return f"<Trace of {self.path or 'words in memory'}: {len(self):,} words, {rate}{lost}>"

    # -- windows ---------------------------------------------------------------------------------

    def __getitem__(self, index: slice) -> Trace:
        """Return the window of words ``index``, which has no step."""
        if not isinstance(index, slice) or index.step not in (None, 1):
            raise TypeError(f"a trace takes slices a:b, not {index!r}; use tr.words[...] for single words")
        begin, end, _ = index.indices(len(self))
        return Trace(self._origin, self._begin + begin, self._begin + max(begin, end))

    def window(self, start: str | float | Fraction, duration: str | float | Fraction | None = None) -> Trace:
        """Return the words sampled at ``start <= t < start + duration``, t from this window's first word.

        Parameters
        ----------
        start, duration : str or number
            ``"1.5s"``, ``"5min"``, a number of seconds; a float means the decimal number that it prints as.
            Without ``duration``: to the end. Lost words take their time, but are not there.

        Raises
        ------
        ValueError
            The rate is not known, or the window reaches beyond the trace.
        """
        rate = self.sample_rate
        if rate is None:
            raise ValueError(
                f"sample rate of {self.path or 'these words'} is unknown; slice by words: tr[a:b]"
            )
        span = len(self) + sum(gap.words_lost for gap in self.gaps)
        begin = parse_duration_s(start) * rate
        end = Fraction(span) if duration is None else begin + parse_duration_s(duration) * rate
        if not begin <= end <= span:
            asked = f"{float(begin / rate):.9g} s to {float(end / rate):.9g} s"
            raise ValueError(
                f"window from {asked} is not within this trace of {float(span / rate):.9g} s; "
                "leave duration out to go to its end"
            )
        return self[self._word_at(math.ceil(begin)) : self._word_at(math.ceil(end))]

    def _word_at(self, source_word: int) -> int:
        """Return the window's index of ``source_word``, or of the first word behind the gap it is lost in."""
        lost = 0
        for gap in self.gaps:
            lost += max(0, min(gap.words_lost, source_word - gap.word))
        return source_word - lost

    # -- values ----------------------------------------------------------------------------------

    @property
    def words(self) -> Words:
        """The words, ``(n,) uint64``: a read-only view of the file. Do not truncate the file under it."""
        return self._origin.words[self._begin : self._end]

    def i(self) -> NDArray[np.int32]:
        """Return I, ``(n,) int32``, ADC counts."""
        return self._part(0, np.empty(len(self), np.int32))

    def q(self) -> NDArray[np.int32]:
        """Return Q, ``(n,) int32``, ADC counts."""
        return self._part(1, np.empty(len(self), np.int32))

    def m(self) -> NDArray[np.int16]:
        """Return M, ``(n,) int16``: whole turns modulo 2**16, as they are in the words."""
        return self._part(2, np.empty(len(self), np.int16))

    def _part(self, which: int, out: NDArray[Any]) -> NDArray[Any]:
        words = self.words
        for at in range(0, words.size, _PIECE_WORDS):
            out[at : at + _PIECE_WORDS] = fw.split_iqm(words[at : at + _PIECE_WORDS])[which]
        return out

    def radius(self, out: Floats | None = None) -> Floats:
        """Return the radius, ``(n,) float64``, ADC counts, into ``out`` if given."""
        return fw.radius(self.words, out)

    def phase(self, out: Floats | None = None) -> Floats:
        """Return the phase, ``(n,) float64``, turns, into ``out`` if given.

        Unwrapped from the first word of the file; the first call on a window reads the file up to there.
        """
        return fw.phase(self.words, out, self._origin.carry_before(self._begin))

    def stats(self) -> TraceStats:
        """Return statistics of radius and phase, in constant memory.

        The board's start-up transient, the first 12,000 words of a recording, is left out where this window
        holds it.
        """
        stats = TraceStats(max(0, TRANSIENT_WORDS - self._origin.facts.first_word - self._first))
        stats._carry = self._origin.carry_before(self._begin)
        words, at = self.words, 0
        for gap in self.gaps:
            stats.update(words[at : gap.file_word])
            stats.gap(gap.words_lost)
            at = gap.file_word
        stats.update(words[at:])
        return stats


def _advanced(carry: fw.Carry, words: Words) -> fw.Carry:
    """Return the rollover state after ``words``."""
    carry = copy.copy(carry)
    for at in range(0, words.size, _PIECE_WORDS):
        fw._unwrap(fw._m(words[at : at + _PIECE_WORDS]), carry)
    return carry


def load(path: str | os.PathLike[str], *, payload: str | None = None) -> Trace:
    """Open a recorded file; it is mapped, so this is quick whatever its size.

    Parameters
    ----------
    path : path
        The ``.bin`` file. Its sidecar, if there is one, gives rate, start, gaps and meta.
    payload : {"8n+8", "8n"}, optional
        Where data start (see `fastcap.stream`); default: what the sidecar says, else "8n+8". Odd bytes at the
        file's end are ignored.

    Raises
    ------
    StreamFormatError
        There is no such file, it holds no words or only part of a header, or its sidecar is damaged.
    """
    words, facts = open_words(os.fspath(path), payload)
    return Trace(_Origin(words, facts), 0, words.size)
