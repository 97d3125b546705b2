"""Rows of an index, `fastcap.words.index_rows`: what they say, and whether two are of the same words."""

from __future__ import annotations

import numpy as np

from fastcap import words as fw
from fastcap._indexfile import NO_WORD_BEFORE
from fastcap.words import ROW, Rows
from fastcap.words import index_rows as rows_of

__all__ = ["ROW", "Rows", "advance", "carry_of", "rows_of", "same_rows"]

_EXACT = ("wraps", "m_before", "words")
_CLOSE = tuple(name for name in ROW.names or () if name.endswith(("min", "max", "mean")))


def carry_of(row: np.void) -> fw.Carry:
    """Return the rollover state before a row's block."""
    m = int(row["m_before"])
    return fw.Carry(wraps=int(row["wraps"]), last_m=None if m == NO_WORD_BEFORE else m)


def advance(words: fw.Words, carry: fw.Carry) -> None:
    """Advance a rollover state past ``words``."""
    fw.advance(carry, words)


def same_rows(a: Rows, b: Rows) -> bool:
    """Tell whether rows are of the same words; another version's sums may differ by a few ulp."""
    return all(np.array_equal(a[name], b[name]) for name in _EXACT) and all(
        np.allclose(a[name], b[name], rtol=1e-11, atol=1e-9) for name in _CLOSE
    )
