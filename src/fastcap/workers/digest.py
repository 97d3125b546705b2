"""What a file's bytes come to as they go by, in order: sha256, running checksums, the index.

A writer that keeps up takes them in after each write, while they are in the cache. One that has fallen behind leaves
them to two lanes, a thread for the checksum and one for the index, which go on at their own pace beside its writes: the
ring holds what they have not come to yet (`Digest.done`).
"""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastcap._ring import Slot
    from fastcap.workers.file_index import FileIndex
    from fastcap.workers.lane import Lane

BLOCK_BYTES = 1 << 20  # first distance of the running checksums by which verify names a wrong block
MOST_BLOCKS = 4096  # beyond that every second one goes, and the distance doubles
BESIDE_BYTES = 2 << 20  # of one write: more than a writer that keeps up ever has


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
        Of the next ring byte; may be ahead of what is written, and of `done`.
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
        self._lanes: list[Lane] = []

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
        first, end = self.position, position + size
        if not position <= first < end:
            return
        self.position = end
        view = slot.view(first, end - first)
        if self.done < first:
            self._leave_to_lanes(first, view)
        else:
            self.add(view)

    def take_beside(self, slot: Slot, position: int, size: int) -> None:
        """As `take`, but of a large piece, and in the lanes: what is about to be written.

        It counts as taken in whether or not it can be written: what is written later is the same bytes.
        """
        first, end = self.position, position + size
        if size >= BESIDE_BYTES and position <= first < end:
            self.position = end
            self._leave_to_lanes(first, slot.view(first, end - first))

    def _leave_to_lanes(self, first: int, view: Any) -> None:
        if not self._lanes:
            from fastcap.workers.lane import Lane  # costs more to import than most writers need

            ways = [self._add_to_index] if self._hash is None else [self._add_to_hash, self._add_to_index]
            self._lanes = [Lane(way) for way in ways]
        for lane in self._lanes:
            lane.add(first, memoryview(view))

    @property
    def done(self) -> int:
        """Position below which all ring bytes are taken in: their memory is not needed here any more."""
        return min((lane.reached(self.position) for lane in self._lanes), default=self.position)

    def settle(self) -> None:
        """Wait until all that was given is taken in, and let the threads go."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []

    def running(self) -> dict[str, Any] | None:
        """Return the running checksums as the sidecar holds them, or None if there are none."""
        if not self.blocks:
            return None
        return {"bytes": self.block_bytes, "algorithm": "sha256-running", "values": self.blocks}

    def give_up(self) -> None:
        """Make no index: the file goes."""
        self.settle()
        if self.index is not None:
            self.index.give_up()
