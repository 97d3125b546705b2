"""Waiting for something to come true, under a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.005


def wait_until(predicate: Callable[[], T], deadline_s: float, describe: str | Callable[[], str]) -> T:
    """Return what ``predicate`` returns once it is true.

    Parameters
    ----------
    describe : str or callable
        What is waited for, for the message; a callable is asked at the deadline.

    Raises
    ------
    AssertionError
        It was not true within ``deadline_s``.
    """
    pause = threading.Event()
    end = time.monotonic() + deadline_s
    while not (value := predicate()):
        if time.monotonic() > end:
            what = describe if isinstance(describe, str) else describe()
            raise AssertionError(f"not within {deadline_s} s: {what}")
        pause.wait(_POLL_S)
    return value
