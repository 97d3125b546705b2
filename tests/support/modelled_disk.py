"""A destination in a model, with a clock that moves only while its calls last: hours of writing in a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastcap.nasbench.judge import Fit, fits
from fastcap.nasbench.load import Load
from fastcap.nasbench.replay import Capture
from fastcap.nasbench.result import evidence_of
from fastcap.nasbench.run import Request, take
from fastcap.nasbench.tally import Tally
from fastcap.ringsize import default_fsync_bytes
from tools.diskmodel import DiskClock, DiskModel

GIB = 1 << 30
PATIENCE_S = 5.0


class ModelledDisk(DiskClock):
    """A disk (`tools.diskmodel.DiskModel`), and a bench's calls and clock (`fastcap.nasbench.load.Calls`)."""

    most_bytes = 8 << 20

    def __init__(self, bytes_per_s: float = 1e9, cache_bytes: int = 0, **numbers: Any) -> None:
        super().__init__(DiskModel(bytes_per_s=bytes_per_s, cache_bytes=cache_bytes, **numbers))
        self.create_s = self.model.create_s
        self.free_bytes = 1 << 50 if self.model.free_bytes is None else self.model.free_bytes
        self.directory, self.span_bytes, self.goes_round = "/disk", self.free_bytes // 2, False
        self.crowded, self.grown = False, threading.Event()

    def reset(self) -> None:
        """Empty its cache and begin at 0."""
        super().reset()
        self.at_s = 0.0
        self.due_ns: Callable[[], int] | None = None

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
