"""What a trace tells without reading its words."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from fastcap._origin import Origin
from fastcap.sidecar import Gap
from fastcap.stream import Header


class TraceFacts:
    """Words ``begin`` to ``end`` of an origin, and the facts of them.

    They are what is there of source words ``first`` to ``last``, lost ones counted: by default of all from the
    begin of the file to its end.
    """

    def __init__(self, origin: Origin, begin: int, end: int, first: int = 0, last: int | None = None) -> None:
        self._origin = origin
        self._begin = begin
        self._end = end
        self._first = first
        self._last = origin.span if last is None else last

    def __len__(self) -> int:
        return self._end - self._begin

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
    def problems(self) -> tuple[str, ...]:
        """In what file, header and sidecar contradict each other, and byte slips; one line each, logged by `load`."""
        return self._origin.facts.problems

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
        """When this window begins, to the microsecond; None if nothing says it.

        Its first word was sampled then, unless it begins with a gap.
        """
        start = self._origin.facts.start
        if start is None or self._first == 0:
            return start
        if self.sample_rate is None:
            return None
        try:
            return start + timedelta(microseconds=int(self._first * 1_000_000 / self.sample_rate))
        except OverflowError:  # gaps that no calendar holds
            return None

    @property
    def start_ns(self) -> int | None:
        """The same in nanoseconds since 1970; None if nothing says it.

        Exact where only a header states the start, with up to nine digits; a sidecar's is to the microsecond. What is
        less than a nanosecond is cut off.
        """
        start_ns = self._origin.facts.start_ns
        if start_ns is None or self._first == 0:
            return start_ns
        return None if self.sample_rate is None else start_ns + int(self._first * 10**9 / self.sample_rate)

    @property
    def payload(self) -> dict[str, str] | None:
        """Where data begin in the file and how that is known: ``{"layout": "8n", "known_by": "text"}``.

        See `fastcap.payload.Layout`; None for words in memory.
        """
        layout = self._origin.facts.layout
        return layout.report() if layout else None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where words are missing in this window, exactly counted; indices count from its begin.

        A window of time (`Trace.window`) has what was lost in that time: also what its edges cut out of a gap.
        A slice has the gaps between its words; one before the first or behind the last word of a trace is in
        slices that reach that end. ``gap.word`` and ``gap.words_lost`` count words of the source, so that
        ``len(tr)`` and all ``words_lost`` add up to the window's time.
        """
        return self._origin.gaps_within(self._begin, self._end, self._first, self._last)

    @property
    def words_lost(self) -> int:
        """How many words are missing in this window, exactly counted."""
        return self._last - self._first - len(self)

    def _refuse_lost(self) -> None:
        """Refuse to make something of a window of which nothing is there.

        Raises
        ------
        ValueError
            All its words were lost.
        """
        if self.words_lost and not len(self):
            stages = ", ".join(dict.fromkeys(gap.stage for gap in self.gaps))
            raise ValueError(
                f"{self.path or 'this trace'}: all {self.words_lost:,} words of this window were lost ({stages}); "
                "choose another"
            )
