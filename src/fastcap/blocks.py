"""What a function of blocks is given: the words of a running recording, block by block, as they come.

    def spikes(blocks):
        found = 0
        for b in blocks:
            found += int((b.radius() > 6e5).sum())
        return {"spikes": found, "missed": blocks.missed_words}

A function of the analysis process is one of blocks if its first parameter is named ``blocks``; otherwise it is
called once, with the `Trace` of the finished recording.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap.stream import Header

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


class ArrivedBlock:
    """Consecutive words of the stream, in memory of their own: they stay valid.

    Attributes
    ----------
    words : (n,) uint64
    index : int
        The source's index of the first word; words lost before it count.
    gap_before : int
        Words missing between the block before and this one.
    """

    def __init__(self, words: Words, index: int, gap_before: int, carry: fw.Carry) -> None:
        self.words = words
        self.index = index
        self.gap_before = gap_before
        self._carry = carry

    def __len__(self) -> int:
        return int(self.words.size)

    def i(self) -> NDArray[np.int32]:
        """Return I, ``(n,) int32``, ADC counts."""
        return fw.split_iqm(self.words)[0]

    def q(self) -> NDArray[np.int32]:
        """Return Q, ``(n,) int32``, ADC counts."""
        return fw.split_iqm(self.words)[1]

    def m(self) -> NDArray[np.int16]:
        """Return M, ``(n,) int16``, whole turns modulo 2**16."""
        return fw.split_iqm(self.words)[2]

    def radius(self, out: Floats | None = None) -> Floats:
        """Return the radius, ``(n,) float64``, ADC counts, into ``out`` if given."""
        return fw.radius(self.words, out)

    def phase(self, out: Floats | None = None) -> Floats:
        """Return the phase in turns, unwrapped from the recording's first word, into ``out`` if given."""
        return fw.phase(self.words, out, copy.copy(self._carry))

    def polar(
        self, phase_out: Floats | None = None, radius_out: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return `phase` and `radius` in one pass."""
        return fw.phase_radius(self.words, phase_out, radius_out, copy.copy(self._carry))


class Blocks:
    """The blocks of a running recording, in order; iterate once.

    What is asked for too late is missing: the capture waits for nobody. ``gap_before`` of the next block and
    `missed_words` say how much.

    Attributes
    ----------
    meta : dict
        What was noted with the capture.
    start : datetime or None
        When the recording began; known from the first block on, as `header` and `sample_rate_hz` are.
    header : Header or None
    sample_rate_hz : float or None
    missed_words : int
        Words that arrived but were overwritten before this function asked for them.
    """

    def __init__(
        self, source: Callable[[Blocks], Iterator[ArrivedBlock]], meta: dict[str, Any] | None
    ) -> None:
        self.meta = dict(meta or {})
        self.start: datetime | None = None
        self.header: Header | None = None
        self.sample_rate_hz: float | None = None
        self.missed_words = 0
        self._source = source(self)

    def __iter__(self) -> Iterator[ArrivedBlock]:
        return self._source

    def __next__(self) -> ArrivedBlock:
        return next(self._source)
