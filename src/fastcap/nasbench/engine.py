"""fastcap's engine beside others: same work, same run, interleaved; medians, ratios, and the machine's limits.

Two works. *Through*: a program's bytes pass a process and reach another (``PROGRAM | tee FILE | NEXT``, the file
being /dev/null). *Seen*: every word of a program's has been summed by Python, by fastcap's stream or the way
without it: ``PROGRAM | tee TEMPORARY`` on tmpfs, then reading the file.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from fastcap.errors import RingError, WorkerError
from fastcap.nasbench import ends
from fastcap.ringsize import SHM, available_bytes, free_shm_bytes
from fastcap.units import format_size

PIPE_BYTES = 1 << 20
SEVENS = 0x0707070707070707
WORD_BYTES = 8
_COPY_BYTES = 64 << 20
_COPIES = 8
_Key = tuple[str, str]
_Rates = tuple[float, float | None]  # bytes/s of the whole, and from the first byte at the end on
OURS = {"through": "fastcap tee", "seen": "fastcap stream"}


class Speed(msgspec.Struct, frozen=True):
    """How fast one program did the work, GB/s; ``over`` is fastcap's median over its own.

    ``flowing``, ``over_flowing``: the same without start-up, from the first byte at the end to the last.
    """

    work: str
    name: str
    median: float
    each: list[float]
    over: float | None
    flowing: float | None
    over_flowing: float | None


class EngineBench(msgspec.Struct, frozen=True):
    """Speeds of one run, and what the machine was. ``missing``: programs that are not installed."""

    machine: str
    load: str
    date: str
    bytes: int
    rounds: int
    speeds: list[Speed]
    missing: list[str]


def bench_engine(
    size: int = 2 << 30, rounds: int = 5, *, progress: Callable[[str], None] | None = None
) -> EngineBench:
    """Measure; takes about a minute.

    Parameters
    ----------
    size : int
        Bytes of one pass.
    progress : callable, optional
        Told what is measured now.

    Raises
    ------
    RingError
        /dev/shm has no room for the temporary file.
    WorkerError
        A program failed, or passed on something else than it was given.
    """
    size = size // WORD_BYTES * WORD_BYTES
    _check_room(size)
    programs, missing = _programs()
    works: dict[_Key, Callable[[], _Rates]] = {("limit", "memcpy"): _memcpy}
    works[("limit", "pipe alone")] = lambda: _through(None, size)
    for name, argv in programs.items():
        works[("through", name)] = lambda argv=argv: _through(argv, size)  # type: ignore[misc]
    works[("seen", OURS["seen"])] = lambda: _streamed(size)
    works[("seen", "tee, file on tmpfs, read")] = lambda: _by_file(size)
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    found: dict[_Key, list[_Rates]] = {key: [] for key in works}
    for k in range(rounds):
        for key, run in works.items():
            if progress is not None:
                progress(f"round {k + 1} of {rounds}: {key[1]}")
            found[key].append(run())
    return EngineBench(
        machine=_machine(), load=load, date=datetime.now().astimezone().isoformat(timespec="seconds"),
        bytes=size, rounds=rounds, speeds=list(_speeds(found)), missing=missing,
    )  # fmt: skip


def _check_room(size: int) -> None:
    room = min(free_shm_bytes(), available_bytes())
    if size * 2 > room:
        raise RingError(
            f"a temporary file of {format_size(size)} is more than half of the {format_size(room)} that {SHM} and "
            f"memory have free; use --size {room // 2 >> 20}MiB or less"
        )


def _programs() -> tuple[dict[str, list[str]], list[str]]:
    """Return the commands to compare, fastcap's first, and the names of those that are not installed."""
    known = {
        "tee": ["tee", "/dev/null"],
        "mbuffer": ["mbuffer", "-q", "-m", "256M", "-s", "262144"],
        "pv": ["pv", "-q", "-B", "256K"],
    }
    there = {name: argv for name, argv in known.items() if shutil.which(name)}
    ours = [sys.executable, "-P", "-m", "fastcap", "tee", "/dev/null"]
    return {OURS["through"]: ours, **there}, [name for name in known if name not in there]


def _speeds(found: dict[_Key, list[_Rates]]) -> Iterator[Speed]:
    middle = {key: _middle(rates) for key, rates in found.items()}
    for (work, name), rates in found.items():
        whole, flowing = middle[work, name]
        ours = (
            middle.get((work, OURS.get(work, "")), (None, None)) if name != OURS.get(work) else (None, None)
        )
        over = [
            None if o is None or of is None else round(o / of, 3)
            for o, of in zip(ours, (whole, flowing), strict=True)
        ]
        each = [round(rate / 1e9, 3) for rate, _ in rates]
        shown = None if flowing is None else round(flowing / 1e9, 3)
        yield Speed(work, name, round(whole / 1e9, 3), each, over[0], shown, over[1])


def _middle(rates: list[_Rates]) -> _Rates:
    flowing = [flow for _, flow in rates if flow is not None]
    return median(rate for rate, _ in rates), median(flowing) if flowing else None


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {next(models, platform.machine())}, Linux {platform.release()}"


# -- the works: each returns bytes per second ---------------------------------------------------------------


def _memcpy() -> _Rates:
    """Copy memory that is no longer in the cache."""
    here, there = memoryview(bytearray(_COPY_BYTES)), memoryview(bytearray(_COPY_BYTES))
    there[:] = here
    start_s = time.perf_counter()
    for _ in range(_COPIES):
        there[:] = here
    return _COPIES * _COPY_BYTES / (time.perf_counter() - start_s), None


def _end(*args: str) -> list[str]:
    return [sys.executable, "-E", "-S", "-P", ends.__file__, *args]


def _pipe(stack: ExitStack) -> tuple[Any, Any]:
    """Make a pipe as large as the engine's own; both ends are closed with ``stack`` at the latest."""
    read, write = (
        stack.enter_context(os.fdopen(fd, "rb" if k == 0 else "wb", 0)) for k, fd in enumerate(os.pipe())
    )
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def _start(
    stack: ExitStack, argv: list[str], stdin: Any, stdout: Any, fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a program that does not outlive ``stack``."""
    process = stack.enter_context(subprocess.Popen(argv, stdin=stdin, stdout=stdout, pass_fds=fds))
    stack.callback(process.kill)
    return process


def _through(argv: list[str] | None, size: int) -> _Rates:
    """Pass bytes through a program (None: nothing between the ends), from the start of all to the end of all."""
    with ExitStack() as stack:
        into = _pipe(stack)
        out = into if argv is None else _pipe(stack)
        start_s = time.monotonic()
        sink = _start(stack, _end("sink"), out[0], subprocess.PIPE)
        between = None if argv is None else _start(stack, argv, into[0], out[1])
        source = _start(stack, _end("source", str(size)), subprocess.DEVNULL, into[1])
        for end in {*into, *out}:
            end.close()
        told, _ = sink.communicate()
        elapsed_s = time.monotonic() - start_s
        name = "the pipe" if argv is None else argv[0] if argv[0] != sys.executable else OURS["through"]
        statuses = [p.wait() for p in (source, between, sink) if p is not None]
        if any(statuses) or int(told.split()[0]) != size:
            raise WorkerError(
                f"{name} passed on {told.decode().split()[0]} of {size} bytes; statuses {statuses}"
            )
    return size / elapsed_s, size / float(told.split()[1])


def _streamed(size: int) -> _Rates:
    """Sum every word in place as blocks of `board.stream`."""
    import numpy as np

    from fastcap.board import open as open_source

    with ExitStack() as stack:
        read, write = _pipe(stack)
        board = stack.enter_context(open_source(read.fileno()))
        stream = stack.enter_context(board.stream(block_words=1 << 17))
        start_s = time.monotonic()
        source = _start(stack, _end("source", str(size)), subprocess.DEVNULL, write)
        write.close()
        words, found = 0, 0
        for block in stream.blocks():
            found = (found + int(np.add.reduce(block.words))) % (1 << 64)
            words += len(block)
        elapsed_s = time.monotonic() - start_s
        _check_sum(OURS["seen"], size, words, found, source.wait())
    return size / elapsed_s, None


def _by_file(size: int) -> _Rates:
    """Let tee write a file on tmpfs, then read it and sum every word."""
    import numpy as np

    with ExitStack() as stack:
        # without a name: however this ends, the memory is given back
        fd = os.open(SHM, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        file = stack.enter_context(os.fdopen(fd, "rb"))
        read, write = _pipe(stack)
        start_s = time.monotonic()
        tee = _start(stack, ["tee", f"/proc/self/fd/{fd}"], read, subprocess.DEVNULL, fds=[fd])
        source = _start(stack, _end("source", str(size)), subprocess.DEVNULL, write)
        write.close()
        status = source.wait() or tee.wait()
        values = np.fromfile(file, dtype="<u8")
        found = int(np.add.reduce(values))
        elapsed_s = time.monotonic() - start_s
        _check_sum("tee", size, len(values), found, status)
    return size / elapsed_s, None


def _check_sum(name: str, size: int, words: int, found: int, status: int) -> None:
    if status or words * WORD_BYTES != size or found != words * SEVENS % (1 << 64):
        raise WorkerError(f"{name} gave {words * WORD_BYTES} of {size} bytes, status {status}, sum {found}")


# -- telling -----------------------------------------------------------------------------------------------

_HEADINGS = {
    "limit": "the machine",
    "through": "a program's bytes through a process to another",
    "seen": "every word of a program's summed by Python",
}


def describe(bench: EngineBench) -> Iterator[str]:
    """Yield the lines that a person reads."""
    yield f"{bench.machine}; load {bench.load} before; {bench.date[:16].replace('T', ' ')}"
    passes = f"{bench.rounds} rounds of {format_size(bench.bytes)}, in turn"
    yield f"medians of {passes}; start-up included, but not where it says flowing"
    for work, heading in _HEADINGS.items():
        yield f"{heading}:"
        for s in bench.speeds:
            if s.work == work:
                yield _line(s)
    if bench.missing:
        yield f"not installed: {', '.join(bench.missing)}"


def _line(s: Speed) -> str:
    flow = f"  {s.flowing:6.2f} flowing" if s.flowing is not None else ""
    over = ""
    if s.over is not None:
        flowing = f", {s.over_flowing:.2f} flowing" if s.over_flowing is not None else ""
        over = f"   fastcap is {s.over:.2f} times as fast{flowing}"
    return f"  {s.name:26} {s.median:6.2f} GB/s  ({min(s.each):.2f} to {max(s.each):.2f}){flow}{over}"
