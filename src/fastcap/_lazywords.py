"""Words of a file that are too many to be copied unasked: an array that is read where it is indexed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from fastcap._arrays import new_array
from fastcap._realigned import Realigned
from fastcap._stored import PIECE_WORDS, FileWords, InMemory, Stored
from fastcap.errors import StreamFormatError
from fastcap.units import format_size

if TYPE_CHECKING:
    from fastcap._stored import Words

COPIED_WORDS = 1 << 27  # 1 GiB


def words_of(stored: Stored, begin: int, end: int) -> Words:
    """Return words ``begin`` to ``end``: an array, or what stands for one where it would be large."""
    if isinstance(stored, InMemory) or end - begin <= COPIED_WORDS:
        return stored.read(begin, end)
    assert isinstance(stored, FileWords | Realigned)
    return cast("Words", LazyWords(stored, begin, end))


class LazyWords(NDArrayOperatorsMixin):
    """Words of a file, ``(n,) uint64``, of which nothing is held in memory.

    Indexing reads what is asked for, as an array. Whatever else an array can do reads all of them first, if
    there is memory for it: ``numpy.asarray``, arithmetic and comparisons, methods.

    Raises
    ------
    StreamFormatError
        At any use: the file became shorter, or cannot be read; or there is no memory for all its words.
    """

    dtype = np.dtype(np.uint64)
    itemsize = 8
    ndim = 1

    def __init__(self, stored: FileWords | Realigned, begin: int, end: int) -> None:
        self._stored, self._begin, self._end = stored, begin, end

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def size(self) -> int:
        """How many words there are."""
        return len(self)

    @property
    def shape(self) -> tuple[int]:
        """The number of words."""
        return (len(self),)

    @property
    def nbytes(self) -> int:
        """Bytes of all words."""
        return 8 * len(self)

    def __repr__(self) -> str:
        return f"<LazyWords of {self._stored.path}: {len(self):,} words, read when they are asked for>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be pickled; send its trace, which takes the file's name along")

    def __iter__(self) -> Iterator[np.uint64]:
        for piece in self._stored.pieces(self._begin, self._end):
            yield from piece

    def __getitem__(self, index: Any) -> Any:
        """Read one word, a slice, or those that an array of indices or a mask names."""
        if isinstance(index, slice):
            begin, end, step = index.indices(len(self))
            if step == 1:
                return words_of(self._stored, self._begin + begin, self._begin + max(begin, end))
            return self._gathered(np.arange(begin, end, step))
        if isinstance(index, SupportsIndex) and not isinstance(index, bool | np.bool_ | np.ndarray):
            at = range(len(self))[index]
            return self._stored.read(self._begin + at, self._begin + at + 1)[0]
        places = np.asarray(index)
        if places.dtype == bool and places.shape == self.shape:
            return self._gathered(np.flatnonzero(places))
        if places.dtype.kind not in "iu" or places.ndim != 1:
            return np.asarray(self)[index]
        wrong = places[(places < -len(self)) | (places >= len(self))]
        if wrong.size:
            raise IndexError(f"index {wrong[0]} is out of bounds for {len(self)} words")
        return self._gathered(np.where(places < 0, places + len(self), places))

    def _gathered(self, places: NDArray[np.int64]) -> Words:
        """Return the words at ``places``, each piece of the file that holds some of them read once."""
        found: Words = np.empty(places.size, np.uint64)
        order = np.argsort(places, kind="stable")
        sorted_places = places[order]
        cuts = np.flatnonzero(np.diff(sorted_places // PIECE_WORDS)) + 1
        for some in np.split(order, cuts) if places.size else ():
            first, last = int(places[some[0]]), int(places[some[-1]])
            words = self._stored.read(self._begin + first, self._begin + last + 1)
            found[some] = words[places[some] - first]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("words of a file cannot be had without a copy")
        from fastcap.ringsize import available_bytes

        if self.nbytes > (free := available_bytes()):
            raise StreamFormatError(
                f"{self._stored.path}: {format_size(self.nbytes)} of words do not fit the {format_size(free)} of "
                "memory that is free; take parts of them: tr.words[a:b]"
            )
        words = new_array(len(self), self.dtype)
        at = 0
        for piece in self._stored.pieces(self._begin, self._end):
            words[at : at + piece.size] = piece
            at += piece.size
        return words if dtype is None else words.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(given) if isinstance(given, LazyWords) else given for given in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"words of a file have no attribute {name!r}")
        return getattr(np.asarray(self), name)
