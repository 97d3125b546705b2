"""A destination in a model, with a clock that moves only while its calls last: hours of writing in a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from fastcap.nasbench.judge import Fit, fits
from fastcap.nasbench.load import Load
from fastcap.nasbench.replay import Capture
from fastcap.nasbench.run import Request, evidence_of, take
from fastcap.nasbench.tally import Tally
from fastcap.ringsize import default_fsync_bytes

GIB = 1 << 30
PATIENCE_S = 5.0


class ModelledDisk:
    """How a destination behaves from its first call on; of a bench's calls and clock (`fastcap.nasbench.load.Calls`).

    Parameters
    ----------
    rate : float
        Bytes per second that become durable.
    cache_bytes : int
        Taken at once; a write waits only while it is full.
    honest : bool
        An fsync waits until the cache is empty; else it says at once that all is durable.
    write_s, fsync_s : float
        Of each call.
    create_s : float
        To create a file.
    stalls : sequence of (at_s, for_s)
        In which nothing is done.
    free_bytes : int
    """

    most_bytes = 8 << 20

    def __init__(
        self, rate: float = 1e9, cache_bytes: int = 0, *, honest: bool = True, write_s: float = 1e-4,
        fsync_s: float = 0.005, create_s: float = 0.001, stalls: Sequence[tuple[float, float]] = (),
        free_bytes: int = 1 << 50,
    ) -> None:  # fmt: skip
        self.rate, self.cache_bytes, self.honest = rate, cache_bytes, honest
        self.usual = {"write": write_s, "fsync": fsync_s}
        self.create_s, self.stalls, self.free_bytes = create_s, sorted(stalls), free_bytes
        self.directory, self.span_bytes, self.goes_round = "/disk", free_bytes // 2, False
        self.crowded, self.grown = False, threading.Event()
        self.reset()

    def reset(self) -> None:
        """Empty its cache and begin at 0."""
        self.at_s = self.level = self._level_at_s = 0.0
        self.due_ns: Callable[[], int] | None = None

    def after(self, at_s: float, work_s: float) -> float:
        """Return when work that begins at ``at_s`` is done; none is in a stall."""
        for begin_s, length_s in self.stalls:
            if begin_s + length_s <= at_s:
                continue
            if at_s + work_s <= begin_s:
                break
            work_s -= max(0.0, begin_s - at_s)
            at_s = begin_s + length_s
        return at_s + work_s

    def done_s(self, at_s: float, kind: str, size: int) -> float:
        """Do a call of a capture's writer; return when it returns."""
        at_s = self.after(at_s, self.usual[kind])
        self.level = max(0.0, self.level - self.rate * (at_s - self._level_at_s))
        self.level += size if kind == "write" else 0
        least = self.cache_bytes if kind == "write" or not self.honest else 0
        waited_s = self.after(at_s, max(0.0, self.level - least) / self.rate)
        self.level, self._level_at_s = min(self.level, least), waited_s
        return waited_s

    def now(self) -> int:
        return int(self.at_s * 1e9)

    def wait(self, timeout_s: float) -> None:
        self.at_s += timeout_s

    def _call(self, kind: str, size: int) -> tuple[int, int, int]:
        began, done_s = self.now(), self.done_s(self.at_s, kind, size)
        if self.due_ns is not None and done_s > self.due_ns() * 1e-9 + PATIENCE_S:
            self.at_s = self.due_ns() * 1e-9 + PATIENCE_S
            raise Held(kind, began)
        self.at_s = done_s
        return size, began, self.now() - began

    def write(self, position: int, size: int, offset: int) -> tuple[int, int, int]:
        return self._call("write", size)

    def sync(self) -> tuple[int, int, int]:
        return self._call("fsync", 0)


class Held(Exception):  # noqa: N818 - what a bench sees when its patience is over
    """A call has not returned: (kind, since_ns)."""


class Bench:
    """A bench of a modelled disk."""

    def __init__(self, disk: ModelledDisk, rate: str = "2MHz", seconds: float = 10, ring: int = GIB) -> None:
        disk.reset()
        request = Request("/disk", rate, seconds, None, "1MiB", None, None)
        message = {
            **request.message(),
            "ring_bytes": ring,
            "fsync_every": default_fsync_bytes(ring, request.rate),
        }
        load = Load(disk, disk, message, lambda got: take(got, self.tally, request))
        self.tally = Tally(load.offer)
        disk.due_ns = lambda: self.tally.due_ns
        under_way = None
        try:
            load.run()
        except Held as held:
            under_way = held.args
        self.tally.end(disk.now(), under_way)
        begun = {
            "made_ns": int(disk.create_s * 1e9), "span_bytes": disk.span_bytes, "free_bytes": disk.free_bytes,
            "elsewhere": False,
        }  # fmt: skip
        self.evidence = evidence_of(request, begun, self.tally)
        self.fits = fits(self.evidence)

    def at(self, mhz: float) -> Fit:
        """Return the verdict on a rate."""
        return next(fit for fit in self.fits if fit.rate_hz == mhz * 1e6)


def capture_loses(disk: ModelledDisk, mhz: float, ring: int, seconds: float) -> bool:
    """Tell whether a capture to this disk loses anything."""
    disk.reset()
    capture = Capture(disk, mhz * 8e6, ring, None)
    capture.begin(0.0)
    return capture.run(seconds)
