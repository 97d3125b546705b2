"""Emulated signals with bytes cut out."""

from __future__ import annotations

import subprocess
import sys
from functools import cache


@cache
def emulated(words: int, *options: str) -> bytes:
    """Return the data words of an emulated board's signal."""
    plain = ["-b", "-q", str(words), "--speed", "max", "--header", "none"]
    argv = [sys.executable, "-P", "-m", "fastcap.sim.board", *plain, *(options or ("--rate", "2MHz"))]
    return subprocess.run(argv, capture_output=True, check=True).stdout


def without(data: bytes, word: int, first: int, count: int) -> bytes:
    """Return the data less ``count`` bytes of a word, from its byte ``first`` on."""
    at = 8 * word + first
    return data[:at] + data[at + count :]
