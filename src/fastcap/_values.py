"""Values of stored words, piece by piece: what is read is in memory before it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._arrays import new_array
from fastcap._stored import Stored

if TYPE_CHECKING:
    from fastcap.sidecar import Gap
    from fastcap.stats import TraceStats

Floats = NDArray[np.float64]


def field_of(stored: Stored, begin: int, end: int, name: str) -> NDArray[Any]:
    """Return I, Q or M of words ``begin`` to ``end``; see `fastcap.words.field`."""
    out = new_array(end - begin, fw.FIELDS[name])
    at = 0
    for words in stored.pieces(begin, end):
        fw.field(words, name, out[at : at + words.size])
        at += words.size
    return out


def radius_into(stored: Stored, begin: int, end: int, out: Floats | None) -> Floats:
    """Fill ``out`` with the radius of words ``begin`` to ``end``; see `fastcap.words.radius`."""
    out = out_for(end - begin, out)
    stored.decode(begin, end, None, out)
    return out


def phase_into(stored: Stored, begin: int, end: int, out: Floats | None, carry: fw.Carry) -> Floats:
    """Fill ``out`` with the phase of words ``begin`` to ``end``; see `fastcap.words.phase`."""
    out = out_for(end - begin, out)
    stored.decode(begin, end, out, None, carry)
    return out


def polar_into(
    stored: Stored,
    begin: int,
    end: int,
    phase_out: Floats | None,
    radius_out: Floats | None,
    carry: fw.Carry,
) -> tuple[Floats, Floats]:
    """Fill both; see `fastcap.words.phase_radius`."""
    phase_out, radius_out = polar_outs(end - begin, phase_out, radius_out)
    stored.decode(begin, end, phase_out, radius_out, carry)
    return phase_out, radius_out


def polar_outs(size: int, phase_out: Floats | None, radius_out: Floats | None) -> tuple[Floats, Floats]:
    """Return both outputs after checking them, or new arrays.

    Raises
    ------
    ValueError
        They do not fit, or overlap.
    """
    phase_out, radius_out = (out_for(size, out) for out in (phase_out, radius_out))
    if np.shares_memory(phase_out, radius_out):
        raise ValueError("phase_out and radius_out overlap; give arrays of their own")
    return phase_out, radius_out


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
        made: Floats = new_array(size, np.float64)
        return made
    if not isinstance(out, np.ndarray) or out.shape != (size,) or out.dtype != np.float64:
        kind = (
            f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else f"a {type(out).__name__}"
        )
        raise ValueError(f"out is {kind}; give a float64 array of shape ({size},)")
    if not out.flags.writeable:
        raise ValueError("out cannot be written to; give one that can")
    return out
