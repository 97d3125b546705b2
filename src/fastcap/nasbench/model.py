"""What ``bench nas`` measured: plain values, as they stand in its JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastcap.errors import ConfigError
from fastcap.histogram import LatencyHistogram
from fastcap.nasbench.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KIND = "fastcap bench nas"
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9, "p9999": 99.99}
_RELATIVE_ERROR = 1 / 256  # of a percentile: see LatencyHistogram
Verdict = Literal["yes", "no", "unknown"]


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

    @classmethod
    def of(cls, histogram: LatencyHistogram) -> Latencies:
        """Return what a histogram says."""
        p = {name: histogram.percentile(at) for name, at in _PERCENTILES.items()}
        longest = None if histogram.max_ns is None else histogram.max_ns / 1e9
        return cls(
            **p, max=longest, count=histogram.count, error=_RELATIVE_ERROR, buckets=histogram.to_json()
        )


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
    errno: int = 0


class Mount(msgspec.Struct, frozen=True):
    """The file system under a directory, as the kernel's mount table has it."""

    file_system: str
    source: str
    point: str
    options: list[str]


class Cpu(msgspec.Struct, frozen=True):
    """What writing cost the bench's writer, seconds of processor time, while it wrote ``bytes`` in ``seconds``."""

    user_s: float
    system_s: float
    bytes: int
    seconds: float


class Hour(msgspec.Struct, frozen=True):
    """One hour of the offered load, the ``number``-th from the start; durations in seconds, None where none ended.

    ``delay_counts``: of data, one for each hundredth of a second of the load, by how long they waited until durable:
    six bins to a decade, from 0.1 ms (and below) to 1,000 s (and above). Stalls count in the hour they begin in.
    """

    number: int
    observed_s: float
    delay_p50_s: float | None
    delay_p99_s: float | None
    write_p99_s: float | None
    fsync_p99_s: float | None
    stalls: int
    stalled_s: float
    worst_stall_s: float
    durable_bytes: int
    delay_counts: list[int]


class Timeline(msgspec.Struct, frozen=True):
    """The run in steps of equal length, from its start; in each the longest calls and the largest backlog."""

    step_s: float
    write_max_s: list[float | None]
    fsync_max_s: list[float | None]
    backlog_bytes: list[int]


class Saturated(msgspec.Struct, frozen=True):
    """What the destination took when as much was written as it takes, after the offered load.

    ``rate_bytes_per_s``: made durable, in the last third of ``seconds`` or in all of them, whichever is less; None
    where nothing was. ``settled``: that was steady, and larger distances between fsyncs were no faster. ``whole``: all
    the time was used; else rates up to 10 MHz were decided before, or there was no room for more. ``larger_may_help``:
    the more was written before an fsync, the more was taken; a ring above a capture's default may do more.
    ``median_bytes_per_s``: of the rounds of writes and an fsync in the last third; None: there were too few.
    ``fastest_bytes_per_s``: of such a round in the second half, where they are so few that all may have been held
    up.
    """

    seconds: float
    bytes: int
    rate_bytes_per_s: float | None
    settled: bool
    whole: bool
    larger_may_help: bool = False
    median_bytes_per_s: float | None = None
    fastest_bytes_per_s: float | None = None


class Fit(msgspec.Struct, frozen=True):
    """Whether a board at some rate would fit this destination.

    Attributes
    ----------
    verdict : str
        "yes": a capture with ``ring_needed_bytes`` loses nothing for what this bench can tell; "no"; or "unknown": it
        was not measured, or what was measured does not tell. ``fits`` is "yes" as a truth value, ``why`` what stands
        against a "yes".
    rests_on : str
        "offered": the load was offered, at this rate or a higher one; "unthrottled": the rate lies above it.
    headroom : float or None
        What was taken unthrottled, stalls included, over the board's rate; None: that was not measured.
    ring_needed_bytes : int or None
        The smallest ring that loses nothing in a replay of a capture's writer over the calls that were measured; None:
        none is enough, or nothing was measured.
    covered_s : float
        For so long a capture would write what this bench has written to new blocks.
    full_after_s : float or None
        Until what is free is used up.
    measured : bool
        At this very rate.
    """

    rate_hz: float
    rate_bytes_per_s: float
    fits: bool
    headroom: float | None
    ring_needed_bytes: int | None
    measured: bool
    why: str
    verdict: Verdict = "unknown"
    rests_on: str = "offered"
    covered_s: float = 0.0
    full_after_s: float | None = None


class NasBench(msgspec.Struct, frozen=True):
    """What a destination did during ``observed_s`` seconds of paced writing, and when written to without a pace.

    Attributes
    ----------
    rate_bytes_per_s : float
        Bytes of the offered load that were durable at the end, over the time that took.
    asked_bytes_per_s : float or None
        The offered load; None: as fast as it goes, and that is all.
    ring_needed_bytes : int or None
        The smallest ring of a capture at that rate that would have lost nothing, by replay; where none is enough, the
        largest backlog that there was. None without a pace.
    ring_recommended_bytes : int or None
        That with ``margin``. None also where the destination took less than was offered.
    delay_s : Latencies or None
        How long data waited until it was durable, at the offered load; what never was, until the end.
    verdict : str or None
        On the rate that was asked for; None: no rate was.
    new_bytes : int
        Written to blocks that were new; ``span_bytes``: at most so many were to be.
    free_bytes : int or None
        What is free without the bench's file; None: that was not known at the end.
    unseen : str
        What so short a time cannot tell.
    cpu : Cpu or None
        None: the writer did not come to its end.
    stalls : list of Stall
        In order; of more than 4,096 the longest. ``stalls_in_all`` and ``stalled_s`` are of all.
    hours : list of Hour
        The offered load hour by hour.
    writers : int
        So many wrote at once, a file and the offered load each; all other figures are of the one that fared worst.
        ``all_bytes_per_s``: what was durable of all their loads.
    direct : bool
        Past the page cache, with O_DIRECT.
    """

    directory: str
    started: str
    observed_s: float
    asked_bytes_per_s: float | None
    rate_bytes_per_s: float
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
    verdict: Verdict | None = None
    delay_s: Latencies | None = None
    saturated: Saturated | None = None
    new_bytes: int = 0
    free_bytes: int | None = None
    unseen: str = ""
    trace: Trace | None = None
    cpu: Cpu | None = None
    direct: bool = False
    writers: int = 1
    all_bytes_per_s: float | None = None
    stalls_in_all: int | None = None
    stalled_s: float | None = None
    hours: list[Hour] = []

    @property
    def stalls_counted(self) -> int:
        """How many stalls there were, those among them that are not kept."""
        return len(self.stalls) if self.stalls_in_all is None else self.stalls_in_all

    @property
    def seconds_stalled(self) -> float:
        """For how long all of them lasted."""
        return sum(stall.for_s for stall in self.stalls) if self.stalled_s is None else self.stalled_s

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

    def to_fio(self) -> dict[str, Any]:
        """Return what fio would print of such a job as JSON; see `fastcap.nasbench.fio`."""
        from fastcap.nasbench.fio import to_fio

        return to_fio(self)

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
        for latencies in (bench.write_s, bench.fsync_s, bench.delay_s):
            if latencies is not None:
                LatencyHistogram.from_json(latencies.buckets)
        return bench
    except ValueError as error:  # msgspec's errors are ValueErrors
        remedy = "write one with 'fastcap bench nas DIR --json > FILE'"
        raise ConfigError(f"{os.fspath(path)} is no bench's JSON: {error}; {remedy}") from error
