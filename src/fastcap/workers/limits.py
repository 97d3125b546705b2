"""What the user's function may take of time and memory; beyond it is an error of the function, and contained.

Time: SIGALRM raises `FunctionTimeout` in the function, wherever its Python code is. Code that never returns to
the interpreter cannot be interrupted: soon after, the process prints where it hangs and ends, and the supervisor
reports that. Memory: RLIMIT_DATA, which counts what a process allocates but not the ring or mapped files; an
allocation beyond it raises MemoryError.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastcap.ringsize import available_bytes
from fastcap.units import format_size

TIMEOUT_S = 600.0
MOST_GRACE_S = 5.0  # for the function to end after SIGALRM
LEAST_MEMORY_BYTES = 64 << 20


class FunctionTimeout(BaseException):
    """The function has taken longer than it may. No Exception: a function's own ``except`` must not stop it."""


class Limits:
    """Limits of one recording's function.

    Parameters
    ----------
    timeout_s : float or None
        For one call, or for what the function does with one block. None: no limit.
    memory_bytes : int or None
        What it may allocate. None: half of what is available when it is first called.
    """

    def __init__(self, timeout_s: float | None, memory_bytes: int | None) -> None:
        self.timeout_s = timeout_s
        self._memory_bytes = memory_bytes

    @property
    def memory_bytes(self) -> int:
        """What it may allocate."""
        if self._memory_bytes is None:
            self._memory_bytes = max(LEAST_MEMORY_BYTES, available_bytes() // 2)
        return self._memory_bytes

    @contextlib.contextmanager
    def memory(self) -> Iterator[None]:
        """Bound what this process allocates from now on."""
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = _allocated_bytes() + self.memory_bytes
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

    def told(self, error: MemoryError) -> str:
        """Return an allocation's error with the limit, which Python leaves out, and what helps."""
        return (
            f"{error or 'out of memory'}: the function may allocate {format_size(self.memory_bytes)}; "
            "let it take less, or give it more with analyse_memory"
        )

    def start(self) -> None:
        """Let the time run, from now on."""
        if self.timeout_s is None:
            return
        signal.signal(signal.SIGALRM, self._over)
        faulthandler.dump_traceback_later(
            self.timeout_s + min(MOST_GRACE_S, self.timeout_s), exit=True, file=sys.__stderr__ or sys.stderr
        )
        signal.setitimer(signal.ITIMER_REAL, self.timeout_s)

    def stop(self) -> None:
        """Let the time stand still."""
        if self.timeout_s is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    def _over(self, *_: Any) -> None:
        raise FunctionTimeout(
            f"the function did not return within its time limit of {self.timeout_s:g} s; "
            "make it faster, or give it more with analyse_timeout"
        )


def _allocated_bytes() -> int:
    """Return what RLIMIT_DATA counts of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def yield_to_the_capture() -> None:
    """Let the capture's own processes come first: for the processor, and when memory runs out."""
    with contextlib.suppress(OSError):
        os.nice(5)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
