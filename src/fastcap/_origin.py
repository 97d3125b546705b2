"""What all windows of one trace share, and the arithmetic between its words and those of its source."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from fastcap._tracefile import Facts, open_words
from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap

if TYPE_CHECKING:
    from fastcap._stored import Stored
    from fastcap.index import BlockIndex


class Origin:
    """A trace's words, what is known of them, and their index."""

    def __init__(self, stored: Stored, facts: Facts) -> None:
        self.stored = stored
        self.facts = facts

    @cached_property
    def index(self) -> BlockIndex:
        """The rows of the words' blocks, looked for when they are first wanted."""
        from fastcap.index import BlockIndex

        return BlockIndex(
            self.stored,
            self.facts.path,
            beside=self.facts.usual,
            rollovers=self.facts.rollovers,
            wraps=self.facts.wraps,
        )

    @property
    def words(self) -> int:
        """How many words there are."""
        return self.stored.count

    @cached_property
    def _lost_before(self) -> tuple[list[int], list[int]]:
        """The gaps' words in the file, and how many are lost before each and in all."""
        gaps = self.facts.gaps
        return [gap.file_word for gap in gaps], [0, *accumulate(gap.words_lost for gap in gaps)]

    @property
    def span(self) -> int:
        """How many words there would be if none were lost."""
        return self.words + self._lost_before[1][-1]

    def source_word(self, word: int) -> int:
        """Return the source's index of ``word``, lost ones counted: that of word 0 is what is lost before it."""
        places, lost = self._lost_before
        return word + lost[bisect_right(places, word)]

    def gaps_within(self, begin: int, end: int, first: int, last: int) -> tuple[Gap, ...]:
        """Return what is missing of source words ``first`` to ``last``, of which words ``begin`` to ``end`` are there.

        Indices count from ``begin`` and ``first``. Of a gap that an edge cuts, what lies within.
        """
        found = []
        for gap in self.facts.gaps:
            low, high = max(gap.word, first), min(gap.word + gap.words_lost, last)
            if high > low:
                place = min(max(gap.file_word, begin), end)
                found.append(Gap(place - begin, low - first, high - low, gap.stage))
        return tuple(found)


def opened(path: str, payload: str | None, *, realigned: bool = False) -> Origin:
    """Open a file; see `fastcap.trace.load`."""
    return Origin(*open_words(path, payload, realigned=realigned))


def reopened(path: str, payload: str | None, words: int, *, realigned: bool = False) -> Origin:
    """Open a file that held ``words`` words when its trace was pickled.

    Raises
    ------
    StreamFormatError
        It holds fewer.
    """
    origin = opened(path, payload, realigned=realigned)
    if origin.words < words:
        raise StreamFormatError(f"{path}: holds {origin.words} words, {words} when its trace was sent here")
    return origin
