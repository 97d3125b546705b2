"""Times of a file and of a window in it, as the lab's scripts know them: datetimes beside word indices."""

from __future__ import annotations

import logging
import math
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from fastcap._gaps import file_word

if TYPE_CHECKING:
    from fastcap.trace import Trace

_LOG = logging.getLogger(__name__)
_MICROSECOND = timedelta(microseconds=1)


class Timings:
    """Times and word indices of a file, and of the window that was chosen.

    Attributes
    ----------
    trace_start, trace_end : datetime
        When the first word was sampled, as the header says, and one interval after the last.
    trace_duration, sample_interval : timedelta
        Rounded to the microsecond; indices never go by them.
    trace_freq : float
        Words per second.
    plot_start, plot_end : datetime
        The window, within the file.
    """

    def __init__(self, start: datetime, rate: Fraction, trace: Trace) -> None:
        self._rate, self._trace = rate, trace
        self._span = len(trace) + sum(gap.words_lost for gap in trace.gaps)
        self.trace_start = start
        self.trace_freq = float(rate)
        self.trace_duration = timedelta(microseconds=round(self._span * 1_000_000 / rate))
        self.sample_interval = timedelta(microseconds=round(1_000_000 / rate))
        self.trace_end = start + self.trace_duration
        self.plot_start, self.plot_end = self.trace_start, self.trace_end

    def update_plot_timing(
        self,
        start: datetime | timedelta | None = None,
        duration: timedelta | None = None,
        end: datetime | None = None,
    ) -> bool:
        """Choose a window; what lies outside the file is cut off, with a warning in the log.

        Parameters
        ----------
        start : datetime or timedelta, optional
            A time, or a time after the file's start; default: as it was. A datetime without time zone is this
            machine's local time, as Python has it; so is one with a zone if the file's start has none.
        duration : timedelta, optional
            Counted from ``start`` before that is cut off.
        end : datetime, optional
            Instead of a duration. Default: as it was; a start behind it makes the window empty.

        Returns
        -------
        bool
            Whether the window is another one now.

        Raises
        ------
        ValueError
            Both duration and end are given, the duration is negative, the end is before the start, or one is
            no time. The window is unchanged.
        """
        if duration is not None and end is not None:
            raise ValueError(f"duration {duration} and end {end} are both given; give one of them")
        if not isinstance(duration, timedelta | None):
            raise ValueError(f"duration {duration!r} is no timedelta; give one")
        if duration is not None and duration < timedelta():
            raise ValueError(f"duration {duration} is negative; give a time of at least 0")
        before = self.plot_start, self.plot_end
        begin = self._absolute(start)
        finish = self._absolute(end)
        if duration is not None:
            finish = (self.plot_start if begin is None else begin) + duration
        if begin is not None and finish is not None and finish < begin:
            raise ValueError(f"end {finish} is before start {begin}; swap them")
        if begin is not None:
            self.plot_start = self._inside(begin)
            self.plot_end = max(self.plot_end, self.plot_start)
        if finish is not None:
            self.plot_end = self._inside(finish)
            self.plot_start = min(self.plot_start, self.plot_end)
        return (self.plot_start, self.plot_end) != before

    def _absolute(self, time: datetime | timedelta | None) -> datetime | None:
        if isinstance(time, timedelta):
            return self.trace_start + time
        if not isinstance(time, datetime | None):
            raise ValueError(f"{time!r} is neither a datetime nor a timedelta; give one")
        if time is None or (time.tzinfo is None) == (self.trace_start.tzinfo is None):
            return time
        if time.tzinfo is None:
            return time.astimezone(self.trace_start.tzinfo)
        return time.astimezone().replace(tzinfo=None)

    def _inside(self, time: datetime) -> datetime:
        inside = min(max(time, self.trace_start), self.trace_end)
        if inside != time:
            _LOG.warning("%s is outside the trace, %s to %s: cut off", time, self.trace_start, self.trace_end)
        return inside

    def _index(self, time: datetime) -> int:
        """Return the file's index of the first word that was sampled at ``time`` or later."""
        if time >= self.trace_end:
            return len(self._trace)
        after = Fraction((time - self.trace_start) // _MICROSECOND, 1_000_000)
        return file_word(self._trace.gaps, math.ceil(after * self._rate))

    @property
    def start_idx(self) -> int:
        """Index of the window's first word."""
        return self._index(self.plot_start)

    @property
    def end_idx(self) -> int:
        """Index of the first word behind the window."""
        return self._index(self.plot_end)

    @property
    def duration_idx(self) -> int:
        """Words of the window."""
        return self.end_idx - self.start_idx

    @property
    def trace_duration_idx(self) -> int:
        """Words of the file."""
        return len(self._trace)

    def __str__(self) -> str:
        return (
            f"trace from {self.trace_start} for {self.trace_duration}, {self.trace_duration_idx} words; "
            f"window from {self.plot_start} to {self.plot_end}, {self.duration_idx} words"
        )
