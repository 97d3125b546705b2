"""Captured files of the emulator's counter pattern, in which data word k is k: checked, and taken away."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

import numpy as np

_MAGIC = 0x123456ABCDEF
_BLOCK_WORDS = 1 << 20


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def remove_tree(folder: Path) -> None:
    """Remove a folder in which a capture makes files at this moment."""
    whole = False
    while not whole:
        with contextlib.suppress(OSError):  # a file came after the folder was listed
            shutil.rmtree(folder)
            whole = True


def assert_counter_file(
    path: str | Path, expected_words: int | None = None, start: int = 0, *, odd_bytes: int = 0
) -> list[tuple[int, int]]:
    """Check header and data of a counter-patterned file and return where words are missing.

    Parameters
    ----------
    expected_words : int, optional
        How many data words the file must hold.
    start : int
        The word that should come first.
    odd_bytes : int
        How many bytes of a torn word must stand at the end.

    Returns
    -------
    gaps : list of (index_in_file, missing)
        Before data word ``index_in_file``, ``missing`` words are absent.

    Raises
    ------
    AssertionError
        A word is repeated or out of order, with its address, or the file has another size or no header.
    """
    path = Path(path)
    data_at = _data_offset(path)
    size = path.stat().st_size - data_at
    words, odd = divmod(size, 8)
    assert odd == odd_bytes, f"{path}: {odd} bytes of a torn word at the end, expected {odd_bytes}"
    if expected_words is not None:
        assert words == expected_words, f"{path}: {words} data words, expected {expected_words}"
    gaps: list[tuple[int, int]] = []
    previous = start - 1
    with path.open("rb") as f:
        f.seek(data_at)
        for first in range(0, words, _BLOCK_WORDS):
            block = np.fromfile(f, "<u8", min(_BLOCK_WORDS, words - first))
            gaps += _jumps(block, previous, first, f"{path}, data at byte {data_at}")
            previous = int(block[-1])
    return gaps


def _data_offset(path: Path) -> int:
    with path.open("rb") as f:
        magic = int.from_bytes(f.read(8), "little")
    assert magic >> 16 == _MAGIC, f"{path}: begins with {magic:#018x}, not with the magic word"
    return 8 * (magic & 0xFFFF)  # n counts the magic word


def _jumps(block: np.ndarray, previous: int, first: int, where: str) -> list[tuple[int, int]]:
    """Return the gaps of one block that follows the word ``previous`` and begins at data word ``first``."""
    before = np.concatenate((np.array([previous & (2**64 - 1)], "u8"), block[:-1]))
    step = (block - before).astype("i8")  # modulo 2**64
    for i in np.flatnonzero(step != 1):
        if step[i] < 1:
            index, what = first + int(i), "a repeat" if step[i] == 0 else "out of order"
            address = f"data word {index} (data byte {8 * index})"
            raise AssertionError(f"{where}: {address} is {block[i]} and follows {before[i]}: {what}")
    return [(first + int(i), int(step[i]) - 1) for i in np.flatnonzero(step > 1)]
