"""The files of a split recording as one trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastcap.errors import RingError
from fastcap.sidecar import Gap
from fastcap.trace import Trace, load


def trace_of_files(paths: Sequence[str], most_bytes: int) -> Trace:
    """Return consecutive files of one recording as a trace: a single one mapped, several joined in memory.

    Parameters
    ----------
    paths : sequence of str
        In their order; each goes on where the one before ends.
    most_bytes : int
        What this process may allocate. Half of it is left to the function.

    Raises
    ------
    RingError
        Together they are larger than half of that.
    """
    if len(paths) == 1:
        return load(paths[0])
    parts = [load(path) for path in paths]
    total = sum(len(part) for part in parts)
    if total * 8 > most_bytes // 2:
        raise RingError(
            f"the recording's {len(paths)} files, {paths[0]} to {paths[-1]}, hold {total * 8:,} bytes, more than "
            f"half of the {most_bytes:,} that the function may allocate; analyse them with fastcap.load_many, "
            "raise analyse_memory, or do not split"
        )
    words, gaps = np.empty(total, np.uint64), []
    at = source_at = 0
    for part in parts:
        words[at : at + len(part)] = part.words
        gaps += [Gap(at + g.file_word, source_at + g.word, g.words_lost, g.stage) for g in part.gaps]
        at += len(part)
        source_at += len(part) + sum(g.words_lost for g in part.gaps)
    first = parts[0]
    return Trace.from_words(
        words, first.header, first.sample_rate, start=first.start, meta=first.meta, gaps=gaps
    )
