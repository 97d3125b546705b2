"""What all windows of one trace share, and the arithmetic between its words and those of its source."""

from __future__ import annotations

from functools import cached_property
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

    def source_word(self, word: int) -> int:
        """Return the source's index of ``word``, lost ones counted; both from the file's first word.

        A file that begins with a gap begins where that does.
        """
        if not word:
            return 0
        return word + sum(gap.words_lost for gap in self.facts.gaps if gap.file_word <= word)

    def gaps_within(self, begin: int, end: int) -> tuple[Gap, ...]:
        """Return the gaps of a window, counted from its first word; one at either end of the file is its own."""
        first = self.source_word(begin)
        return tuple(
            Gap(gap.file_word - begin, gap.word - first, gap.words_lost, gap.stage)
            for gap in self.facts.gaps
            if begin < gap.file_word < end
            or (gap.file_word == 0 and begin == 0)
            or (gap.file_word == end == self.words)
        )


def opened(path: str, payload: str | None) -> Origin:
    """Open a file; see `fastcap.trace.load`."""
    return Origin(*open_words(path, payload))


def reopened(path: str, payload: str | None, words: int) -> Origin:
    """Open a file that held ``words`` words when its trace was pickled.

    Raises
    ------
    StreamFormatError
        It holds fewer.
    """
    origin = opened(path, payload)
    if origin.words < words:
        raise StreamFormatError(f"{path}: holds {origin.words} words, {words} when its trace was sent here")
    return origin
