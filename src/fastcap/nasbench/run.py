"""``fastcap.bench_nas``: pace writes to a directory as a capture would, and tell how it bore them.

The writer process makes its file; from then on the offered load runs by the clock, and after it, for at most as long
again, as much is written as is taken. This process hears of every call, and looks into shared memory at what is under
way: a call stuck for minutes stops nothing here.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fastcap._ring import now_ns
from fastcap.errors import SinkError, WorkerError
from fastcap.nasbench.judge import BYTES_PER_WORD, RATES_HZ
from fastcap.nasbench.load import piece_of
from fastcap.nasbench.model import NasBench
from fastcap.nasbench.offer import Offer
from fastcap.nasbench.parts import SAVE_S, merged, save, unfinished
from fastcap.nasbench.process import Interruption, WriterProcess
from fastcap.nasbench.result import of_worst, result_of
from fastcap.nasbench.saturation import Saturation
from fastcap.nasbench.tally import Tally
from fastcap.ringsize import SYNCS, default_fsync_bytes, default_ring_bytes
from fastcap.units import (
    parse_byte_rate,
    parse_duration_s,
    parse_rate_hz,
    parse_size,
)
from fastcap.wire import Closed, Message
from fastcap.workers.sync_policy import GATHER_S

SATURATE_S = (1.0, 60.0)  # without a pace, at most as long as with one, within these
_LOOK_S = 0.1
PATIENCE_S = 60.0  # with a destination that has not answered yet
_PATIENCE_S = (1.0, 30.0)  # for the last calls: at least, at most
_BLOCKS = (4096, 64 << 20)
_LEAST_S = 0.1
_MOST_WRITERS = 64

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


class Request:
    """The arguments, checked; nothing was touched."""

    def __init__(
        self, directory: str, rate: Any, seconds: Any, span: Any, block: Any, every: Any, saturate: Any,
        *, direct: bool = False, writers: int = 1,
    ) -> None:  # fmt: skip
        self.directory, self.direct, self.writers = directory, direct, writers
        if not 1 <= writers <= _MOST_WRITERS:
            raise ValueError(f"{writers} writers are none, or too many; give 1 to {_MOST_WRITERS}")
        self.rate = byte_rate(rate)
        self.seconds = float(parse_duration_s(seconds))
        self.block = parse_size(block)
        self.every = None if every is None else parse_size(every)
        self.saturate_s = min(max(self.seconds, SATURATE_S[0]), SATURATE_S[1])
        if saturate is not None:
            self.saturate_s = 0.0 if saturate in (0, "0") else float(parse_duration_s(saturate))
        self.span = None if span is None else parse_size(span)
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
        if self.span is not None and self.span < (self.every or self.block):
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

    @property
    def rates(self) -> list[float]:
        """Rates that are to be decided; with no pace the time is what was asked for."""
        return [] if self.rate is None else [self.rate, *(BYTES_PER_WORD * rate for rate in RATES_HZ)]

    def message(self) -> Message:
        """Return the order to the writer: the ring is what a capture would take here."""
        ring = max(default_ring_bytes(), SYNCS * (self.every or 0))
        return {
            "op": "bench", "directory": self.directory, "bytes_per_s": self.rate, "seconds": self.seconds,
            "block_bytes": self.block, "span_bytes": self.span, "ring_bytes": ring,
            "fsync_every": self.every or default_fsync_bytes(ring, self.rate), "rates": self.rates,
            "saturate_s": self.saturate_s, "direct": self.direct,
            "writers": self.writers,
        }  # fmt: skip


def bench_nas(
    directory: str | os.PathLike[str],
    *,
    rate: str | float | None = "16MB/s",
    seconds: str | float = 30,
    span: str | int | None = None,
    block: str | int = "1MiB",
    fsync_every: str | int | None = None,
    saturate: str | float | None = None,
    direct: bool = False,
    writers: int = 1,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    remember: bool = True,
) -> NasBench:
    """Measure what a destination would do to a capture. Blocks for up to twice ``seconds``; SIGINT ends it early.

    Parameters
    ----------
    directory : path
        Where to write one file, which is removed whatever happens.
    rate : str or number
        Bytes per second that are offered, by the clock; ``"max"`` or None: as fast as it goes.
    seconds : str or number
    span : str or int, optional
        Writes go round within so many bytes; default: new blocks, in half of what is free.
    block : str or int
        Bytes gathered for one write.
    fsync_every : str or int, optional
        Bytes between fsyncs, as for a capture; default: as it chooses.
    saturate : str or number, optional
        For how long, at most, as much is written afterwards as is taken, which other users of the disk notice; default:
        ``seconds``, a minute at most; 0: not at all, and then nothing is known of higher rates.
    direct : bool
        Write past the page cache, with O_DIRECT: what a capture does not do, but what the disk itself takes.
    writers : int
        So many write at once, a file and the offered load each; the figures are of the one that fared worst.
    resume : path, optional
        A file, on another disk, in which what was measured is saved each minute; an unfinished bench that is there, cut
        off by a reboot or SIGKILL, is gone on with for the rest of ``seconds``.
    progress : callable, optional
        Called ten times a second with the seconds gone, the tally and the backlog.
    remember : bool
        Append what was found to the local history of destinations.

    Raises
    ------
    ValueError
        An argument makes no sense; nothing was started.
    ConfigError
        In ``resume`` is another bench, or one that is over.
    SinkError
        The directory cannot be used, or has not the room.
    WorkerError
        The writer ended before its time.
    KeyboardInterrupt
        SIGINT, SIGTERM or SIGHUP came before the directory had answered.
    """
    if not os.fspath(directory):
        raise ValueError("'' is no directory; name the destination's (. is this one)")
    options: dict[str, Any] = {"direct": direct, "writers": writers}
    where = os.path.abspath(os.fsdecode(directory))
    request = Request(where, rate, seconds, span, block, fsync_every, saturate, **options)
    path = None if resume is None else Path(resume)
    before = None if path is None else unfinished(path, where, request.rate)
    if before is not None:
        left_s = max(_LEAST_S, request.seconds - before.observed_s)
        request = Request(where, rate, left_s, span, block, fsync_every, saturate, **options)
    parts = _Parts(request, before, path)
    with Interruption() as interruption, ExitStack() as stack:
        crew = [stack.enter_context(WriterProcess(request.message())) for _ in range(writers)]
        runs = [_Run(writer, request, _begin(writer, request, interruption)) for writer in crew]
        _follow_all(runs, interruption, progress, parts.save_now_and_then)
    found = of_worst([run.result(interrupted=interruption.came) for run in runs])
    if remember:
        from fastcap.nasbench.bygone import remember as append

        for part in (before, found):  # the one before was cut off before it could be remembered
            if part is not None:
                append(part)
    return parts.saved(found)


class _Parts:
    """A bench that may have had a part before this one, and is saved while it goes on."""

    def __init__(self, request: Request, before: NasBench | None, path: Path | None) -> None:
        self._before, self._path = before, path
        self._saved_ns = now_ns()

    def whole(self, bench: NasBench) -> NasBench:
        """Return all parts as one."""
        return bench if self._before is None else merged(self._before, bench)

    def save_now_and_then(self, run: _Run) -> None:
        """Save what is known by now, once in a while; where that fails, the next time."""
        if self._path is None or now_ns() - self._saved_ns < SAVE_S * 1e9:
            return
        self._saved_ns = now_ns()
        with contextlib.suppress(OSError):
            save(self.whole(run.so_far()), self._path)

    def saved(self, bench: NasBench) -> NasBench:
        """Return the whole, and save it; a disk that is full by now must not take a night's figures with it."""
        found = self.whole(bench)
        if self._path is None:
            return found
        try:
            save(found, self._path)
        except OSError as error:
            text = f"{self._path} was not written: {error.strerror}"
            return msgspec.structs.replace(found, warnings=[*found.warnings, text])
        return found


class _Run:
    """One writer, and what is known of it."""

    def __init__(self, writer: WriterProcess, request: Request, begun: Message) -> None:
        self.writer, self.request, self.begun = writer, request, begun
        self.started = datetime.now().astimezone().isoformat()
        piece = piece_of(request.message())
        self.tally = Tally(Offer(request.rate, begun["start_ns"], begun["end_ns"], piece=piece))

    def follow(
        self,
        interruption: Interruption,
        progress: Progress | None = None,
        each: Callable[[_Run], None] | None = None,
    ) -> None:
        """Hear the writer until it has done all, or patience with its last call is over."""
        _follow(self.writer, self.tally, self.request, interruption, progress, each and partial(each, self))

    def so_far(self) -> NasBench:
        """Return what would be told if it ended now."""
        tally, at_ns = copy.deepcopy(self.tally), now_ns()
        tally.stop(at_ns)
        tally.end(at_ns, self.writer.under_way)
        begun = {**self.begun, **self.writer.over, "left": None}
        return result_of(self.request, begun, tally, self.started, interrupted=True)

    def result(self, *, interrupted: bool) -> NasBench:
        """Return what was found, at the end."""
        begun = {**self.begun, **self.writer.over, "left": self.writer.left}
        return result_of(self.request, begun, self.tally, self.started, interrupted=interrupted)


def _follow_all(
    runs: list[_Run],
    interruption: Interruption,
    progress: Progress | None,
    each: Callable[[_Run], None],
) -> None:
    """Hear all writers until they are done; one that fails ends the others, too."""

    def follow(run: _Run, *told: Any) -> None:
        try:
            run.follow(interruption, *told)
        except BaseException:
            interruption.came = True
            raise

    with ThreadPoolExecutor(len(runs)) as pool:
        others = [pool.submit(follow, run) for run in runs[1:]]
        follow(runs[0], progress, each)
        for other in others:
            other.result()


def _begin(writer: WriterProcess, request: Request, interruption: Interruption) -> Message:
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
    writer: WriterProcess,
    tally: Tally,
    request: Request,
    interruption: Interruption,
    progress: Progress | None,
    each: Callable[[], None] | None,
) -> None:
    """Hear the writer until it has done all, or patience with its last call is over."""
    stopped = False
    while True:
        try:
            got = writer.receive(_LOOK_S)
        except Closed as error:
            status = writer.process.wait(5)
            raise WorkerError(
                f"the bench's writer ended before its time, with status {status}: {writer.last_words()}"
            ) from error
        if got is not None and take(got, tally, request):
            tally.end(got["at_ns"], None)
            writer.name, writer.over = got["name"], got
            return
        now = now_ns()
        if progress is not None:
            progress((now - tally.offer.start_ns) * 1e-9, tally, max(0, tally.offer.by(now) - tally.durable))
        if each is not None:
            each()
        if interruption.came and not stopped:
            stopped = True
            writer.stop()
            tally.stop(now)
        if now > tally.due_ns + _patience_ns(tally):
            tally.end(now, writer.under_way)
            return


def _patience_ns(tally: Tally) -> int:
    """Return how long the last calls are waited for: longer where they always take long."""
    least, most = (int(s * 1e9) for s in _PATIENCE_S)
    longest = max((h.max_ns or 0) for h in tally.histograms.values())
    return min(most, max(least, 2 * longest))


def take(got: Message, tally: Tally, request: Request) -> bool:
    """Take a message; True: the bench is over."""
    if got["op"] == "calls":
        for call in got["calls"]:
            tally.call(*call)
    elif got["op"] == "failed":
        tally.failed(got["at_ns"], got["text"], got["errno"])
    elif got["op"] == "saturating":
        tally.saturating(Saturation(*got["parts"], rates=request.rates))
    return bool(got["op"] == "over")
