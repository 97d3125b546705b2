"""What ``bench nas`` measured: plain values, as they stand in its JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap.errors import ConfigError
from fastcap.histogram import LatencyHistogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = "fastcap bench nas"


class Latencies(msgspec.Struct, frozen=True):
    """Durations of one kind of call, seconds; None where there was none. ``p999`` is 99.9 %.

    ``error`` is how far a percentile may be from a recorded duration, as a share; ``max`` and ``count`` are exact.
    ``buckets`` is the whole histogram, as `fastcap.histogram.LatencyHistogram.to_json` writes it.
    """

    p50: float | None
    p90: float | None
    p99: float | None
    p999: float | None
    p9999: float | None
    max: float | None
    count: int
    error: float
    buckets: dict[str, Any]


class Stall(msgspec.Struct, frozen=True):
    """A call that took longer than 0.25 s. ``ongoing``: it had not returned when the bench ended."""

    at_s: float
    for_s: float
    call: str
    ongoing: bool = False


class Trouble(msgspec.Struct, frozen=True):
    """Calls that failed, one after the other; as in a capture, all since the last good fsync was written again.

    ``for_s``: until something was durable again, or calls failed in another way. ``ongoing``: to the bench's end.
    """

    at_s: float
    text: str
    for_s: float = 0.0
    calls: int = 1
    ongoing: bool = False


class Mount(msgspec.Struct, frozen=True):
    """The file system under a directory, as the kernel's mount table has it."""

    file_system: str
    source: str
    point: str
    options: list[str]


class Timeline(msgspec.Struct, frozen=True):
    """The run in steps of equal length, from its start; in each the longest calls and the largest backlog."""

    step_s: float
    write_max_s: list[float | None]
    fsync_max_s: list[float | None]
    backlog_bytes: list[int]


class Fit(msgspec.Struct, frozen=True):
    """Whether a board at some rate would fit this destination.

    ``headroom`` is the destination's rate, its stalls included, over the board's. ``measured``: at this very
    rate; else estimated from calls at another one.
    """

    rate_hz: float
    rate_bytes_per_s: float
    fits: bool
    headroom: float
    ring_needed_bytes: int
    measured: bool
    why: str


class NasBench(msgspec.Struct, frozen=True):
    """What a destination did during ``observed_s`` seconds of paced writing.

    Attributes
    ----------
    rate_bytes_per_s : float
        Bytes that were durable at the end, over the time that took.
    asked_bytes_per_s : float or None
        The offered load; None: as fast as it goes.
    busy_bytes_per_s : float or None
        Bytes over the time spent in calls that were no stalls: how fast the destination is when it works.
    ring_needed_bytes : int or None
        Peak of what was offered and not durable: a ring below this would have lost words. None without a pace.
    ring_recommended_bytes : int or None
        That with ``margin``, not below what was modelled (`fastcap.nasbench.policy`). None also where the
        destination took less than was offered: the backlog was still growing.
    """

    directory: str
    started: str
    observed_s: float
    asked_bytes_per_s: float | None
    rate_bytes_per_s: float
    busy_bytes_per_s: float | None
    bytes: int
    span_bytes: int
    block_bytes: int
    fsync_every_bytes: int | None
    write_s: Latencies
    fsync_s: Latencies
    stalls: list[Stall]
    ring_needed_bytes: int | None
    ring_recommended_bytes: int | None
    margin: float
    fits: list[Fit]
    timeline: Timeline
    mount: Mount | None
    warnings: list[str]
    errors: list[Trouble]
    interrupted: bool
    host: str
    fastcap: str
    kind: str = KIND

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw latencies, backlog and distribution; see `fastcap.nasbench.picture`."""
        from fastcap.nasbench.picture import draw

        return draw(self, path)

    def save_html(self, path: str | os.PathLike[str]) -> str:
        """Write a page that needs nothing beside itself; return its path."""
        from fastcap.nasbench.page import write_page

        return write_page(self, path)

    def __str__(self) -> str:
        from fastcap.nasbench.tell import describe

        return "\n".join(describe(self))


def load_bench(path: str | os.PathLike[str]) -> NasBench:
    """Read what ``bench nas --json`` printed.

    Raises
    ------
    ConfigError
        The file is not that.
    OSError
        It cannot be read.
    """
    with open(path, "rb") as file:
        raw = file.read()
    try:
        value = msgspec.json.decode(raw)
        if not isinstance(value, Mapping) or value.get("kind") != KIND:
            raise ValueError("it has no 'kind' that says so")
        bench = msgspec.convert(value, NasBench)
        for latencies in (bench.write_s, bench.fsync_s):
            LatencyHistogram.from_json(latencies.buckets)
        return bench
    except ValueError as error:  # msgspec's errors are ValueErrors
        remedy = "write one with 'fastcap bench nas DIR --json > FILE'"
        raise ConfigError(f"{os.fspath(path)} is no bench's JSON: {error}; {remedy}") from error
