"""How long a sweep takes and how much room it needs, before anything is started."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap import spec
from fastcap.errors import FastcapError
from fastcap.sources import check_startable
from fastcap.sweeping.order import Order, Shot
from fastcap.sweeping.room import bytes_of
from fastcap.sweeping.store import Store
from fastcap.units import format_duration, format_size

if TYPE_CHECKING:
    from fastcap.board import Board
    from fastcap.sweeping.analyst import Analyst

_START_S = 0.3  # what starting a source takes, roughly
_MOST_SHOWN = 12
_known: weakref.WeakKeyDictionary[Order, dict[Shot, float]] = weakref.WeakKeyDictionary()


def settle_times(order: Order) -> dict[Shot, float]:
    """Return how long each recording waits for what settles, in an undisturbed sweep."""
    if order in _known:
        return _known[order]
    times: dict[Shot, float] = {}
    before: tuple[float, ...] | None = None
    for shot in order:
        now = order.setpoints(shot)
        moved = [before is None or before[k] != now[k] for k in range(len(now))]
        waits = [axis.settle_s for axis, m in zip(order.plan.axes, moved, strict=True) if m]
        times[shot] = max(waits, default=0.0)
        before = now
    _known[order] = times
    return times


class DryRun(msgspec.Struct, frozen=True):
    """What a sweep would do.

    Attributes
    ----------
    recordings, left : int
        All of the plan, and those that are not done yet.
    order : tuple of str
        What would be recorded, in order.
    duration_s : float or None
        Sampling, settling and starting; None: the length of a recording is not known.
    needed_bytes, free_bytes : int or None
        On the destination.
    problems : tuple of str
        What would prevent it.
    """

    folder: str
    recordings: int
    left: int
    order: tuple[str, ...]
    duration_s: float | None
    needed_bytes: int | None
    free_bytes: int | None
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"dry_run": True, **{name: getattr(self, name) for name in self.__struct_fields__}}

    def __str__(self) -> str:
        shown = [f"  {text}" for text in self.order[:_MOST_SHOWN]]
        if len(self.order) > _MOST_SHOWN:
            shown.append(f"  … {len(self.order) - _MOST_SHOWN} more")
        took = "not known" if self.duration_s is None else f"about {format_duration(self.duration_s)}"
        needed = "not known" if self.needed_bytes is None else format_size(self.needed_bytes)
        free = "" if self.free_bytes is None else f"; {format_size(self.free_bytes)} are free"
        return "\n".join(
            [
                f"sweep   {self.recordings} recordings, {self.left} to be made:", *shown,
                f"length  {took}", f"room    {needed} in {self.folder}{free}",
                *(f"problem: {text}" for text in self.problems),
            ]
        )  # fmt: skip

    __repr__ = __str__


def dry_run(board: Board, order: Order, store: Store, folder: Path, analyst: Analyst | None) -> DryRun:
    """Say what a sweep would do; devices are not moved, the source is not started, the analysis is looked up."""
    left = [shot for shot in order if not store.is_done(shot)]
    problems = []
    bytes_each, seconds_each = None, None
    try:
        check_startable(board.source)
        message, fds = spec.recording(
            board.source, **order.plan.record, to=str(folder), ring_bytes=board.ring_bytes()
        )
        for fd in fds:
            os.close(fd)
        bytes_each = bytes_of(message)
        if bytes_each is not None and message["rate"]:
            seconds_each = bytes_each / 8 * message["rate"][1] / message["rate"][0]
    except FastcapError as error:
        problems.append(str(error))
    if analyst is not None and order.plan.analysis is not None:
        with contextlib.closing(analyst):
            wrong = analyst.found().get("error")
        if wrong is not None:
            problems.append(f"analysis {order.plan.analysis.name}: {wrong['type']}: {wrong['message']}")
    free = _free_bytes(folder)
    needed = None if bytes_each is None else bytes_each * len(left)
    if needed is not None and free is not None and needed > free:
        problems.append(f"{folder}: {format_size(free)} are free, {format_size(needed)} are needed")
    settle = settle_times(order)
    duration = None
    if seconds_each is not None:
        waits_s = _START_S if order.plan.fifo_s is None else order.plan.fifo_s  # before each recording
        duration = sum(settle[shot] for shot in left) + len(left) * (seconds_each + waits_s)
    labels = tuple(order.label(shot) for shot in left)
    return DryRun(str(folder), len(order), len(left), labels, duration, needed, free, tuple(problems))


def _free_bytes(folder: Path) -> int | None:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        fs = os.statvfs(folder)
    except OSError:
        return None
    return fs.f_bavail * fs.f_frsize
