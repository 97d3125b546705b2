"""The emulated board: stands where the lab's configuration names teststream.

Words are made in real time, kept in the board's FIFO and written as the reader takes them; what the FIFO
cannot hold is lost and counted. The loop itself is `fastcap.sim._board`.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import stat
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastcap.errors import ConfigError
from fastcap.sim._board import AT_LIMIT, RUNNING, Board
from fastcap.sim._optics import Optics
from fastcap.sim._signal import SEGMENT_WORDS, Signal
from fastcap.sim.faults import Fault
from fastcap.sim.options import Options, parse_options
from fastcap.start_time import StartTime, start_in_form
from fastcap.stream import WORD_BYTES, build_header
from fastcap.teststream import SLOW_HZ, BoardFlags
from fastcap.v2header import build_v2_header

_NS = 10**9
_NO_LIMIT = 2**64 - 1
_SLICE_NS = 100_000_000  # signals and chatter have their turn this often
_FLOOD_SLICE_NS = 5_000_000
_PIPE_BYTES = 1 << 20
_DRIFT_TURNS, _DRIFT_S = 2.0, 1.0  # a slow sine of the phase, and its period
_WALK_TURNS = 0.01  # what the phase strays in a second, at random


class _Stopped(BaseException):
    """A signal asked the program to end."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the emulated board and return its exit status; a signal ends the process as one."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _stop)
    try:
        return Emulation(parse_options(sys.argv[1:] if argv is None else argv)).run()
    except ConfigError as error:
        _say(f"error: {error}")
        return 2
    except _Stopped as stopped:
        return _die_of(stopped.args[0])


class Emulation:
    """One run of the emulated board.

    Raises
    ------
    ConfigError
        The output cannot be opened or is a terminal, or the header cannot be built.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._struck: list[dict[str, Any]] = []
        self._said_ns = 0
        self._chatty = options.chatter
        per_ns = options.flags.sample_rate_hz / _NS
        fd, polled = _open_output(options)
        self._header = _header(options)
        self._board = Board(
            fd=fd,
            header=self._header,
            rate=(per_ns.numerator, per_ns.denominator) if options.speed == "realtime" else (0, 1),
            total_words=options.flags.num_words or _NO_LIMIT,
            fifo_words=options.fifo_words,
            polled=polled,
            chunk_bytes=options.chunk[0],
            chunk_seed=options.chunk[1],
            losses=[(fault.word, fault.amount) for fault in options.faults if fault.kind == "lose"],
            signal=_signal(options) if options.pattern == "signal" else None,
        )

    def run(self) -> int:
        """Emulate until the end; report; return the exit status, or die of the signal that ended it."""
        signum, status = 0, 0
        if self._chatty:
            flags = self._options.flags
            _say(f"device {flags.device}, {float(flags.sample_rate_hz):.12g} words/s")
        try:
            status = self._emulate()
        except _Stopped as stopped:
            signum = stopped.args[0]
        except BrokenPipeError:
            signum = signal.SIGPIPE
        except OSError as error:
            _say(f"error: {error}; wrote {self._board.bytes_written} bytes")
            status = 1
        self._report(-signum or status)
        return _die_of(signum) if signum else status

    def _emulate(self) -> int:
        for fault in self._options.faults:
            if fault.kind != "lose" and self._run_to(fault.word):
                status = self._strike(fault)
                if status is not None:
                    return status
        self._run_to(_NO_LIMIT)
        return 0

    def _run_to(self, limit: int) -> bool:
        """Write the words below ``limit``; return whether there are more to come."""
        flood = self._options.stderr_flood
        while (state := self._board.run(limit, _FLOOD_SLICE_NS if flood else _SLICE_NS)) == RUNNING:
            self._chatter()
        return state == AT_LIMIT

    def _strike(self, fault: Fault) -> int | None:
        """Do what ``fault`` says, at its word; return an exit status if that is the end."""
        at_s = (time.monotonic_ns() - self._board.started_ns) / _NS
        self._struck.append({"fault": fault.text, "after_words": self._board.written, "at_s": at_s})
        if fault.kind == "exit":
            return fault.amount
        if fault.kind == "slip":
            self._board.slip(fault.amount)
            return None
        if fault.kind == "die":
            self._board.cut(fault.amount)
            self._run_to(_NO_LIMIT)
            return 1
        time.sleep(fault.amount / _NS)
        return None

    def _chatter(self) -> None:
        """Say on stderr what teststream would, and much more of it if asked for a flood."""
        now = time.monotonic_ns()
        line = f"fifo holds {self._board.accepted - self._board.written} words at word {self._board.made}"
        if self._options.stderr_flood:
            _say(*[line] * 200)
        elif self._chatty and now - self._said_ns >= _NS:
            self._said_ns = now
            _say(line)

    def _report(self, exit_status: int) -> None:
        """Say what was made, written and lost, on stderr and where the options want it as JSON."""
        board, options = self._board, self._options
        _say(
            f"words={board.made} written={board.written} lost_overflow={board.lost_overflow} "
            f"lost_fault={board.lost_fault}"
        )
        if options.report is None and options.report_fd is None:
            return
        import json

        report = {
            "words_made": board.made,
            "words_written": board.written,
            "words_lost_overflow": board.lost_overflow,
            "words_lost_fault": board.lost_fault,
            "bytes_slipped": board.bytes_slipped,
            "words_left": board.accepted - board.written,
            "header_bytes": len(self._header),
            "bytes_written": board.bytes_written,
            "fifo_high_water_words": board.fifo_high_water,
            "started_monotonic_ns": board.started_ns,
            "elapsed_s": (time.monotonic_ns() - board.started_ns) / _NS,
            "faults": self._struck,
            "exit_status": exit_status,
        }
        try:
            for target in (options.report, options.report_fd):
                if target is not None:
                    with open(target, "w", encoding="utf-8") as file:
                        json.dump(report, file)
        except OSError as error:
            _say(f"error: cannot write the report to {target}: {error.strerror}")


def _header(options: Options) -> bytes:
    """Build what stands before the data: text, the header, or what is to stand in its place."""
    text = options.preamble
    preamble = b"" if text is None else f"{text}\n".replace("\\n", "\n").encode()
    if options.header == "none" or not options.header_bits:
        return preamble
    try:
        header = _whole_header(options)
    except ValueError as error:
        raise ConfigError(f"no header for this command line: {error}") from error
    return preamble + _spoilt(header, options)


def _whole_header(options: Options) -> bytes:
    now_ns = time.time_ns()
    moment = datetime.fromtimestamp(now_ns // _NS).astimezone()
    if options.header_bits & 4:
        return _v2_header(options.flags, start_in_form(moment, "iso-ns", now_ns % _NS))
    start = start_in_form(moment, options.start_form, now_ns % _NS)
    return build_header(
        options.header_argv if options.header_bits & 1 else None,
        start if options.header_bits & 2 else None,
        payload=options.payload,
        stale=options.stale,
    )


def _v2_header(flags: BoardFlags, start: StartTime) -> bytes:
    """Build a V2 header as the lab's recorder does, with a table of no entries."""
    details = {
        "file_start": start.text(),
        "num_samples": flags.num_words or 0,
        "num_files": 1,
        "skip_num": flags.skip,
        "speed": "Low" if flags.base_rate_hz == SLOW_HZ else "High",
        "gain": _number(flags.gain),
        "filter_const": _number(flags.filter_const),
        "stream_fold": {"fold": []},
        "m_overflow_total": 0,
        "m_offset": 0,
    }
    return build_v2_header(details, start.unix_ns // _NS)


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _spoilt(header: bytes, options: Options) -> bytes:
    """Return the header as it is to be written: whole, torn, without its magic word, or garbage."""
    if options.header == "missing":
        return header[WORD_BYTES:]
    if options.header == "torn":
        return header[: len(header) // 2 | 1]
    if options.header == "garbage":
        from random import Random

        return header[:WORD_BYTES] + Random(options.seed).randbytes(len(header) - WORD_BYTES)
    return header


def _signal(options: Options) -> Signal:
    """Make the signal; a random walk's step grows with the root of its time."""
    rate_hz = float(options.flags.sample_rate_hz)
    return Signal(
        seed=options.seed,
        radius=options.radius,
        noise=options.noise,
        step_turns=options.freq_hz / rate_hz,
        walk_turns=_WALK_TURNS * math.sqrt(SEGMENT_WORDS / rate_hz),
        drift_turns=_DRIFT_TURNS,
        drift_words=_DRIFT_S * rate_hz,
        transient_words=options.transient_words,
        optics=_optics(options),
    )


def _optics(options: Options) -> Optics | None:
    """Map the ties of the devices that the light is to pass."""
    if options.voa is None and options.laser is None:
        return None
    from fastcap.sim.tie import tie_memory, tie_path

    voa, laser = (name and tie_memory(tie_path(name))[0] for name in (options.voa, options.laser))
    return Optics(voa or None, laser or None)


def _open_output(options: Options) -> tuple[int, bool]:
    """Return the descriptor to write to, and whether it must be polled before each write.

    A pipe is opened once more, without blocking: O_NONBLOCK set on the inherited description would show in
    every process that shares it.
    """
    fd = 1
    try:
        if options.flags.output is not None:
            fd = os.open(options.flags.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise ConfigError(
            f"output {options.flags.output or 'stdout'} cannot be used: {error.strerror}"
        ) from error
    if os.isatty(fd):
        raise ConfigError("output is a terminal and the words are binary; redirect it, or give -o FILE")
    if not stat.S_ISFIFO(mode):
        return fd, stat.S_ISSOCK(mode)
    if options.speed == "max":
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), False
    except OSError:
        return fd, True


def _stop(signum: int, frame: object) -> None:
    """Handle the first signal; the end is under way then, and further ones change nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Stopped(signum)


def _die_of(signum: int) -> int:
    """End the process by ``signum``, as a program would that does not handle it."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    return 128 + signum


def _say(*lines: str) -> None:
    """Write lines to stderr; nobody listening is no error."""
    text = "".join(f"fastcap-teststream: {line}\n" for line in lines)
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace"))


if __name__ == "__main__":
    raise SystemExit(main())
