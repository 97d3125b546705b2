"""The index of a trace: what each block of 65,536 words comes to, so that no window needs what is before it.

A capture leaves one beside its file (`NAME.index`). A file without one gets it from a streaming pass, as far
as was asked for; it is kept beside the file or, where that cannot be, in the user's cache folder. An index
that is not that of its file is made anew: an index only ever saves time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec
import numpy as np

from fastcap import words as fw
from fastcap._indexfile import BLOCK_WORDS, WORD_BYTES, Head, Identity, cache_path, index_path
from fastcap._indexpass import rows_from
from fastcap._indexrows import ROW, Rows, advance, carry_of, same_rows
from fastcap._savedrows import SavedRows, UnfitError, save_rows
from fastcap._stored import FileWords, Stored
from fastcap.rollovers import Rollovers

__all__ = ["BLOCK_WORDS", "BlockIndex", "IndexResult", "build_index", "index_path"]

logger = logging.getLogger(__name__)

_LEAST_KEPT = 32  # rows: what takes a few milliseconds to make is not worth a file
_MOST_UNSAVED = 1 << 17  # rows in memory, 10 MiB
_TOLD_BLOCKS = 4096  # 2 GiB: a pass that somebody may wonder about
_COPIED_ROWS = 1 << 13


class BlockIndex:
    """The rows of a trace's blocks: read from an index file, or made when they are wanted.

    Threads may share one. Every method but `keep` raises StreamFormatError if the words cannot be read. With
    `read_only` set, an index file is used, but none is written.

    Parameters
    ----------
    stored : Stored
        The words.
    path : str, optional
        Their file; without it rows are kept in memory only.
    beside : bool
        The place beside the file is this index's: its data begin where the file says.
    rollovers : Rollovers, optional
        What is known of M's rollovers without rows; what the words say goes before it.
    wraps : int
        Rollovers before the first word.
    """

    def __init__(
        self,
        stored: Stored,
        path: str | None = None,
        *,
        beside: bool = True,
        rollovers: Rollovers | None = None,
        wraps: int = 0,
    ) -> None:
        self._words = stored.count
        self.blocks = -(-self._words // BLOCK_WORDS)
        self._stored = stored
        self._path = path
        self._beside = beside and path is not None and not path.endswith(".part")
        self._file = stored if isinstance(stored, FileWords) and path is not None else None
        self.rollovers = rollovers
        self.read_only = False
        self._wraps = wraps
        self._lock = threading.RLock()
        self._looked = False
        self._saved: SavedRows | None = None
        self._in: str | None = None
        self._proven = 0  # saved rows that are known to be those of the words
        self._made = np.empty(0, ROW)  # rows behind the saved ones, of which `_made_count` are there
        self._made_count = 0

    @property
    def file(self) -> str | None:
        """The index file in use; None if there is none."""
        with self._lock:
            self._look()
            return self._in

    @property
    def count(self) -> int:
        """How many rows are there, from the first block's on."""
        with self._lock:
            self._look()
            return self._saved_count + self._made_count

    @property
    def _saved_count(self) -> int:
        return self._saved.count if self._saved is not None else 0

    def carry_before(self, word: int) -> fw.Carry:
        """Return the rollover state before ``word``; where rows are there, at most a block is read for it."""
        block = word // BLOCK_WORDS
        with self._lock:
            if self.rollovers is not None and block > self.count:
                return self.rollovers.carry_before(word, self._stored)
            self.extend(block)
            if block == self.count:
                carry = self._carry_at_end()
            else:
                carry = carry_of(self.rows(block, block + 1)[0])
                if block and carry.last_m != self._m(block * BLOCK_WORDS - 1):
                    self._forget(f"row {block} is not that of its block")
                    return self.carry_before(word)
        for piece in self._stored.pieces(block * BLOCK_WORDS, word):
            advance(piece, carry)
        return carry

    def rows(self, begin: int, end: int) -> Rows:
        """Return the rows of blocks ``begin`` to ``end``, read-only; those that are not there are made."""
        with self._lock:
            self._prove(end)
            self.extend(end)
            saved = self._saved_count
            made = self._made[max(0, begin - saved) : max(0, end - saved)]
            if self._saved is None or begin >= saved:
                return made
            try:
                return np.concatenate([self._saved.read(begin, min(end, saved)), made])
            except (UnfitError, OSError) as error:
                self._forget(str(error))
            return self.rows(begin, end)

    def _prove(self, end: int) -> None:
        """Compare saved rows before ``end`` with their words, where the file's times do not prove them.

        This takes as long as making them. Those that were proven are saved with the file's times of now, and the
        rest given up: it would have to be read as well.
        """
        self._look()
        saved, upto = self._saved, min(end, self._saved_count)
        if saved is None or self._proven >= upto:
            return
        logger.info("%s: the times of its file do not prove it: comparing it with the words", self._in)
        try:
            self._match(saved, upto)
        except (UnfitError, OSError) as error:
            self._forget(str(error))
            return
        assert self._in is not None
        assert self._file is not None
        saved.count = self._proven
        if saved.count >= _LEAST_KEPT and not self._made_count and self._file.is_unchanged():
            try:
                self._save(self._in)
            except OSError as error:
                logger.info("%s: cannot be written: %s", self._in, error.strerror)

    def _match(self, saved: SavedRows, end: int) -> None:
        at = self._proven
        carry = fw.Carry(self._wraps) if not at else self._carry_behind(saved.read(at - 1, at)[0], at - 1)
        begin, upto = at * BLOCK_WORDS, min(end * BLOCK_WORDS, self._words)
        with closing(rows_from(self._stored, begin, upto, carry)) as made:
            for rows in made:
                kept = saved.read(at, at + rows.size)
                if not same_rows(rows, kept):
                    wrong = next(k for k in range(rows.size) if not same_rows(rows[k], kept[k]))
                    raise UnfitError(f"row {at + wrong} is not that of its block")
                at += rows.size
                self._proven = at

    # -- making rows -------------------------------------------------------------------------------

    def extend(self, end: int, progress: Callable[[int], None] | None = None) -> None:
        """Make the rows of all blocks before ``end``; an interrupted call is taken up by the next.

        Parameters
        ----------
        end : int
            Block behind the last one that is wanted.
        progress : callable, optional
            Called with the bytes of each piece that was read.
        """
        with self._lock:
            if end <= self.count:
                return
            self._prove(self._saved_count)
            if end == self.blocks - 1:
                end = self.blocks  # so little is missing that the index may as well be complete
            if end - self.count > _TOLD_BLOCKS:
                logger.info("%s: has no index of its words yet: reading them once", self._path)
            carry = self._carry_at_end()
            begin, upto = self.count * BLOCK_WORDS, min(end * BLOCK_WORDS, self._words)
            with closing(rows_from(self._stored, begin, upto, carry)) as made:
                for rows in made:
                    self._compare(rows)
                    self._add(rows)
                    if progress is not None:
                        progress(int(rows["words"].sum()) * WORD_BYTES)
                    if self._made_count >= _MOST_UNSAVED:
                        self.keep()
            if self._is_worth_keeping():
                self.keep()

    def _m(self, word: int) -> int:
        return int(self._stored.read(word, word + 1).view(np.int64)[0] >> 48)

    def _compare(self, rows: Rows) -> None:
        """Give the known rollovers up if the next rows say others."""
        if (known := self.rollovers) is None:
            return
        for k, wraps in enumerate(rows["wraps"].tolist(), self.count):
            word = k * BLOCK_WORDS
            if known.known is not None and word > known.known:
                return
            if known.count_before(word) != wraps:
                logger.warning(
                    "%s: its rollover table is wrong before word %d: M rolled over %+d times, not %+d, as its words "
                    "show; the table is not used", self._path, word, -wraps, -known.count_before(word),
                )  # fmt: skip
                self.rollovers = None
                return

    def _add(self, rows: Rows) -> None:
        needed = self._made_count + rows.size
        if needed > self._made.size:
            self._made = np.resize(self._made, max(needed, 2 * self._made.size))
        self._made[self._made_count : needed] = rows
        self._made_count = needed

    def _carry_at_end(self) -> fw.Carry:
        """Return the rollover state behind the last block that has a row."""
        last = self.count - 1
        if last < 0:
            return fw.Carry(self._wraps)
        return self._carry_behind(self.rows(last, last + 1)[0], last)

    def _carry_behind(self, row: np.void, block: int) -> fw.Carry:
        """Return the rollover state behind a block, of which ``row`` is the row."""
        carry = carry_of(row)
        begin = block * BLOCK_WORDS
        advance(self._stored.read(begin, min(begin + BLOCK_WORDS, self._words)), carry)
        return carry

    # -- files -------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Find the index file, once."""
        if self._looked or self._file is None:
            return
        self._looked = True
        for path in self._places():
            try:
                self._saved = SavedRows(path, self._file, self._wraps)
                self._proven = self._saved.count if self._saved.proven else 0
                self._in = path
                return
            except FileNotFoundError:
                continue
            except (UnfitError, OSError) as error:
                logger.warning("%s: not used and made anew: %s", path, error)

    def _places(self) -> list[str]:
        """Return where this file's index may stand; that of a capture that runs is its writer's to make."""
        assert self._file is not None
        assert self._path is not None
        cached = cache_path(self._file.device, self._file.inode, self._file.offset)
        return [index_path(self._path), cached] if self._beside else [cached]

    def _forget(self, reason: str) -> None:
        logger.warning("%s: not used and made anew: %s", self._in, reason)
        self._saved, self._in = None, None
        self._proven = self._made_count = 0

    def _is_worth_keeping(self) -> bool:
        """Tell whether the rows should be saved: not each time that a few are added to many."""
        complete = self.count == self.blocks
        return self.count >= _LEAST_KEPT and (complete or 2 * self._made_count >= self._saved_count)

    def keep(self) -> str | None:
        """Save the rows; return where, or None where they cannot be: that is logged, and costs nothing else."""
        with self._lock:
            if self.read_only or self._file is None or not self._made_count or not self._file.is_unchanged():
                return self.file
            reason = "no place"
            for path in self._places():
                try:
                    self._save(path)
                    return path
                except OSError as error:
                    reason = f"{path}: {error.strerror}"
            logger.info("%s: its index cannot be kept (%s)", self._path, reason)
            return None

    def _save(self, path: str) -> None:
        assert self._file is not None
        if not self._beside or path != index_path(self._path or ""):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        words = min(self.count * BLOCK_WORDS, self._words)
        head = Head(self._file.file_bytes, self._file.offset, words, self._file.mtime_ns)
        save_rows(path, self._all_rows(), head, Identity(self._file.inode, self._file.ctime_ns))
        self._saved, self._in = SavedRows(path, self._file, self._wraps), path
        self._proven, self._made_count = self._saved.count, 0

    def _all_rows(self) -> Iterator[Rows]:
        for begin in range(0, self.count, _COPIED_ROWS):
            yield self.rows(begin, min(self.count, begin + _COPIED_ROWS))


class IndexResult(msgspec.Struct, frozen=True):
    """What `build_index` did.

    Attributes
    ----------
    path : str
        The trace file.
    index : str or None
        Its index file; None for a file that holds no words.
    words, blocks : int
        What the index stands for, and its rows.
    made_blocks : int
        Rows that were made now; 0 if the index was there.
    took_s : float
        How long that took.
    """

    path: str
    index: str | None
    words: int
    blocks: int
    made_blocks: int
    took_s: float


def build_index(
    path: str | os.PathLike[str],
    *,
    payload: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> IndexResult:
    """Make a file's index, or what is missing of it. Reads the file once, in constant memory.

    Parameters
    ----------
    path : path
        The ``.bin`` file.
    payload : {"auto", "8n", "8n+8", "none"}
        As `fastcap.load` takes it.
    progress : callable, optional
        Called with the bytes of each piece that was read.

    Raises
    ------
    StreamFormatError
        The file is none that can be read.
    SinkError
        The index can be written neither beside it nor in the user's cache folder.
    """
    from fastcap.errors import SinkError
    from fastcap.trace import load

    trace = load(path, payload=payload)
    index, name = trace._origin.index, os.fspath(path)
    begun, before = time.monotonic(), index.count
    index.extend(index.blocks, progress)
    kept = index.keep()
    if kept is None and index.blocks:
        raise SinkError(
            f"{name}: its index cannot be written beside it or in the user's cache folder; make one writable"
        )
    return IndexResult(
        path=name,
        index=kept,
        words=len(trace),
        blocks=index.blocks,
        made_blocks=index.blocks - before,
        took_s=time.monotonic() - begun,
    )
