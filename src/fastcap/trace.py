"""A recorded trace: nothing is read but what is asked for; I, Q, M, radius and phase of any window on demand.

Word index and time part where words were lost: word k of the recording, lost ones counted, was sampled at
start + k/rate. `Trace.window` goes by time, slices go by the words that are there. Phase is unwrapped from
the first word of the file whatever window is asked for; the file's index says what came before.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fastcap._criteria import SINGLE_MODE_TURNS, TRANSIENT_WORDS
from fastcap._gaps import file_word, lost_in
from fastcap._origin import Origin, opened, reopened
from fastcap._stored import InMemory
from fastcap._tracefacts import TraceFacts
from fastcap._tracefile import Facts, unix_ns
from fastcap.units import parse_duration_s, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fastcap._envelope import TraceEnvelope
    from fastcap._stored import Words
    from fastcap._values import Floats
    from fastcap.sidecar import Gap
    from fastcap.spectrum import Psd
    from fastcap.stats import TraceStats
    from fastcap.stream import Header
    from fastcap.units import Duration


class Trace(TraceFacts):
    """A trace, or a window of one: made by `load`, `from_words`, by slicing, or by `window`.

    Slicing copies and reads nothing. Values are computed anew at each call, and not kept. Sent to another
    process, a trace of a file takes the file's name and its window along, not its words.
    """

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
        if words.ndim != 1 or words.dtype != "u8":
            raise ValueError(f"words are {words.dtype} of shape {words.shape}; give one-dimensional uint64")
        rate = Fraction(sample_rate) if sample_rate is not None else header.sample_rate_hz if header else None
        start_ns = header.start_ns if header and start is None else unix_ns(start)
        start = start or (header.start if header else None)
        facts = Facts(
            header=header, rate=rate, start=start, start_ns=start_ns, meta=dict(meta or {}), gaps=tuple(gaps)
        )
        return cls(Origin(InMemory(words), facts), 0, words.size)

    def __repr__(self) -> str:
        rate = "unknown rate" if self.sample_rate is None else f"{self.sample_rate_hz:.10g} Hz"
        return f"<Trace of {self.path or 'words in memory'}: {len(self):,} words, {rate}{lost_in(self.gaps)}>"

    def _repr_html_(self) -> str:
        from fastcap.htmlview import trace_html

        return trace_html(self)

    def __reduce__(self) -> tuple[Any, ...]:
        facts = self._origin.facts
        if facts.path is None:
            import numpy as np

            words = np.ascontiguousarray(self._origin.stored.read(0, self._origin.words))
            return _from_memory, (words, facts, self._begin, self._end, self._first, self._last)
        name = os.path.abspath(facts.path)
        window = (self._begin, self._end, self._first, self._last)
        return _from_file, (name, facts.payload, self._origin.words, facts.realigned, *window)

    # -- windows ---------------------------------------------------------------------------------

    def __getitem__(self, index: slice) -> Trace:
        """Return the window of words ``index``, which has no step; it ends where the words do.

        What of it is missing: see `gaps`.
        """
        if not isinstance(index, slice) or index.step not in (None, 1):
            raise TypeError(f"a trace takes slices a:b, not {index!r}; use tr.words[...] for single words")
        begin, end, _ = index.indices(len(self))
        low, high = self._begin + begin, self._begin + max(begin, end)
        first = self._first if low == self._begin else self._origin.source_word(low)
        if high == self._end:
            last = self._last
            first = first if begin < len(self) or not begin else last
        else:
            last = self._origin.source_word(high - 1) + 1 if high > low else first
        return Trace(self._origin, low, high, first, last)

    def window(self, start: Duration, duration: Duration | None = None) -> Trace:
        """Return the words sampled at ``start <= t < start + duration``, t from this window's begin.

        Of a time in which all words were lost it is empty, and its `gaps` say so; what cannot be had of no words
        (`stats`, `psd`, `plot`, an export) is an error then.

        Parameters
        ----------
        start, duration : str, number or timedelta
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
        span = self._last - self._first
        begin = parse_duration_s(start) * rate
        end = Fraction(span) if duration is None else begin + parse_duration_s(duration) * rate
        if not begin <= end <= span:
            asked = (
                f"{float(begin / rate):.9g} s {'on' if duration is None else f'to {float(end / rate):.9g} s'}"
            )
            raise ValueError(
                f"window from {asked} is not within this trace of {float(span / rate):.9g} s; "
                "leave duration out to go to its end"
            )
        return self._span(math.ceil(begin), math.ceil(end))

    def _span(self, begin: int, end: int) -> Trace:
        """Return what is there of this window's source words ``begin`` to ``end``, lost ones counted."""
        first, last = self._first + begin, self._first + end
        low, high = (file_word(self._origin.facts.gaps, word) for word in (first, last))
        return Trace(self._origin, low, high, first, last)

    # -- values ----------------------------------------------------------------------------------

    @property
    def words(self) -> Words:
        """The words, ``(n,) uint64``, read-only: read from the file now.

        Of more than 1 GiB nothing is read before it is indexed, and then only that; see
        `fastcap._lazywords.LazyWords`. ``tr[a:b].words`` reads what it gives.
        """
        from fastcap._lazywords import words_of

        return words_of(self._origin.stored, self._begin, self._end)

    def i(self) -> NDArray[np.int32]:
        """Return I, ``(n,) int32``, ADC counts."""
        return self._field("i")

    def q(self) -> NDArray[np.int32]:
        """Return Q, ``(n,) int32``, ADC counts."""
        return self._field("q")

    def m(self) -> NDArray[np.int16]:
        """Return M, ``(n,) int16``: whole turns modulo 2**16, as they are in the words."""
        return self._field("m")

    def _field(self, name: str) -> NDArray[Any]:
        from fastcap._values import field_of

        return field_of(self._origin.stored, self._begin, self._end, name)

    def radius(self, out: Floats | None = None) -> Floats:
        """Return the radius, ``(n,) float64``, ADC counts, into ``out`` if given."""
        from fastcap._values import radius_into

        return radius_into(self._origin.stored, self._begin, self._end, out)

    def polar(
        self, phase_out: Floats | None = None, radius_out: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return `phase` and `radius`, to the last bit, in one pass over the words.

        Parameters
        ----------
        phase_out, radius_out : (n,) float64, optional
            Filled and returned: turns, ADC counts; made if not given.
        """
        from fastcap._values import polar_into

        carry = self._origin.index.carry_before(self._begin)
        return polar_into(self._origin.stored, self._begin, self._end, phase_out, radius_out, carry)

    def phase(self, out: Floats | None = None, *, rate: str | float | Fraction | None = None) -> Any:
        """Return the phase in turns, unwrapped from the first word of the file.

        Parameters
        ----------
        out : (n,) float64, optional
            Filled and returned; made if not given.
        rate : str or number, optional
            ``"400Hz"``: filtered and decimated to this rate; see `fastcap.decimate.phase_at`.

        Notes
        -----
        The index says how often M has rolled over before the window. A file without one is read up to the
        window, once, and the index made on the way is kept; see `fastcap.index`.
        """
        if rate is not None:
            from fastcap.decimate import phase_at

            if out is not None:
                raise ValueError("out is for the phase of every word; leave it out with rate")
            return phase_at(self, rate)
        from fastcap._values import phase_into

        carry = self._origin.index.carry_before(self._begin)
        return phase_into(self._origin.stored, self._begin, self._end, out, carry)

    def envelope(self, columns: int) -> TraceEnvelope:
        """Return the least and greatest phase and radius of at most ``columns`` columns of about equal width.

        Every word counts. Long windows take them from the index, and their columns' edges are blocks'.

        Raises
        ------
        ValueError
            ``columns`` is no whole number above 0.
        """
        from fastcap._envelope import envelope

        columns = whole_number(columns, "columns", least=1)
        return envelope(self._origin.stored, self._origin.index, self._begin, self._end, columns)

    def stats(
        self, *, skip_words: int = TRANSIENT_WORDS, tolerance_turns: float = SINGLE_MODE_TURNS
    ) -> TraceStats:
        """Return statistics of radius, phase, I and Q, in constant memory: what a capture's live ones are.

        Their spectrum takes five segments a second; `psd` takes all.

        Parameters
        ----------
        skip_words : int
            The board's start-up transient: the first words of a recording, which are left out where this
            window holds them.
        tolerance_turns : float
            The phase's greatest range for `TraceStats.single_mode`.

        Raises
        ------
        ValueError
            A value is negative, or no number; or all words of this window were lost.
        """
        from fastcap._values import update_stats
        from fastcap.stats import TraceStats

        skip_words = whole_number(skip_words, "skip_words")
        self._refuse_lost()
        stored, begin = self._origin.stored, self._begin
        before = self._origin.facts.first_word + self._first
        carry = self._origin.index.carry_before(begin)
        rate, skip = self.sample_rate, max(0, skip_words - before)
        stats = TraceStats(skip, carry=carry, rate=rate, tolerance_turns=tolerance_turns)
        update_stats(stats, stored, begin, self._end, self.gaps)
        return stats

    def psd(self, **options: Any) -> Psd:
        """Return the phase's spectrum; see `fastcap.spectrum.psd`."""
        from fastcap.spectrum import psd

        return psd(self, **options)

    def spectrogram(self, *args: Any, **options: Any) -> Any:
        """Return the phase's spectrum over time; see `fastcap.spectrogram.spectrogram`."""
        from fastcap.spectrogram import spectrogram

        return spectrogram(self, *args, **options)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        start: Duration | None = None,
        duration: Duration | None = None,
    ) -> Figure:
        """Draw this window, or a part of it; see `fastcap.plot.plot_trace`."""
        from fastcap.plot import plot_trace

        return plot_trace(self, path, start=start, duration=duration)


def _from_memory(words: Words, facts: Facts, *window: int) -> Trace:
    return Trace(Origin(InMemory(words), facts), *window)


def _from_file(path: str, payload: str, words: int, realigned: bool, *window: int) -> Trace:
    return Trace(reopened(path, payload, words, realigned=realigned), *window)


def load(path: str | bytes | os.PathLike[str], *, payload: str = "auto", realign: bool = False) -> Trace:
    """Open a recorded file; its header is read and a few places of its data, so this is quick whatever its size.

    Parameters
    ----------
    path : path
        The ``.bin`` file; of a capture that still runs the ``.bin.part``, whose words so far are there. Its
        sidecar, if there is one, gives rate, start, gaps and meta.
    payload : {"auto", "8n", "8n+8", "none"}
        Where data begin (see `fastcap.payload`): "none": with the file; "auto": where the sidecar says, else where the
        header's text does. Odd bytes at the file's end are ignored.
    realign : bool
        Of a file with byte slips (see `fastcap.slips`), give the words behind each where they were, and a gap for
        the word that it damaged. Without this its words are those that stand there, garbage behind the first slip.

    Raises
    ------
    StreamFormatError
        There is no such file, it is no trace, holds no words or only part of a header, or its sidecar is
        damaged or another file's.
    ValueError
        ``payload`` is unknown.

    Notes
    -----
    A file that is truncated, or contradicts its sidecar in a way that leaves its words as they are, is
    opened; `Trace.problems` says so, and so does a logged warning. So it does of byte slips.
    """
    origin = opened(os.fsdecode(path), payload, realigned=realign)
    if origin.facts.problems:
        from logging import getLogger

        for problem in origin.facts.problems:
            getLogger(__name__).warning("%s", problem)
    return Trace(origin, 0, origin.words)
