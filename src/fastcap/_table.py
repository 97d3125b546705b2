"""A trace as columns with units, block by block: what every format of `fastcap.export` is written from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap import __version__
from fastcap._gaps import source_words
from fastcap.errors import ConfigError
from fastcap.units import parse_rate_hz

if TYPE_CHECKING:
    from fastcap.trace import Trace
    from fastcap.units import Duration

_BLOCK_WORDS = 1 << 16


class Column(msgspec.Struct, frozen=True):
    """One quantity: its name alone, and with the unit for formats that know no units."""

    name: str
    full_name: str
    unit: str
    long_name: str
    dtype: str


COLUMNS = {
    column.name: column
    for column in (
        Column("phase", "phase_turns", "turn", "phase, unwrapped from the file's first word", "<f8"),
        Column("radius", "radius_counts", "count", "radius: hypot(I, Q), ADC counts", "<f8"),
        Column("i", "i_counts", "count", "I, ADC counts", "<i4"),
        Column("q", "q_counts", "count", "Q, ADC counts", "<i4"),
        Column("m", "m_turns", "turn", "M: whole turns modulo 65536, as in the words", "<i2"),
    )
}
TIME = Column("time", "time_s", "s", "time since the file's first word", "<f8")
WORD = Column("word", "word", "1", "index of the word in the window; the rate is not known", "<i8")

LOST = Column("words_lost", "words_lost", "1", "words lost right before; of the last row, also behind", "<i8")


class Table:
    """A window of a trace, at its own rate or decimated.

    Attributes
    ----------
    coordinate : Column
        Time; the word's index where the rate is not known.
    columns : tuple of Column
        What was asked for.
    rows : int
        How many values each has.

    Raises
    ------
    ConfigError
        A column is unknown.
    ValueError
        The window reaches beyond the trace, all of it was lost, or the rate does not fit.
    """

    def __init__(
        self,
        trace: Trace,
        what: Sequence[str] | None,
        start: Duration | None,
        duration: Duration | None,
        rate: str | float | Fraction | None,
    ) -> None:
        if start is not None or duration is not None:
            trace = trace.window(0 if start is None else start, duration)
        trace._refuse_lost()
        self._trace = trace
        self.rate_hz = trace.sample_rate if rate is None else parse_rate_hz(rate)
        self.columns = _chosen(what, decimated=rate is not None)
        self._decimated = None if rate is None else trace.phase(rate=self.rate_hz)
        self.rows = len(trace) if self._decimated is None else self._decimated.size
        self.coordinate = WORD if self.rate_hz is None else TIME

    def values(self, column: Column) -> Iterator[NDArray[Any]]:
        """Yield a column's values in blocks, in its own dtype."""
        for at in range(0, self.rows, _BLOCK_WORDS):
            yield self._block(column, at, min(self.rows, at + _BLOCK_WORDS)).astype(column.dtype, copy=False)

    @property
    def words_lost(self) -> int:
        """How many words of the window were lost."""
        return self._trace.words_lost

    def _block(self, column: Column, begin: int, end: int) -> NDArray[Any]:
        if column is WORD:
            return np.arange(begin, end)
        if column is TIME:
            return self._times(np.arange(begin, end))
        if column is LOST:
            return self._lost(begin, end)
        if self._decimated is not None:
            return np.asarray(self._decimated[begin:end])
        values: NDArray[Any] = getattr(self._trace[begin:end], column.name)()
        return values

    def _times(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self.rate_hz is not None
        trace, rate = self._trace, self.rate_hz
        if self._decimated is None:
            rows = source_words(trace.gaps, rows) + trace._first
            return rows * rate.denominator / rate.numerator
        assert trace.sample_rate is not None
        return rows / float(rate) + float(trace._first / trace.sample_rate)

    def _lost(self, begin: int, end: int) -> NDArray[np.int64]:
        """Return how many words were lost between each row and the one before it."""
        trace = self._trace
        rows = np.arange(begin - 1, end)
        if self._decimated is None:
            places = source_words(trace.gaps, rows)
        else:
            assert trace.sample_rate is not None
            assert self.rate_hz is not None
            places = rows * int(trace.sample_rate / self.rate_hz)
        edges = [edge for gap in trace.gaps for edge in (gap.word, gap.word + gap.words_lost)]
        sums = np.repeat(np.cumsum([0, *(gap.words_lost for gap in trace.gaps)]), 2)[1:-1]
        before = np.interp(places, edges, sums).astype(np.int64)
        if begin == 0:
            before[0] = 0
        if end == self.rows:
            before[-1] = trace.words_lost
        return np.asarray(np.diff(before), dtype=np.int64)

    def facts(self) -> dict[str, str | float | int]:
        """Return what else belongs to the values, as text and numbers."""
        trace, file_start = self._trace, self._trace._origin.facts.start  # times count from the file's
        found: dict[str, str | float | int] = {"recorder": f"fastcap {__version__}"}
        if trace.path is not None:
            found["source_file"] = trace.path
        if self.rate_hz is not None:
            found["sample_rate_hz"] = float(self.rate_hz)
        if file_start is not None:
            found["start"] = file_start.isoformat()
        if (start_ns := trace._origin.facts.start_ns) is not None:
            found["start_ns"] = start_ns
        if trace.header is not None:
            found["header"] = "\n".join(trace.header.text_lines)
        if trace.meta:
            found["meta"] = json.dumps(trace.meta, default=str)
        found["words_lost"] = trace.words_lost
        return found


def _chosen(what: Sequence[str] | None, *, decimated: bool) -> tuple[Column, ...]:
    """Return the columns that were asked for."""
    names = tuple(what) if what is not None else ("phase",) if decimated else ("phase", "radius")
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not names or len(set(names)) != len(names):
        raise ConfigError(
            f"what to export, {','.join(names) or 'nothing'}: give each of {', '.join(COLUMNS)} at most once"
        )
    if decimated and names != ("phase",):
        raise ConfigError(
            f"at another rate only the phase is exported, not {','.join(names)}; leave the rate out"
        )
    return tuple(COLUMNS[name] for name in names)
