"""``fastcap.bench_nas``: pace writes to a directory as a capture would, and tell how it bore them.

Flow: the writer process makes its file; from then on the offered load runs by the clock. This process hears of
every call, and looks into shared memory at what is under way: a call stuck for minutes stops nothing here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

import fastcap
from fastcap._ring import now_ns
from fastcap.errors import SinkError, WorkerError
from fastcap.nasbench.estimate import BYTES_PER_WORD, MARGIN, Outage, Service, recommended
from fastcap.nasbench.model import Mount, NasBench
from fastcap.nasbench.policy import GATHER_S, LEAST_RING_BYTES, Offer
from fastcap.nasbench.process import Interruption, WriterProcess
from fastcap.nasbench.tally import Tally
from fastcap.units import (
    format_duration,
    format_size,
    parse_byte_rate,
    parse_duration_s,
    parse_rate_hz,
    parse_size,
)
from fastcap.wire import Closed, Message
from fastcap.workers.calls import STALL_NS

SPAN_BYTES = 2 << 30
_LOOK_S = 0.1
PATIENCE_S = 60.0  # with a destination that has not answered yet
_PATIENCE_S = (1.0, 10.0)  # for the last calls: at least, at most
_BLOCKS = (4096, 64 << 20)
_LEAST_S = 0.1

Progress = Callable[[float, "Tally", int], None]


def byte_rate(rate: str | float | None) -> float | None:
    """Return bytes per second of ``16MB/s`` or, in words, ``2MHz``; None: as fast as it goes.

    Raises
    ------
    ValueError
    """
    if rate is None or rate == "max":
        return None
    if isinstance(rate, str) and rate.strip().endswith("Hz"):
        return float(parse_rate_hz(rate)) * BYTES_PER_WORD
    return parse_byte_rate(rate)


class _Request:
    """The arguments, checked; nothing was touched."""

    def __init__(self, directory: str, rate: Any, seconds: Any, span: Any, block: Any, every: Any) -> None:
        self.directory = directory
        self.rate = byte_rate(rate)
        self.seconds = float(parse_duration_s(seconds))
        self.block = parse_size(block)
        self.every = None if every is None else parse_size(every)
        self.span_given = span is not None
        self.span = SPAN_BYTES if span is None else parse_size(span)
        if self.rate is not None and self.rate < BYTES_PER_WORD:
            raise ValueError(f"rate {rate} is below a word a second; give one such as 16MB/s")
        if self.seconds < _LEAST_S:
            raise ValueError(f"seconds {seconds} is too short to see anything; give at least {_LEAST_S:g}")
        if not _BLOCKS[0] <= self.block <= _BLOCKS[1] or self.block % 4096:
            raise ValueError(
                f"block {block} is not a multiple of 4096 from 4KiB to 64MiB; give one such as 1MiB"
            )
        if self.every is not None and self.every < self.block:
            raise ValueError(
                f"fsync-every {every} is below a block of {self.block} bytes; give at least that"
            )
        if self.span < (self.every or self.block):
            raise ValueError(f"span {span} is below {self.every or self.block} bytes; give one such as 2GiB")
        if self._offers_nothing():
            raise ValueError(
                f"rate {rate} offers nothing to write within seconds {seconds}; give more of either"
            )

    def _offers_nothing(self) -> bool:
        """Tell whether the time would be over before the first write, which waits for a block or for a moment."""
        if self.rate is None or self.rate * self.seconds >= self.block:
            return False
        return self.rate * (self.seconds - 2 * GATHER_S) < BYTES_PER_WORD

    def message(self) -> Message:
        """Return the order to the writer."""
        return {
            "op": "bench", "directory": self.directory, "bytes_per_s": self.rate, "seconds": self.seconds,
            "block_bytes": self.block, "span_bytes": self.span, "span_given": self.span_given,
            "fsync_every": self.every,
        }  # fmt: skip


def bench_nas(
    directory: str | os.PathLike[str],
    *,
    rate: str | float | None = "16MB/s",
    seconds: str | float = 30,
    span: str | int | None = None,
    block: str | int = "1MiB",
    fsync_every: str | int | None = None,
    progress: Progress | None = None,
    remember: bool = True,
) -> NasBench:
    """Measure what a destination would do to a capture. Blocks for ``seconds``; SIGINT ends it early.

    Parameters
    ----------
    directory : path
        Where to write one file, which is removed whatever happens.
    rate : str or number
        Bytes per second that are offered, by the clock; ``"max"`` or None: as fast as it goes.
    seconds : str or number
    span : str or int, optional
        Writes go round within so many bytes; default: 2 GiB, or half of what is free.
    block : str or int
        Bytes gathered for one write.
    fsync_every : str or int, optional
        Bytes between fsyncs; default: as a capture chooses.
    progress : callable, optional
        Called ten times a second with the seconds gone, the tally and the backlog.
    remember : bool
        Append what was found to the local history of destinations.

    Raises
    ------
    ValueError
        An argument makes no sense; nothing was started.
    SinkError
        The directory cannot be used, or has not the room.
    WorkerError
        The writer ended before its time.
    KeyboardInterrupt
        SIGINT, SIGTERM or SIGHUP came before the directory had answered.
    """
    if not os.fspath(directory):
        raise ValueError("'' is no directory; name the destination's (. is this one)")
    request = _Request(os.path.abspath(os.fsdecode(directory)), rate, seconds, span, block, fsync_every)
    started = datetime.now().astimezone().isoformat()
    with Interruption() as interruption, WriterProcess(request.message()) as writer:
        begun = _begin(writer, request, interruption)
        tally = Tally(Offer(request.rate, begun["start_ns"], begun["end_ns"]))
        _follow(writer, tally, interruption, progress)
    begun.update(left=writer.left, elsewhere=writer.elsewhere)
    found = _result(request, begun, tally, started, interrupted=interruption.came)
    if remember:
        from fastcap.nasbench.bygone import remember as append

        append(found)
    return found


def _begin(writer: WriterProcess, request: _Request, interruption: Interruption) -> Message:
    """Wait until the file is there."""
    got, patient_until_ns = None, now_ns() + int(PATIENCE_S * 1e9)
    while got is None:
        if interruption.came:
            raise KeyboardInterrupt  # nothing was seen that could be told
        if now_ns() > patient_until_ns:
            where = request.directory
            raise SinkError(
                f"{where} has not answered for {PATIENCE_S:.0f} s: it is stalled, or its server is away"
            )
        try:
            got = writer.receive(_LOOK_S)
        except Closed as error:
            raise WorkerError(f"the bench's writer ended at once: {writer.last_words()}") from error
    if got["op"] == "refused":
        raise SinkError(got["text"])
    writer.name = got["name"]
    return got


def _follow(
    writer: WriterProcess, tally: Tally, interruption: Interruption, progress: Progress | None
) -> None:
    """Hear the writer until the time is over and its last fsync is, or patience with that."""
    end_ns, stopped = tally.offer.end_ns, False
    while True:
        try:
            got = writer.receive(_LOOK_S)
        except Closed as error:
            status = writer.process.wait(5)
            raise WorkerError(
                f"the bench's writer ended before its time, with status {status}: {writer.last_words()}"
            ) from error
        if got is not None and _take(got, tally):
            tally.end(got["at_ns"], 0)
            writer.name, writer.elsewhere = got["name"], got["elsewhere"]
            return
        now = now_ns()
        if progress is not None:
            progress((now - tally.offer.start_ns) * 1e-9, tally, max(0, tally.offer.by(now) - tally.durable))
        if interruption.came and not stopped:
            stopped = True
            writer.stop()
            tally.offer.end_ns = end_ns = min(end_ns, now)
        if now > end_ns + _patience_ns(tally):
            tally.end(now, writer.busy_since_ns)
            return


def _patience_ns(tally: Tally) -> int:
    """Return how long the last calls are waited for: longer where they always take long."""
    least, most = (int(s * 1e9) for s in _PATIENCE_S)
    longest = max((h.max_ns or 0) for h in tally.histograms.values())
    return min(most, max(least, 2 * longest))


def _take(got: Message, tally: Tally) -> bool:
    """Take a message; True: the bench is over."""
    if got["op"] == "calls":
        for call in got["calls"]:
            tally.call(*call)
    elif got["op"] == "failed":
        tally.failed(got["at_ns"], got["text"])
    return bool(got["op"] == "over")


def _result(request: _Request, begun: Message, tally: Tally, started: str, *, interrupted: bool) -> NasBench:
    """Put together what was found."""
    observed_s = (min(now_ns(), tally.offer.end_ns) - tally.offer.start_ns) * 1e-9
    durable_s = max(observed_s, (tally.durable_ns - tally.offer.start_ns) * 1e-9)
    write_s, fsync_s = tally.latencies("write"), tally.latencies("fsync")
    needed = None if request.rate is None else tally.peak_bytes
    troubles = tally.troubles.told
    outages: list[Outage] = [*tally.stalls, *troubles]
    service = Service(
        tally.busy_bytes_per_s, outages, durable_s, fsync_s.p99, request.rate, needed, tally.stalled_bytes
    )
    fits = service.fits()
    growing = any(fit.measured and fit.headroom < 1 for fit in fits)
    return NasBench(
        directory=request.directory, started=started, observed_s=round(observed_s, 6),
        asked_bytes_per_s=request.rate, rate_bytes_per_s=tally.durable / durable_s if durable_s > 0 else 0.0,
        busy_bytes_per_s=tally.busy_bytes_per_s, bytes=tally.bytes, span_bytes=begun["span_bytes"],
        block_bytes=request.block, fsync_every_bytes=request.every, write_s=write_s, fsync_s=fsync_s,
        stalls=tally.stalls, ring_needed_bytes=needed,
        ring_recommended_bytes=None if needed is None or growing else recommended(needed, LEAST_RING_BYTES),
        margin=MARGIN, fits=fits, timeline=tally.timeline(),
        mount=msgspec.convert(begun["mount"], Mount | None),
        warnings=[*begun["warnings"], *_warnings(request, begun, tally)], errors=troubles,
        interrupted=interrupted, host=socket.gethostname(), fastcap=fastcap.__version__,
    )  # fmt: skip


def _warnings(request: _Request, begun: Message, tally: Tally) -> list[str]:
    """Return what should be known when reading the figures."""
    found = []
    if begun["span_bytes"] < request.span // 4096 * 4096:
        half, free = format_size(begun["span_bytes"]), format_size(begun["free_bytes"])
        found.append(f"only {free} are free: writes went round within {half}")
    if begun["made_ns"] >= STALL_NS:
        made_s = begun["made_ns"] * 1e-9
        arrives = "" if request.rate is None else f": {format_size(int(request.rate * made_s))} in its ring"
        took = f"making the file took {format_duration(made_s)}"
        found.append(f"{took}; a capture's source would have run meanwhile{arrives}")
    if begun["left"] is not None:
        found.append(f"{begun['left']} is still there: remove it when the destination answers")
    if begun["elsewhere"]:
        found.append(
            f"{request.directory} was unmounted, removed or replaced meanwhile: all this is of what was there"
        )
    if begun["removed"]:
        found.append(f"{begun['removed']} file(s) of benches that were killed have been removed")
    if any(stall.ongoing for stall in tally.stalls):
        found.append(
            "a call had not returned at the end: that stall is longer, and so may be the ring needed"
        )
    return found
