"""A disk that few numbers describe: rate, cache, what calls take, stalls, room. Its clock starts at the first write.

`DiskModel` is what it is (JSON), `DiskClock` when its calls return, without any I/O, `DiskBook` makes the calls of a
file system (`passthrough`) take that long.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tools.faultmodel import Injection, Rule
from tools.faultrules import Call, Rulebook


class DiskModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a disk behaves from its first write on.

    Attributes
    ----------
    bytes_per_s : float
        That become durable.
    cache_bytes : int
        Taken at once; a write waits only while it is full.
    honest : bool
        An fsync waits until the cache is empty; else it says at once that all is durable.
    write_s, fsync_s, create_s : float
        Of each call, beside the waiting.
    stalls : list of (at_s, for_s)
        In which nothing is done.
    free_bytes : int or None
        None: what its backing has.
    """

    bytes_per_s: float = 1e9
    cache_bytes: int = 0
    honest: bool = True
    write_s: float = 1e-4
    fsync_s: float = 0.005
    create_s: float = 0.001
    stalls: list[tuple[float, float]] = []
    free_bytes: int | None = None


class DiskClock:
    """When the calls of a disk return. Times are seconds since its first write; one call after the other."""

    def __init__(self, model: DiskModel) -> None:
        self.model = model
        self._stalls = sorted(model.stalls)
        self._usual = {"write": model.write_s, "fsync": model.fsync_s, "create": model.create_s}
        self.reset()

    def reset(self) -> None:
        """Empty its cache and begin at 0."""
        self._level = self._busy_until_s = 0.0

    def after(self, at_s: float, work_s: float) -> float:
        """Return when work that begins at ``at_s`` is done; none is in a stall."""
        for begin_s, length_s in self._stalls:
            if begin_s + length_s <= at_s:
                continue
            if at_s + work_s <= begin_s:
                break
            work_s -= max(0.0, begin_s - at_s)
            at_s = begin_s + length_s
        return at_s + work_s

    def _awake_s(self, from_s: float, to_s: float) -> float:
        """Return for how long of a time it was not stalled."""
        stalled = (max(0.0, min(to_s, at + length) - max(from_s, at)) for at, length in self._stalls)
        return to_s - from_s - sum(stalled)

    def done_s(self, at_s: float, kind: str, size: int) -> float:
        """Do a call; return when it returns."""
        at_s = self.after(max(at_s, self._busy_until_s), self._usual[kind])
        drained = self.model.bytes_per_s * self._awake_s(self._busy_until_s, at_s)
        self._level = max(0.0, self._level - drained)
        self._level += size if kind == "write" else 0
        waits = kind == "write" or (kind == "fsync" and self.model.honest)
        least = self.model.cache_bytes if kind == "write" or not self.model.honest else 0
        if waits:
            at_s = self.after(at_s, max(0.0, self._level - least) / self.model.bytes_per_s)
            self._level = min(self._level, least)
        self._busy_until_s = at_s
        return at_s


class DiskBook(Rulebook):
    """The rules of `faultrules`, and the time that a modelled disk takes for what passes them."""

    def __init__(self, record: Callable[[Injection], None], model: DiskModel) -> None:
        super().__init__(record)
        self._clock, self._turn = DiskClock(model), threading.Lock()
        self._first_ns: int | None = None
        self._left = model.free_bytes
        self._ended = threading.Event()  # never set: to wait is not to sleep

    def room(self) -> int | None:
        """Return how many bytes still fit; see `Rulebook.room`."""
        return min((n for n in (super().room(), self._left) if n is not None), default=None)

    def begin(self, op: str, *names: str, growth: int = 0, **options: Any) -> Call:
        """Let rules hold or refuse the call, and refuse what there is no room for."""
        call = super().begin(op, *names, growth=growth, **options)
        if growth and self._left is not None:
            with self._turn:
                call.size = max(0, call.size - max(0, growth - self._left))
                if not call.size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._left = max(0, self._left - growth)
        return call

    def end(self, call: Call, done: int = 0) -> Rule | None:
        """Wait until the disk has done the call."""
        if call.op in ("write", "fsync", "create"):
            self._ended.wait(max(0.0, (self._due_ns(call.op, done) - time.monotonic_ns()) * 1e-9))
        return super().end(call, done)

    def _due_ns(self, op: str, done: int) -> int:
        with self._turn:
            now_ns = time.monotonic_ns()
            if self._first_ns is None and op == "create":
                return now_ns + int(self._clock.model.create_s * 1e9)
            if self._first_ns is None:
                self._first_ns = now_ns
            done_s = self._clock.done_s((now_ns - self._first_ns) * 1e-9, op, done)
            return self._first_ns + int(done_s * 1e9)
