"""What a file's bytes come to as they go by, in order: sha256, running checksums, the index.

A writer that keeps up takes them in after each write, while they are in the cache. One that has fallen behind has
them taken in by two threads, one for the checksum and one for the index, while the write is under way: none waits
for another then.
"""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any

    from fastcap._ring import Slot, View
    from fastcap.workers.file_index import FileIndex

BLOCK_BYTES = 1 << 20  # first distance of the running checksums by which verify names a wrong block
MOST_BLOCKS = 4096  # beyond that every second one goes, and the distance doubles
BESIDE_BYTES = 2 << 20  # of one write: more than a writer that keeps up ever has

_threads: ThreadPoolExecutor | None = None


class Digest:
    """The checksums and the index of one file.

    Parameters
    ----------
    checksum : str
        "sha256" or "none".
    position : int
        Of the file's first ring byte.
    make_index : callable
        Called with the first byte.

    Attributes
    ----------
    position : int
        Of the next ring byte; may be ahead of what is written.
    index : FileIndex or None
    blocks : list of str
        The first 16 hexadecimal digits of the running sha256 at every `block_bytes`.
    block_bytes : int
    """

    def __init__(self, checksum: str, position: int, make_index: Callable[[], FileIndex]) -> None:
        self.position = position
        self.index: FileIndex | None = None
        self.blocks: list[str] = []
        self.block_bytes = BLOCK_BYTES
        self._make_index = make_index
        self._hash: Any = hashlib.sha256() if checksum == "sha256" else None
        self._hashed_bytes = 0

    @property
    def checksum(self) -> str | None:
        """The sha256 of all bytes so far, in hexadecimal; None if there is none."""
        return None if self._hash is None else self._hash.hexdigest()

    def add(self, data: Any) -> None:
        """Take in the file's next bytes; they are not kept."""
        view = memoryview(data)
        self._add_to_index(view)
        if self._hash is not None:
            self._add_to_hash(view)

    def _add_to_index(self, view: memoryview) -> None:
        if self.index is None:
            self.index = self._make_index()
        self.index.add(view)

    def _add_to_hash(self, view: memoryview) -> None:
        while view.nbytes:
            room = self.block_bytes - self._hashed_bytes % self.block_bytes
            self._hash.update(view[:room])
            self._hashed_bytes += min(room, view.nbytes)
            view = view[room:]
            if self._hashed_bytes % self.block_bytes == 0:
                self.blocks.append(self._hash.copy().hexdigest()[:16])
            if len(self.blocks) == MOST_BLOCKS:
                self.blocks = self.blocks[1::2]
                self.block_bytes *= 2

    def take(self, slot: Slot, position: int, size: int) -> None:
        """Take in what is next of these ring bytes, if they hold it."""
        if (view := self._next(slot, position, size)) is not None:
            self.add(view)

    def take_beside(self, slot: Slot, position: int, size: int) -> Callable[[], None] | None:
        """As `take`, of a large piece and in threads; call nothing else but what is returned, which awaits them.

        The piece counts as taken in whether or not it can be written: what is written later is the same bytes.
        """
        global _threads
        if size < BESIDE_BYTES or (taken := self._next(slot, position, size)) is None:
            return None
        if _threads is None:
            from concurrent.futures import ThreadPoolExecutor  # costs more to import than most writers need

            _threads = ThreadPoolExecutor(2)
        view = memoryview(taken)
        ways = [self._add_to_index] if self._hash is None else [self._add_to_hash, self._add_to_index]
        under_way = [_threads.submit(way, view) for way in ways]

        def finish() -> None:
            for each in under_way:
                each.result()

        return finish

    def _next(self, slot: Slot, position: int, size: int) -> View | None:
        first, end = self.position, position + size
        if not position <= first < end:
            return None
        self.position = end
        return slot.view(first, end - first)

    def running(self) -> dict[str, Any] | None:
        """Return the running checksums as the sidecar holds them, or None if there are none."""
        if not self.blocks:
            return None
        return {"bytes": self.block_bytes, "algorithm": "sha256-running", "values": self.blocks}

    def give_up(self) -> None:
        """Make no index: the file goes."""
        if self.index is not None:
            self.index.give_up()
