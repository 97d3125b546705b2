"""Whether a file still holds what was written: one that was cut short, and then written on, holds zeros in between.

Of each write its last bytes are kept until the next fsync. Where a write began, the bytes before it must be those of
the one before: a file that was cut in between has a hole there, however right its size is again.
"""

from __future__ import annotations

import os

from fastcap.workers.directory import SinkFailed, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.workers.sink import Sink

WORD_BYTES = 8
EDGE_BYTES = 256
_PIECE_BYTES = 1 << 16


class Edges:
    """The places of a file where a write began, and what was written before them."""

    def __init__(self) -> None:
        self._end, self._last = 0, b""  # of the last write
        self._begun: list[tuple[int, bytes]] = []
        self.safe: tuple[int, bytes] = (0, b"")  # of the last write that is durable

    def wrote(self, offset: int, end: int, last: bytes) -> None:
        """Note a write from ``offset`` to ``end``, and its ``last`` bytes: `EDGE_BYTES`, or all."""
        if self._last and offset == self._end:
            self._begun.append((offset, self._last))
        self._end, self._last = end, last

    def go_back(self) -> None:
        """Note that what is not durable is going to be written again."""
        self._end, self._last = self.safe
        self._begun.clear()

    def intact_bytes(self, fd: int, written: int) -> int | None:
        """Return how much of the file's beginning is as it was written, None: all of it. Call it after an fsync.

        Parameters
        ----------
        written : int
            The size that it must have.
        """
        intact = written if self._ends_at(fd, written) else min(os.fstat(fd).st_size, written)
        for offset, edge in self._begun:
            begin = offset - len(edge)
            found = os.pread(fd, len(edge), begin)
            if found != edge:
                intact = min(intact, _intact_to(fd, begin, found, edge))
        self._begun.clear()
        self.safe = (self._end, self._last)
        return None if intact == written else intact

    def _ends_at(self, fd: int, written: int) -> bool:
        """Tell whether the file ends with the last write, by reading: what FUSE tells of it, it tells of its name."""
        size = len(self._last)
        return self._end == written and size > 0 and os.pread(fd, size + 1, written - size) == self._last


def _intact_to(fd: int, begin: int, found: bytes, edge: bytes) -> int:
    """Return up to where a file is intact that holds ``found`` instead of ``edge`` from ``begin`` on."""
    good = next((i for i, (a, b) in enumerate(zip(found, edge, strict=False)) if a != b), len(found))
    return begin + good if good else _zeros_begin(fd, begin)


def _zeros_begin(fd: int, end: int) -> int:
    """Return where the zeros begin that stand before ``end``."""
    while end:
        size = min(_PIECE_BYTES, end)
        data = os.pread(fd, size, end - size).rstrip(b"\0")
        if data:
            return end - size + len(data)
        end -= size
    return 0


def mend(sink: Sink, intact: int, header: bytes) -> int:
    """Go back to the first ``intact`` bytes of a sink's present file; return the ring position to write on from.

    What the ring still holds is written again. What it does not hold is lost: whole words, behind which the next ones
    follow at once. ``sink.on_loss`` is told ``index``, ``position`` and ``bytes``.

    Parameters
    ----------
    header : bytes
        The board's, as it came.

    Raises
    ------
    SinkFailed
        Call it again.
    """
    first = len(sink.prefix) if sink.index else len(header)  # where the file's words begin
    cursor = max(sink.slot.cursor, sink.position)
    reached = sink.offset(cursor)
    begin = max(first, first + (intact - first) // WORD_BYTES * WORD_BYTES)
    end = (
        first - (first - reached) // WORD_BYTES * WORD_BYTES
    )  # the word that the cursor stands in goes whole
    lost = max(0, end - begin) if intact < reached else 0
    try:
        if intact < first:
            write_all(sink.fd, sink.prefix if sink.index else header, 0)
        if lost:
            os.ftruncate(sink.fd, begin)
    except OSError as e:
        raise SinkFailed("mend", sink.part_path, e) from e
    sink.edges = Edges()
    what = "nothing of it is lost, the ring still held what was missing"
    if lost:
        what = f"{lost // WORD_BYTES} words that were on the disk are lost"
        cursor = begin + lost - sink.offset(0)
        loss = {"index": sink.index, "position": begin - sink.offset(0), "bytes": lost}
        sink.removed_bytes += lost
        sink.drop_digest()
        sink.on_loss(loss)
    sink.on_incident(f"{sink.part_path} did not hold any more what was written to it: {what}")
    return cursor
