"""What a trace tells without reading its words."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from fastcap._origin import Origin
from fastcap.sidecar import Gap
from fastcap.stream import Header


class TraceFacts:
    """Words ``begin`` to ``end`` of an origin, and the facts of them."""

    def __init__(self, origin: Origin, begin: int, end: int) -> None:
        self._origin = origin
        self._begin = begin
        self._end = end

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
        """In what file, header and sidecar contradict each other, each in a line; `load` logged them."""
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
        """When the first word of this window was sampled, to the microsecond; None if nothing says it."""
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
    def gaps(self) -> tuple[Gap, ...]:
        """Where words are missing in this window, exactly counted; indices count from its first word."""
        return self._origin.gaps_within(self._begin, self._end)

    @property
    def _first(self) -> int:
        """Source index of the window's first word."""
        return self._origin.source_word(self._begin)
