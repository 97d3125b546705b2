"""Between the words of a file and those of its source, of which some may be missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastcap.sidecar import Gap


def file_word(gaps: Sequence[Gap], word: int) -> int:
    """Return the file's index of source word ``word``, or of the first word behind the gap it is lost in."""
    return word - sum(max(0, min(gap.words_lost, word - gap.word)) for gap in gaps)


def shifted(gaps: Iterable[Gap], file_words: int, words: int) -> Iterator[Gap]:
    """Yield gaps with the words that stand before them, those there and all, counted from elsewhere."""
    for gap in gaps:
        yield replace(gap, file_word=gap.file_word + file_words, word=gap.word + words)


def lost_in(gaps: Sequence[Gap]) -> str:
    """Return what a ``repr`` says of gaps: ``", 5 lost in 2 gaps"``; nothing where there is none."""
    if not gaps:
        return ""
    lost = sum(gap.words_lost for gap in gaps)
    return f", {lost:,} lost in {len(gaps)} {'gap' if len(gaps) == 1 else 'gaps'}"


def source_words(
    gaps: Sequence[Gap], file_words: NDArray[np.int64], *, behind_gap: bool = True
) -> NDArray[np.int64]:
    """Return the source's indices of ``file_words``, lost ones counted.

    Parameters
    ----------
    gaps : sequence of Gap
        In their order.
    file_words : (n,) int64
        Indices in the file.
    behind_gap : bool
        What a word right behind a gap means: itself, or the place right before the gap.
    """
    import numpy as np

    lost: NDArray[np.int64] = np.cumsum([0, *(gap.words_lost for gap in gaps)], dtype=np.int64)
    before = [gap.file_word for gap in gaps]
    passed = np.searchsorted(before, file_words, side="right" if behind_gap else "left")
    return np.asarray(file_words + lost[passed], dtype=np.int64)
