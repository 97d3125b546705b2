"""Attempts: which number the next one has, how often a recording may be tried again, and when to give up."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from fastcap.errors import SweepError
from fastcap.sweeping.order import Shot
from fastcap.sweeping.store import Store

When = Literal["now", "end"]
IN_A_ROW = 3  # so many recordings given up one after another end the sweep
_NUMBERED = re.compile(r"(.+_a)(\d+)\.(?:bin|sigmf-meta|index)(?:\.part)?\Z")


class Attempts:
    """What is still to be recorded, and what was tried.

    Parameters
    ----------
    retries : int
        How often a recording that failed is made again.
    when : {"now", "end"}
        At once, or when all others are through.
    """

    def __init__(self, store: Store, folder: Path, *, retries: int, when: When) -> None:
        self._store, self._retries, self._when = store, retries, when
        self._failed: Counter[Shot] = Counter()
        self._in_a_row = 0
        self._there = set(os.listdir(folder))
        self._taken = _taken(self._there)
        self.todo = deque(shot for shot in store.order if not store.is_done(shot))

    def number(self, shot: Shot) -> int:
        """Return the number of a new attempt: above all in the journal, and all whose files are there."""
        base = self._store.order.stem(shot, 0)[:-1]
        number = max(self._store.attempts(shot), self._taken.get(base, 0)) + 1
        self._taken[base] = number
        return number

    def is_taken(self, stem: str) -> bool:
        """Tell whether there was a file of this name when the sweep began."""
        return any(f"{stem}{ending}" in self._there for ending in (".bin", ".bin.part", ".sigmf-meta"))

    def failed(self, shot: Shot, reason: str) -> bool:
        """Note that a recording failed; return whether it will be tried again.

        Raises
        ------
        SweepError
            Too many in a row have failed for good: something is broken.
        """
        self._failed[shot] += 1
        if self._failed[shot] <= self._retries:
            self.todo.appendleft(shot) if self._when == "now" else self.todo.append(shot)
            return True
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            raise SweepError(
                f"{IN_A_ROW} recordings in a row failed for good, the last for this: {reason}; mend it, then resume"
            )
        return False

    def succeeded(self) -> None:
        """Note that a recording is done."""
        self._in_a_row = 0


def _taken(names: Iterable[str]) -> dict[str, int]:
    """Return the highest number of every name."""
    highest: dict[str, int] = {}
    for name in names:
        match = _NUMBERED.match(name)
        if match:
            highest[match[1]] = max(highest.get(match[1], 0), int(match[2]))
    return highest
