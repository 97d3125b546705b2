"""The pass over a file that makes its index: rows in order, in constant memory, by two threads where it is long."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from fastcap import words as fw
from fastcap._indexfile import BLOCK_WORDS
from fastcap._indexrows import Rows, advance, rows_of
from fastcap._stored import Stored

_BATCH_WORDS = 8 * BLOCK_WORDS
_THREADS = 2
_WORTH_THREADS = 8 * _BATCH_WORDS


def rows_from(stored: Stored, begin: int, end: int, carry: fw.Carry) -> Generator[Rows, None, None]:
    """Yield the rows of words ``begin`` to ``end``, some blocks' at a time.

    Parameters
    ----------
    begin : int
        Where a block begins.
    carry : Carry
        Rollover state before it; advanced.
    """
    if end - begin < _WORTH_THREADS or len(os.sched_getaffinity(0)) < _THREADS:
        for at in range(begin, end, _BATCH_WORDS):
            words = stored.read(at, min(end, at + _BATCH_WORDS))
            yield rows_of(words, carry)
        return
    with ThreadPoolExecutor(_THREADS, "fastcap-index") as pool:
        yield from _by_threads(pool, stored, range(begin, end, _BATCH_WORDS), end, carry)


def _by_threads(
    pool: ThreadPoolExecutor, stored: Stored, starts: range, end: int, carry: fw.Carry
) -> Iterator[Rows]:
    """Follow the rollovers here, which is quick, and leave each batch's sums to a thread."""
    running: deque[Future[Rows]] = deque()
    for at in starts:
        words = stored.read(at, min(end, at + _BATCH_WORDS))
        running.append(pool.submit(rows_of, words, copy.copy(carry)))
        advance(words, carry)
        if len(running) > _THREADS:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
