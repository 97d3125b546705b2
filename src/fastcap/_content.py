"""Reading a file once, against the checksums that its sidecar holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from fastcap.sidecar import BLOCKS_ALGORITHM, WORD_BYTES

_READ_BYTES = 1 << 20
_BEHIND_BYTES = 64 << 20


class Content:
    """A file's content against its sha256, and against that of its beginnings, block after block.

    Parameters
    ----------
    fd : int
        The file, open for reading; stays the caller's.
    sidecar : dict
        As `load_sidecar` gives it, with a sha256.
    progress : callable
        Called with the bytes of each piece that was read.
    begin : int
        Byte at which the file's words begin.

    Attributes
    ----------
    blocks : dict or None
        The sidecar's block checksums.
    is_whole : bool or None
        Whether the bytes that were captured are as they were; None if they are not all there.
    problems : tuple of str
        What is wrong with the content; of a truncated file, with the part that is there.
    """

    def __init__(self, fd: int, sidecar: dict[str, Any], progress: Callable[[int], None], begin: int) -> None:
        self.blocks: dict[str, Any] | None = sidecar["global"].get("fastcap:blocks")
        self.is_whole: bool | None = None
        self.problems: tuple[str, ...] = ()
        self._fd = fd
        self._expected: int = sidecar["global"]["fastcap:report"]["bytes"]
        self._wanted: str = sidecar["global"]["fastcap:report"]["checksum"]["value"].lower()
        self._header_bytes = begin
        self._progress = progress

    def compare(self) -> None:
        """Read up to the size that was captured and set ``is_whole`` and ``problems``."""
        blocks = self._usable_blocks()
        size, values = (blocks["bytes"], blocks["values"]) if blocks else (self._expected + 1, [])
        wrong, digest, done = self._read(size, values)
        if done == self._expected:
            self.is_whole = digest == self._wanted
        if self.is_whole and wrong is not None:
            self.problems += (
                "sidecar: a block checksum is damaged; the checksum of the whole file is right",
            )
        elif wrong is not None:
            self.problems += (self._block_statement(wrong, size),)
        elif self.is_whole is False and blocks:  # every whole block is right: it is the rest of the file
            self.problems += (self._block_statement(len(values), size),)
        elif self.is_whole is False:
            self.problems += (f"checksum differs: sha256 is {digest}, captured was {self._wanted}",)

    def _usable_blocks(self) -> dict[str, Any] | None:
        if self.blocks is None:
            return None
        have, needed = len(self.blocks["values"]), self._expected // self.blocks["bytes"]
        if have == needed and self.blocks["algorithm"] == BLOCKS_ALGORITHM:
            return self.blocks
        self.problems = (
            f"sidecar: {have} block checksums ({self.blocks['algorithm']}) where {needed} "
            f"({BLOCKS_ALGORITHM}) belong; which block is wrong cannot be told",
        )
        return None

    def _read(self, block_bytes: int, values: list[str]) -> tuple[int | None, str, int]:
        """Return the first block whose end does not have its digest, the digest, and the bytes read."""
        sha, buffer = hashlib.sha256(), memoryview(bytearray(_READ_BYTES))
        done, wrong = 0, None
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while done < self._expected:
            want = min(_READ_BYTES, self._expected - done, block_bytes - done % block_bytes)
            got = os.preadv(self._fd, [buffer[:want]], done)
            if got == 0:
                break
            sha.update(buffer[:got])
            done += got
            self._progress(got)
            block = done // block_bytes - 1
            if done % block_bytes == 0 and wrong is None and block < len(values):
                value = values[block]
                wrong = None if value and sha.copy().hexdigest().startswith(value) else block
            if done % _BEHIND_BYTES == 0:  # a capture on this machine needs the memory more
                os.posix_fadvise(self._fd, 0, done, os.POSIX_FADV_DONTNEED)
        return wrong, sha.hexdigest(), done

    def _block_statement(self, block: int, block_bytes: int) -> str:
        begin, end = block * block_bytes, min((block + 1) * block_bytes, self._expected)
        first_word = max(0, begin - self._header_bytes) // WORD_BYTES
        last_word = max(0, end - 1 - self._header_bytes) // WORD_BYTES
        return (
            f"checksum differs: the first wrong block is block {block}: "
            f"bytes {begin}..{end - 1}, words {first_word}..{last_word}"
        )
