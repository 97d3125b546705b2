"""Rows of an index: what a block of words comes to, and whether a row is that of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._indexfile import BLOCK_WORDS, NO_WORD_BEFORE, ROW_BYTES

Rows = NDArray[np.void]

_SUMS = ("min", "max", "mean", "m2")
ROW = np.dtype(
    [("wraps", "<i8"), ("m_before", "<i4"), ("words", "<u4")]
    + [(f"{what}_{sum_}", "<f8") for what in ("phase", "radius") for sum_ in _SUMS]
)
assert ROW.itemsize == ROW_BYTES
_EXACT = ("wraps", "m_before", "words")
_CLOSE = tuple(f"{what}_{sum_}" for what in ("phase", "radius") for sum_ in _SUMS[:3])
_PIECE_WORDS = 1 << 14


def rows_of(words: fw.Words, carry: fw.Carry) -> Rows:
    """Return the rows of consecutive blocks, the last of which may be short.

    Parameters
    ----------
    words : (n,) uint64
        They begin where a block does.
    carry : Carry
        Rollover state before them; advanced in place.
    """
    rows = np.zeros(-(-words.size // BLOCK_WORDS), ROW)
    for row, at in zip(rows, range(0, words.size, BLOCK_WORDS), strict=True):
        block = words[at : at + BLOCK_WORDS]
        row["wraps"] = carry.wraps
        row["m_before"] = NO_WORD_BEFORE if carry.last_m is None else carry.last_m
        row["words"] = block.size
        for what, values in (("phase", fw.phase(block, carry=carry)), ("radius", fw.radius(block))):
            mean = values.mean()
            row[f"{what}_min"], row[f"{what}_max"] = values.min(), values.max()
            row[f"{what}_mean"], row[f"{what}_m2"] = mean, np.square(values - mean).sum()
    return rows


def carry_of(row: np.void) -> fw.Carry:
    """Return the rollover state before a row's block."""
    m = int(row["m_before"])
    return fw.Carry(wraps=int(row["wraps"]), last_m=None if m == NO_WORD_BEFORE else m)


def advance(words: fw.Words, carry: fw.Carry) -> None:
    """Advance a rollover state past ``words``."""
    for at in range(0, words.size, _PIECE_WORDS):
        fw._unwrap(fw._m(words[at : at + _PIECE_WORDS]), carry)


def same_rows(a: Rows, b: Rows) -> bool:
    """Tell whether rows are of the same words: made on different machines, sums may differ by a few ulp."""
    return all(np.array_equal(a[name], b[name]) for name in _EXACT) and all(
        np.allclose(a[name], b[name], rtol=1e-11, atol=1e-9) for name in _CLOSE
    )
