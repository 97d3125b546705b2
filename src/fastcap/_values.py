"""Values of stored words, piece by piece: what is read is in memory before it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._stored import Stored

if TYPE_CHECKING:
    from fastcap.sidecar import Gap
    from fastcap.stats import TraceStats

Floats = NDArray[np.float64]


def split_into(stored: Stored, begin: int, end: int, which: int, dtype: Any) -> NDArray[Any]:
    """Return I (0), Q (1) or M (2) of words ``begin`` to ``end``."""
    out = np.empty(end - begin, dtype)
    at = 0
    for words in stored.pieces(begin, end):
        out[at : at + words.size] = fw.split_iqm(words)[which]
        at += words.size
    return out


def radius_into(stored: Stored, begin: int, end: int, out: Floats | None) -> Floats:
    """Fill ``out`` with the radius of words ``begin`` to ``end``; see `fastcap.words.radius`."""
    out = out_for(end - begin, out)
    at = 0
    for words in stored.pieces(begin, end):
        fw.radius(words, out[at : at + words.size])
        at += words.size
    return out


def phase_into(stored: Stored, begin: int, end: int, out: Floats | None, carry: fw.Carry) -> Floats:
    """Fill ``out`` with the phase of words ``begin`` to ``end``; see `fastcap.words.phase`."""
    at = 0
    out = out_for(end - begin, out)
    for words in stored.pieces(begin, end):
        fw.phase(words, out[at : at + words.size], carry)
        at += words.size
    return out


def update_stats(stats: TraceStats, stored: Stored, begin: int, end: int, gaps: Sequence[Gap]) -> None:
    """Take words ``begin`` to ``end`` into ``stats``, and the gaps between them, counted from ``begin``."""
    at = begin
    for gap in gaps:
        for words in stored.pieces(at, begin + gap.file_word):
            stats.update(words)
        stats.gap(gap.words_lost)
        at = begin + gap.file_word
    for words in stored.pieces(at, end):
        stats.update(words)


def out_for(size: int, out: Floats | None) -> Floats:
    """Return ``out`` after checking it, or a new array.

    Raises
    ------
    ValueError
        It is no writeable float64 array of this size.
    """
    if out is None:
        return np.empty(size, np.float64)
    if not isinstance(out, np.ndarray) or out.shape != (size,) or out.dtype != np.float64:
        kind = (
            f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else f"a {type(out).__name__}"
        )
        raise ValueError(f"out is {kind}; give a float64 array of shape ({size},)")
    if not out.flags.writeable:
        raise ValueError("out cannot be written to; give one that can")
    return out
