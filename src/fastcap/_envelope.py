"""Least and greatest phase and radius of a window's columns, as a picture of it needs them: no word is skipped.

Whole blocks are looked up in the index. Where a column is wider than four blocks its edges are moved to
blocks' edges, so that a picture of any length reads a block at either end; where it is narrower the words at
its edges are read, at most one block for each.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap import words as fw
from fastcap._indexfile import BLOCK_WORDS
from fastcap._stored import Stored
from fastcap.index import BlockIndex

Floats = NDArray[np.float64]

_SNAP_BLOCKS = 4
_VALUES = ("phase_min", "phase_max", "radius_min", "radius_max")
_ROWS_AT_ONCE = 1 << 14
_PIECE_WORDS = 1 << 14


class TraceEnvelope(msgspec.Struct, frozen=True):
    """Least and greatest values of the columns of a window.

    Attributes
    ----------
    edges : (n + 1,) int64
        Column k holds the window's words from ``edges[k]`` on, before ``edges[k + 1]``: at least one.
    phase_min, phase_max : (n,) float64
        Turns, unwrapped.
    radius_min, radius_max : (n,) float64
        ADC counts.
    """

    edges: NDArray[np.int64]
    phase_min: Floats
    phase_max: Floats
    radius_min: Floats
    radius_max: Floats


def envelope(stored: Stored, index: BlockIndex, begin: int, end: int, columns: int) -> TraceEnvelope:
    """Return the envelope of words ``begin`` to ``end`` in at most ``columns`` columns."""
    stored.check(end)  # what the index says of words that are gone is not of this file
    edges = _edges(begin, end, columns)
    count = edges.size - 1
    found = {name: np.full(count, np.inf if name.endswith("min") else -np.inf) for name in _VALUES}
    if count and end - begin > count * BLOCK_WORDS:
        for lower, upper in _blocks(edges):
            _add_rows(found, edges, index, lower, upper)
        for lower, upper in _fragments(edges):
            _add_words(found, edges, stored, index, lower, upper)
    elif count:
        _add_words(found, edges, stored, index, begin, end)
    return TraceEnvelope(edges=edges - begin, **found)


def _edges(begin: int, end: int, columns: int) -> NDArray[np.int64]:
    count = min(columns, end - begin)
    if not count:
        return np.array([begin])
    edges = begin + np.array([k * (end - begin) // count for k in range(count + 1)], dtype=np.int64)
    if end - begin > _SNAP_BLOCKS * BLOCK_WORDS * count:
        edges[1:-1] = (edges[1:-1] + BLOCK_WORDS // 2) // BLOCK_WORDS * BLOCK_WORDS
    return edges


def _blocks(edges: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield runs of whole blocks within the window; see `_add_rows` for those that an edge cuts."""
    first, last = -(-int(edges[0]) // BLOCK_WORDS), int(edges[-1]) // BLOCK_WORDS
    for lower in range(first, last, _ROWS_AT_ONCE):
        yield lower, min(last, lower + _ROWS_AT_ONCE)


def _fragments(edges: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the words of blocks that an edge cuts, the window's own two included."""
    cut = np.unique(edges[edges % BLOCK_WORDS != 0] // BLOCK_WORDS)
    for block in cut.tolist():
        yield max(int(edges[0]), block * BLOCK_WORDS), min(int(edges[-1]), (block + 1) * BLOCK_WORDS)


def _add_rows(
    found: dict[str, Floats], edges: NDArray[np.int64], index: BlockIndex, lower: int, upper: int
) -> None:
    """Take in blocks ``lower`` to ``upper`` but for those that an edge cuts."""
    rows = index.rows(lower, upper)
    starts = np.arange(lower, upper) * BLOCK_WORDS
    columns = np.searchsorted(edges, starts, side="right") - 1
    whole = edges[columns + 1] >= starts + BLOCK_WORDS
    _fold(found, columns[whole], {name: rows[name][whole] for name in _VALUES})


def _add_words(
    found: dict[str, Floats],
    edges: NDArray[np.int64],
    stored: Stored,
    index: BlockIndex,
    lower: int,
    upper: int,
) -> None:
    """Take in words ``lower`` to ``upper``."""
    carry = index.carry_before(lower)
    at = lower
    for piece in stored.pieces(lower, upper):
        for cut in range(0, piece.size, _PIECE_WORDS):
            words = piece[cut : cut + _PIECE_WORDS]
            _add_piece(found, edges, at, fw.phase(words, carry=carry), fw.radius(words))
            at += words.size


def _add_piece(
    found: dict[str, Floats], edges: NDArray[np.int64], at: int, phase: Floats, radius: Floats
) -> None:
    first = int(np.searchsorted(edges, at, side="right")) - 1
    last = int(np.searchsorted(edges, at + phase.size, side="left"))
    starts = np.maximum(edges[first:last] - at, 0)
    values = {
        "phase_min": np.minimum.reduceat(phase, starts),
        "phase_max": np.maximum.reduceat(phase, starts),
        "radius_min": np.minimum.reduceat(radius, starts),
        "radius_max": np.maximum.reduceat(radius, starts),
    }
    _fold(found, np.arange(first, last), values)


def _fold(found: dict[str, Floats], columns: NDArray[np.int64], values: dict[str, Floats]) -> None:
    for name, value in values.items():
        least = name.endswith("min")
        (np.minimum if least else np.maximum).at(found[name], columns, value)
