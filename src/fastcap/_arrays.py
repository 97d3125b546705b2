"""What functions over words do with the arrays that they are given, before and around the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastcap._pages import Pages

_PIECE_WORDS = 16_384
_LARGE_BYTES = 4 << 20


def check_words(words: object) -> None:
    """Check that these are words: a one-dimensional array of uint64, in this machine's byte order."""
    if not isinstance(words, np.ndarray) or words.ndim != 1 or words.dtype != np.uint64:
        raise ValueError(f"words are {_kind(words)}; give a one-dimensional array of uint64")


def out_for(words: NDArray[np.uint64], out: NDArray[Any] | None, name: str, kind: DTypeLike) -> Any:
    """Return ``out``, called ``name``, after checking it against ``words``; a new array if it is None."""
    if out is None:
        return new_array(words.size, kind)
    if not isinstance(out, np.ndarray) or out.shape != words.shape or out.dtype != kind:
        raise ValueError(f"{name} is {_kind(out)}; give a {np.dtype(kind)} array of shape {words.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only; give a writeable array")
    return out


def new_array(size: int, kind: DTypeLike) -> NDArray[Any]:
    """Return an array of undefined content; memory of large ones is used again: see `fastcap._pages`."""
    kind = np.dtype(kind)
    if size * kind.itemsize < _LARGE_BYTES:
        return np.empty(size, kind)
    return np.frombuffer(memoryview(Pages(size * kind.itemsize)), kind)


def check_apart(words: NDArray[np.uint64], *outs: NDArray[Any]) -> None:
    """Check that no output lies where the words or another output do."""
    arrays = (words, *outs)
    for k, out in enumerate(outs, 1):
        if any(np.shares_memory(out, other) for other in arrays[:k]):
            raise ValueError("an output overlaps the words or another output; give arrays of their own")


def pieces(
    words: NDArray[np.uint64], *outs: NDArray[Any]
) -> Iterator[tuple[NDArray[np.uint64], tuple[Any, ...]]]:
    """Yield words and outputs as the kernels take them: whole if they lie so, else in copies of cache size.

    What was put into a copy is passed on when the next piece is asked for.
    """
    if words.flags.c_contiguous and all(out.flags.carray for out in outs):
        yield words, outs
        return
    for at in range(0, words.size, _PIECE_WORDS):
        piece = np.ascontiguousarray(words[at : at + _PIECE_WORDS])
        parts = tuple(np.empty(piece.size, out.dtype) for out in outs)
        yield piece, parts
        for out, part in zip(outs, parts, strict=True):
            out[at : at + _PIECE_WORDS] = part


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return f"of type {type(value).__name__}"
