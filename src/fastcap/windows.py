"""Windows of equal length over many files, and what a function gives for each of them.

    windows = fc.load_many("2024-01-19*.bin").windows("15min", min_fill=0.5)
    result = windows.map(lambda w: w.spectrogram("20s", band_hz=(1.5, 50)).density.mean(axis=0))

A function that returns a list, or yields, gives several values for a window: their mean and spread are kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, overload

from fastcap._schedule import Scheduler, connected, run_any
from fastcap.mapped import MapResult, Store, Summary
from fastcap.units import parse_duration_s
from fastcap.window import Window

if TYPE_CHECKING:
    from fastcap.collection import TraceSet
    from fastcap.spectrogram import Spectrogram
    from fastcap.trace import Trace

__all__ = ["Window", "Windows"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Windows(Sequence[Window]):
    """The windows of a set of which at least a share of ``min_fill`` is there; `TraceSet.windows` makes it.

    They begin at whole multiples of their length from ``origin`` on, so that windows of different nights, files
    and computers lie on one grid.
    """

    def __init__(
        self,
        traces: TraceSet,
        length: str | float | Fraction,
        *,
        min_fill: float = 0.5,
        origin: datetime | None = None,
    ) -> None:
        length_s = parse_duration_s(length)
        micros = length_s * 1_000_000
        if micros < 1 or micros.denominator != 1 or length_s * traces.sample_rate < 1:
            raise ValueError(
                f"windows of {length} do not hold a word, or are no whole number of microseconds"
            )
        if not 0 <= min_fill <= 1:
            raise ValueError(f"min_fill {min_fill} is not a share from 0 to 1")
        if origin is not None and origin.tzinfo is None:
            raise ValueError(f"origin {origin} has no time zone; give one, such as datetime(..., tzinfo=UTC)")
        self.length = timedelta(microseconds=int(micros))
        self.min_fill = min_fill
        self.origin = _EPOCH if origin is None else origin.astimezone(UTC)
        self._traces = traces
        self._numbers = self._filled()

    def _filled(self) -> list[int]:
        """Return the numbers, from the origin on, of windows that hold enough."""
        layout = self._traces._layout
        length_words = self.length // timedelta(microseconds=1) * layout.rate / 1_000_000
        zero = layout.words_after(self.origin)
        held: dict[int, int] = {}
        for stretch in self._traces.stretches():
            begin, end = stretch.at, stretch.at + len(stretch)
            number = math.floor((begin - zero) / length_words)
            while begin < end:
                edge = min(end, math.ceil(zero + (number + 1) * length_words))
                held[number] = held.get(number, 0) + edge - begin
                begin, number = edge, number + 1
        return sorted(n for n, words in held.items() if words and words >= self.min_fill * length_words)

    @property
    def path(self) -> str:
        """The files, for a picture's title."""
        return self._traces.path

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | Sequence[Window]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        start = self.origin + self._numbers[index] * self.length
        return Window(self._traces, start, start + self.length)

    def __repr__(self) -> str:
        return f"<{len(self)} windows of {self.length}, at least {self.min_fill:.3g} filled>"

    def map(
        self,
        function: Callable[[Window], Any],
        *,
        results: str | os.PathLike[str] | None = None,
        scheduler: Scheduler = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> MapResult:
        """Return mean and spread of what ``function`` gives for each window.

        Parameters
        ----------
        function : callable
            Called with a `Window`. Returns a number, an array, or a dict of these; or a list of such, or yields
            them: then the window's mean and spread are of all these. NaN in them does not count.
        results : path, optional
            A folder of its own, made if need be, to keep what is finished in. A later call with the same
            function and folder goes on from there. Windows are done anew whose words are more, fewer or
            elsewhere than they were, or begin or end with others; not for words changed in place amid a file.
        scheduler : None, "local", an address, or a dask client
            As for `TraceSet.map`. In other processes, missing indices of files are made first.
        progress : callable, optional
            Called with how many are done and how many there are.

        Returns
        -------
        MapResult

        Raises
        ------
        ConfigError
            ``results`` holds those of another function or grid, or dask is missing.
        Exception
            What ``function`` raised, with a note of which window it was. What was finished before is kept.
        """
        store = Store(results, function, self.length, self.origin) if results is not None else None
        windows = list(self)
        found: list[Summary | None] = [store.load(window) if store else None for window in windows]
        todo = [k for k, summary in enumerate(found) if summary is None]
        before = len(windows) - len(todo)
        with connected(scheduler if todo else None) as client:
            if client is not None:
                _make_indices(self._traces, client)
            for done, (k, summary) in enumerate(
                run_any(_job(function), [(windows[k],) for k in todo], client), 1
            ):
                found[todo[k]] = summary
                if store is not None:
                    store.save(windows[todo[k]], summary)
                if progress is not None:
                    progress(before + done, len(windows))
        return MapResult.of(windows, [summary for summary in found if summary is not None])

    def spectrogram(
        self,
        window_s: str | float | Fraction,
        band_hz: tuple[float, float],
        *,
        overlap: float = 0.5,
        detrend: Literal["linear", "constant"] | None = "linear",
        results: str | os.PathLike[str] | None = None,
        scheduler: Scheduler = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Spectrogram:
        """Return one spectrum a window: the mean over its segments of ``window_s``, and their spread.

        Rows are ``length`` apart; those of windows that were left out are NaN.

        Parameters
        ----------
        window_s, band_hz, overlap, detrend
            As for `fastcap.spectrogram.spectrogram`.
        results, scheduler, progress
            As for `map`.

        Raises
        ------
        ValueError
            There is no window, or none is as long as a segment.
        """
        from fastcap._binned import binned_spectrogram

        return binned_spectrogram(
            self,
            window_s,
            band_hz,
            overlap=overlap,
            detrend=detrend,
            results=results,
            scheduler=scheduler,
            progress=progress,
        )


def _job(function: Callable[[Window], Any]) -> Callable[[Window], Summary]:
    def of_window(window: Window) -> Summary:
        try:
            return Summary.of(function(window))
        except Exception as error:
            error.add_note(f"in the window of {window.start.isoformat()}")
            raise

    return of_window


def _make_indices(traces: Sequence[Trace], client: Any) -> None:
    """Make the indices of files that have none, a job for each: a window then needs nothing before it."""
    missing = [
        trace for trace in traces if trace.path and trace._origin.index.count < trace._origin.index.blocks
    ]
    for _ in run_any(_make_index, [(trace,) for trace in missing], client):
        pass


def _make_index(trace: Trace) -> None:
    index = trace._origin.index
    index.extend(index.blocks)
    index.keep()
