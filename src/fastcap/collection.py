"""Many files as one: sorted in time, cut into windows across their edges, worked through near or far."""

from __future__ import annotations

import glob
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

from fastcap._files import room_for_traces
from fastcap._layout import Layout
from fastcap._schedule import Scheduler, run_all
from fastcap._stretches import Stretch, pieces_of
from fastcap.errors import StreamFormatError
from fastcap.stats import TRANSIENT_WORDS, TraceStats
from fastcap.trace import Trace, load
from fastcap.units import format_duration, format_rate_hz

if TYPE_CHECKING:
    from fastcap.windows import Windows

__all__ = ["TraceSet", "load_many"]

_CHUNK_WORDS = 1 << 26  # 512 MiB


def load_many(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Trace], *, payload: str = "auto"
) -> TraceSet:
    """Open many recordings of one board as one set, sorted by their start.

    Parameters
    ----------
    files : str, path, or iterable of these or of Trace
        ``"2024-01-19*.bin"`` (``**`` goes through folders); a folder means the ``.bin`` files in it. A file
        named twice counts once.
    payload : {"auto", "8n", "8n+8", "none"}
        As `fastcap.load` takes it.

    Raises
    ------
    StreamFormatError
        No file matches, one cannot be read or has no known rate or start, rates differ, or files overlap.
    ValueError
        A given trace is a window of one.
    """
    given = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    traces: list[Trace] = []
    seen: set[str] = set()
    for item in given:
        if isinstance(item, Trace):
            if len(item) != item._origin.words:
                raise ValueError(f"{item!r} is a window of a trace; a set is made of whole ones")
            traces.append(item)
            continue
        paths = _matches(os.fspath(item))
        room_for_traces(len(paths))
        for path in paths:
            if os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                traces.append(load(path, payload=payload))
    return TraceSet(traces)


def _matches(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "*.bin")
    elif os.path.lexists(pattern) or not glob.has_magic(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise StreamFormatError(f"{pattern}: no file matches; name .bin files")
    return found


class TraceSet(Sequence[Trace]):
    """Recordings of one board, in the order of their starts; `load_many` makes it.

    Files that `capture --split` cut from one recording are joined again: their words follow each other exactly,
    and the phase goes on. Other files lie where their starts say, and the phase of each begins anew; one that
    seems to begin up to a second before the last has ended (a header tells whole seconds) lies right behind it.

    `fastcap.decimate.phase_at` and `spectrogram` take a set as they take a trace.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        if not traces:
            raise StreamFormatError("no traces are given; name at least one .bin file")
        self._layout = Layout(traces)
        self._traces = [placed.trace for placed in self._layout.placed]

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Trace]: ...
    def __getitem__(self, index: int | slice) -> Trace | Sequence[Trace]:
        return self._traces[index]

    def __len__(self) -> int:
        return len(self._traces)

    def __reduce__(self) -> tuple[Any, ...]:
        pickled = tuple(pickle.dumps(trace) for trace in self)
        return (_once_a_process if all(trace.path for trace in self) else _unpickled), (pickled,)

    def __repr__(self) -> str:
        span = format_duration(self.span_words / self.sample_rate)
        told = f"{self.words:,} words, {format_rate_hz(self.sample_rate)}, {span}"
        return f"<TraceSet of {len(self)} files from {self.start.isoformat()}: {told}>"

    @property
    def path(self) -> str:
        """The files, for a picture's title."""
        first, last = (os.path.basename(self[k].path or "words in memory") for k in (0, -1))
        return first if len(self) == 1 else f"{len(self)} files, {first} to {last}"

    @property
    def sample_rate(self) -> Fraction:
        """Words per second, exactly: that of every trace."""
        return self._layout.rate

    @property
    def start(self) -> datetime:
        """When the first trace's first word was sampled, UTC."""
        return self._layout.start

    @property
    def words(self) -> int:
        """Words that are there."""
        return sum(len(trace) for trace in self)

    @property
    def span_words(self) -> int:
        """Words from the first to the last, those counted that are lost or were never recorded."""
        return self._layout.span_words

    def stretches(self) -> Iterator[Stretch]:
        """Yield what is there, piece by piece without gaps."""
        return self._layout.stretches(0, self.span_words)

    def windows(
        self, length: str | float | Fraction, *, min_fill: float = 0.5, origin: datetime | None = None
    ) -> Windows:
        """Cut the whole time into windows of equal length, over the edges of files; see `fastcap.windows.Windows`.

        Parameters
        ----------
        length : str or number
            ``"15min"``.
        min_fill : float
            Windows of which a smaller share was recorded are left out.
        origin : datetime, optional
            A time at which a window begins; default: midnight UTC. In UTC every window is as long as the
            next, also on the days on which clocks are changed.
        """
        from fastcap.windows import Windows

        return Windows(self, length, min_fill=min_fill, origin=origin)

    def map(
        self,
        function: Callable[[Trace], Any],
        *,
        scheduler: Scheduler = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> list[Any]:
        """Return ``function(trace)`` of every trace, in order.

        Parameters
        ----------
        function : callable
            Called with each file's trace. Sent to other processes by value, also from a notebook.
        scheduler : None, "local", an address, or a dask client
            Where it runs: None: in this process, one after the other. "local": in processes of this machine.
            An address such as ``"tcp://node1:8786"``: on that dask cluster, whose workers must see the files
            under the same names.
        progress : callable, optional
            Called with how many are done and how many there are.

        Raises
        ------
        ConfigError
            dask is not installed, or the cluster cannot be reached.
        Exception
            What ``function`` raised, with a note of which trace it was.
        """
        jobs = [(trace,) for trace in self]
        return list(run_all(_named(function), jobs, scheduler, progress))

    def stats(
        self, *, scheduler: Scheduler = None, progress: Callable[[int, int], object] | None = None
    ) -> TraceStats:
        """Return statistics of radius and phase of all words, as of one pass over them.

        Files are cut into chunks that know nothing of each other; rollovers at and before their edges are put
        right when they are combined. The start-up transient of each recording is left out. There is no
        spectrum: its segments would miss the edges.

        Parameters
        ----------
        scheduler, progress
            As for `map`.
        """
        jobs = [
            (trace, begin, min(len(trace), begin + _CHUNK_WORDS))
            for trace in self
            for begin in range(0, max(1, len(trace)), _CHUNK_WORDS)
        ]
        continues = {id(placed.trace): placed.continues for placed in self._layout.placed}
        total, recording = TraceStats(0), TraceStats(0)
        for (trace, begin, _), part in zip(
            jobs, run_all(_chunk_stats, jobs, scheduler, progress), strict=True
        ):
            if begin or continues[id(trace)]:
                recording.append(part)
            else:
                total.merge(recording)
                recording = part
        total.merge(recording)
        return total


def _unpickled(pickled: tuple[bytes, ...]) -> TraceSet:
    room_for_traces(len(pickled))
    return TraceSet([pickle.loads(one) for one in pickled])


@lru_cache(maxsize=2)
def _once_a_process(pickled: tuple[bytes, ...]) -> TraceSet:
    """Open a set's files once for all the windows that are sent to this process."""
    return _unpickled(pickled)


def _named(function: Callable[[Trace], Any]) -> Callable[[Trace], Any]:
    def of_trace(trace: Trace) -> Any:
        try:
            return function(trace)
        except Exception as error:
            error.add_note(f"in the trace {trace.path or 'in memory'}")
            raise

    return of_trace


def _chunk_stats(trace: Trace, begin: int, end: int) -> TraceStats:
    """Return the statistics of words ``begin`` to ``end`` of a file, as if nothing came before them.

    The file's first begin with the rollovers that a V2 header states.
    """
    from fastcap.words import Carry

    chunk, facts = trace[begin:end], trace._origin.facts
    carry = Carry(0 if begin else facts.wraps)
    stats = TraceStats(max(0, TRANSIENT_WORDS - facts.first_word - chunk._first), carry=carry)
    at = 0
    for gap in (*chunk.gaps, None):
        upto = gap.file_word if gap else len(chunk)
        for words in pieces_of(chunk[at:upto]):
            stats.update(words)
        if gap:
            stats.gap(gap.words_lost)
        at = upto
    return stats
