"""A span of time of many files, which offers much of what a trace does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcap._gaps import lost_in
from fastcap._layout import NO_FILE
from fastcap._stretches import Stretch, stats_of
from fastcap._values import Floats, out_for, polar_outs

if TYPE_CHECKING:
    from fastcap.collection import TraceSet
    from fastcap.sidecar import Gap
    from fastcap.spectrogram import Spectrogram
    from fastcap.stats import TraceStats
    from fastcap.trace import Trace

__all__ = ["Window"]


class Window:
    """A span of time of a set of traces: much of what a `Trace` offers, over the edges of files.

    What is missing in it, lost words as well as time between files, is left out of `words`, `radius` and
    `phase()`, and NaN in ``phase(rate=...)``.

    Parameters
    ----------
    traces : TraceSet
        What it is a window of.
    start, stop : datetime
        Its words were sampled at ``start <= t < stop``.
    """

    def __init__(self, traces: TraceSet, start: datetime, stop: datetime) -> None:
        self._traces = traces
        self.start, self.stop = start, stop
        self._begin = math.ceil(traces._layout.words_after(start))
        self._end = math.ceil(traces._layout.words_after(stop))

    def __reduce__(self) -> tuple[Any, ...]:
        return Window, (self._traces, self.start, self.stop)

    def __len__(self) -> int:
        return sum(len(stretch) for stretch in self._stretches)

    def __repr__(self) -> str:
        span = f"{self.start.isoformat()} to {self.stop.isoformat()}"
        lost = [gap for gap in self.gaps if gap.stage != NO_FILE]
        absent = self.span_words - len(self) - self.words_lost
        told = lost_in(lost) + (f", {absent:,} in no file" if absent else "")
        return f"<Window {span}: {len(self):,} words, fill {self.fill:.3g}{told}>"

    @property
    def sample_rate(self) -> Fraction:
        """Words per second, exactly."""
        return self._traces.sample_rate

    @property
    def sample_rate_hz(self) -> float:
        """Words per second."""
        return float(self.sample_rate)

    @property
    def span_words(self) -> int:
        """Words that it would hold if none were missing."""
        return self._end - self._begin

    @property
    def fill(self) -> float:
        """Share of it that is there: 0 to 1."""
        return len(self) / self.span_words if self.span_words else 0.0

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Where words are missing in it, exactly counted; indices count from its begin, as `Trace.gaps` does.

        Time that no file of the set covers is a gap of the stage ``"no file"``. ``len(window)`` and all ``words_lost``
        of its gaps add up to `span_words`.
        """
        return tuple(self._traces._layout.gaps(self._begin, self._end))

    @property
    def words_lost(self) -> int:
        """How many words of its time were lost; time that no file covers does not count."""
        return sum(gap.words_lost for gap in self.gaps if gap.stage != NO_FILE)

    @property
    def parts(self) -> tuple[Trace, ...]:
        """The traces' windows that it is made of, none of them with a gap within."""
        return tuple(part for stretch in self._stretches for part in stretch.parts)

    @property
    def path(self) -> str:
        """What it is a window of, for a picture's title."""
        return f"{self._traces.path}, {self.start.isoformat()}"

    @cached_property
    def _stretches(self) -> tuple[Stretch, ...]:
        return tuple(self._traces._layout.stretches(self._begin, self._end))

    def stretches(self) -> Iterator[Stretch]:
        """Yield what is there, piece by piece without gaps."""
        return iter(self._stretches)

    @property
    def words(self) -> NDArray[np.uint64]:
        """Its words, ``(n,) uint64``: a copy."""
        return np.concatenate([np.empty(0, np.uint64), *(part.words for part in self.parts)])

    def radius(self, out: Floats | None = None) -> Floats:
        """Return the radius, ``(n,) float64``, ADC counts, into ``out`` if given."""
        out, at = out_for(len(self), out), 0
        for part in self.parts:
            part.radius(out[at : at + len(part)])
            at += len(part)
        return out

    def phase(self, out: Floats | None = None, *, rate: str | float | Fraction | None = None) -> Floats:
        """Return the phase in turns, unwrapped from the first word of each recording.

        Parameters
        ----------
        out : (n,) float64, optional
            Filled and returned; made if not given.
        rate : str or number, optional
            ``"400Hz"``: filtered and decimated; value k is that at k/rate after the window's start. See
            `fastcap.decimate.phase_at`.
        """
        if rate is not None:
            from fastcap.decimate import phase_at

            if out is not None:
                raise ValueError("out is for the phase of every word; leave it out with rate")
            return phase_at(self, rate)
        out = out_for(len(self), out)
        self._decode(out, None)
        return out

    def polar(
        self, phase_out: Floats | None = None, radius_out: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return `phase` and `radius` in one pass over the words.

        Parameters
        ----------
        phase_out, radius_out : (n,) float64, optional
            Filled and returned; made if not given.

        Raises
        ------
        ValueError
            Outputs do not fit, or overlap.
        """
        phase_out, radius_out = polar_outs(len(self), phase_out, radius_out)
        self._decode(phase_out, radius_out)
        return phase_out, radius_out

    def _decode(self, phase: Floats, radius: Floats | None) -> None:
        """Fill phase and radius of all words; rollovers go on over the files of a recording."""
        at = 0
        for stretch in self._stretches:
            carry = stretch.carry()
            for part in stretch.parts:
                place = slice(at, at + len(part))
                outs = phase[place], None if radius is None else radius[place]
                part._origin.stored.decode(part._begin, part._end, *outs, carry)
                at += len(part)

    def stats(self) -> TraceStats:
        """Return statistics of radius and phase, without the start-up transients that the window holds."""
        return stats_of(self._stretches)

    def spectrogram(self, *args: Any, **options: Any) -> Spectrogram:
        """Return the phase's spectrum over time; see `fastcap.spectrogram.spectrogram`."""
        from fastcap.spectrogram import spectrogram

        return spectrogram(self, *args, **options)
