"""``fastcap bench rehearse``: the whole engine, an emulated board, the real destination; the ledger is the verdict."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from fastcap.board import open as open_source
from fastcap.commands._following import Follower
from fastcap.commands._plan import plan_of
from fastcap.errors import ConfigError, SinkError
from fastcap.nasbench import apart
from fastcap.nasbench.judge import BYTES_PER_WORD
from fastcap.nasbench.run import PATIENCE_S, byte_rate
from fastcap.progress import Progress
from fastcap.units import format_duration, format_rate, format_size, parse_duration_s

_SHARE = 2
_REMOVE_S, _LEFT_S = 60.0, 2.0  # how long removing is waited for; after the session was left at once


class Rehearsal:
    """A capture that keeps nothing, to see what it would do.

    Parameters
    ----------
    stalls : sequence of str
        ``T@T0``: the writer stalls for T, T0 after the start.

    Raises
    ------
    ConfigError, ValueError
        An argument makes no sense; nothing was started.
    """

    def __init__(
        self, directory: str, rate: str, seconds: str, stalls: Sequence[str], ring: str | None
    ) -> None:
        bytes_per_s = byte_rate(rate)
        if bytes_per_s is None:
            raise ConfigError(f"--rate {rate} is no board's; give one such as 16MB/s or 2MHz")
        self.rate_hz = Fraction(bytes_per_s) / BYTES_PER_WORD
        if self.rate_hz.denominator != 1:
            raise ConfigError(
                f"--rate {rate} is not a whole number of words a second; give one such as 16MB/s"
            )
        self.seconds = parse_duration_s(seconds)
        if self.seconds <= 0:
            raise ConfigError(f"--seconds {seconds} is no time; give one such as 30s")
        self.stalls = [_stall(text) for text in stalls]
        for text, (at_s, _) in zip(stalls, self.stalls, strict=True):
            if at_s >= self.seconds:
                raise ConfigError(f"--stall {text} begins after the end; give more --seconds than {seconds}")
        if not directory:
            raise ConfigError("'' is no directory; name the destination's (. is this one)")
        self.directory = os.path.abspath(directory)
        self.name = f"fastcap-rehearsal-{datetime.now():%Y-%m-%dT%H%M%S}-{os.getpid()}"
        self.board = open_source(f"sim://?rate={int(self.rate_hz)}Hz&pattern=counter", ring=ring)
        self.left = self.interrupted = False

    @property
    def path(self) -> str:
        """What the names of all files begin with."""
        return os.path.join(self.directory, self.name)

    @property
    def bytes(self) -> int:
        """How much will be written."""
        return int(self.seconds * self.rate_hz * BYTES_PER_WORD)

    def check_room(self) -> None:
        """Refuse to take more than half of what is free.

        Raises
        ------
        SinkError
        """
        try:
            free = apart.free_bytes(self.directory, PATIENCE_S)
        except SinkError as e:
            raise SinkError(f"cannot use {self.directory}: {e}; name a directory that can be written") from e
        if self.bytes * _SHARE > free:
            raise SinkError(
                f"{format_size(self.bytes)} are more than half of the {format_size(free)} free in {self.directory}; "
                "use shorter --seconds, or 'bench nas', which stops at half"
            )

    def run(self) -> dict[str, Any] | None:
        """Record; return the report, None if it was interrupted before there was one."""
        from fastcap import spec

        follower = Follower(self.board, Progress(), keeps=False)
        with follower.session():
            message, fds = spec.recording(
                self.board.source, length=self.seconds, to=self.directory, name=self.name,
                stalls=self.stalls, ring_bytes=self.board.ring_bytes(),
            )  # fmt: skip
            plan = plan_of(message)
            follower.progress.say(_intention(self, plan))
            capture = self.board.begin(message, fds)
            follower.sampled(capture, "rehearsal", plan)
            follower.done([capture])
        self.left, self.interrupted = follower.left, follower.interrupted
        if capture.recording.error is not None and not self.interrupted:
            raise capture.recording.error
        return capture.recording.reports[-1] if capture.recording.done else None

    def remove(self) -> str | None:
        """Remove what was written; return why something may still be there."""
        return apart.remove(self.directory, f"{self.name}.", _LEFT_S if self.left else _REMOVE_S)


def _stall(text: str) -> tuple[float, float]:
    """Return (at_s, for_s) of ``T@T0``."""
    length, at, start = text.partition("@")
    try:
        if not at:
            raise ValueError("it has no '@'")
        return float(parse_duration_s(start)), float(parse_duration_s(length))
    except ValueError as error:
        raise ConfigError(
            f"--stall {text} is not T@T0, such as 5s@10s (for 5 s, after 10 s): {error}"
        ) from error


def _intention(rehearsal: Rehearsal, plan: dict[str, Any]) -> str:
    rate = format_rate(float(rehearsal.rate_hz) * BYTES_PER_WORD)
    made = "".join(
        f"; a stall of {format_duration(n)} at {format_duration(at)}" for at, n in rehearsal.stalls
    )
    return (
        f"An emulated board sends {rate} for {format_duration(rehearsal.seconds)} to {rehearsal.directory}. The ring "
        f"of {format_size(plan['ring_bytes'])} survives a stall of {format_duration(plan['survives_stall_s'])}{made}."
    )


def lines(report: dict[str, Any], *, kept: bool, still_there: str | None = None) -> Iterator[str]:
    """Yield the verdict; ``still_there``: why the file could not be removed."""
    ring, sink = report["ring"], report["sink"]
    held, capacity = format_size(ring["high_water_bytes"]), format_size(ring["capacity_bytes"])
    stalls = ", ".join(
        f"{format_duration(s['for_s'])} at {format_duration(s['at_s'])}" for s in sink["stalls"]
    )
    yield f"arrived    {report['words']:,} words, {format_size(report['bytes'])}"
    yield f"stalled    {stalls or 'never above 0.25 s'}"
    for what in ("write_s", "fsync_s"):
        h = sink[what]
        told = [f"{p} {format_duration(h[p])}" for p in ("p50", "p99", "max") if h[p] is not None]
        yield f"{what.removesuffix('_s'):10} {'  '.join(told) or 'none'}"
    yield f"ring       held up to {held} of {capacity}"
    yield f"lost       {report['words_lost']:,} words" if report["words_lost"] else "lost       nothing"
    if still_there is not None:
        yield f"file       {report['path']} is still there: {still_there}"
    else:
        yield f"file       {report['path'] if kept else 'removed; --keep leaves it'}"
