"""Looking at a call from outside: how it ends, how long it takes, in whose thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


def timed(call: Callable[..., Any], *args: Any) -> tuple[int, int]:
    """Return when a call began (CLOCK_MONOTONIC) and how long it took, both in ns."""
    start = time.monotonic_ns()
    call(*args)
    return start, time.monotonic_ns() - start


def error_of(call: Callable[..., Any], *args: Any) -> int:
    """Return the errno with which a call fails, 0 if it does not."""
    try:
        call(*args)
    except OSError as e:
        return e.errno or 0
    return 0


def median(values: list[float]) -> float:
    """Return the middle value."""
    return sorted(values)[len(values) // 2]


class InThread:
    """A call in a thread of its own; ``join`` returns its result or raises its error."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call, args), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self._result = call(*args)
        except BaseException as e:
            self._error = e

    @property
    def running(self) -> bool:
        """Whether the call has not returned."""
        return self._thread.is_alive()

    @property
    def state(self) -> str:
        """The kernel's state of the thread: R, S, D, ... or empty once it has ended."""
        try:
            with open(f"/proc/self/task/{self._thread.native_id}/stat", "rb") as f:
                stat = f.read()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return stat[stat.rindex(b")") + 2 :].split()[0].decode()

    def join(self, timeout_s: float = 20) -> Any:
        """Return the call's result."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise AssertionError(f"the call has not returned within {timeout_s} s")
        if self._error is not None:
            raise self._error
        return self._result
