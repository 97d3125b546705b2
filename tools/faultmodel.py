"""What a fault is, and the record of one that was injected: the values that control socket and log carry.

All times are CLOCK_MONOTONIC in ns, the same in every process.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OPERATIONS = frozenset(
    (
        "open",
        "create",
        "read",
        "write",
        "fsync",
        "flush",
        "release",
        "rename",
        "link",
        "unlink",
        "mkdir",
        "rmdir",
        "truncate",
        "fallocate",
        "chmod",
        "chown",
        "utimens",
        "getattr",
        "readlink",
        "symlink",
        "statfs",
        "opendir",
        "readdir",
        "fsyncdir",
    )
)
ALIASES = {"close": "flush", "stat": "getattr"}
FOREVER_NS = 1 << 62
LONGEST_S = 120.0


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault.

    Attributes
    ----------
    kind
        ``stall``: hold calls. ``error``: fail them with ``errno``. ``throttle``: at most ``size`` bytes a
        second. ``short``: carry out at most ``size`` bytes. ``full``: only ``size`` more bytes fit, then
        ``errno``.
    ops
        Operations concerned; ``*`` is all of them, ``close`` is ``flush`` (whose error close(2) returns).
    path
        Glob on the path below the mount point, without leading slash; ``*`` matches slashes too.
    after, count
        Let so many matching calls pass, then disturb so many (None: all that follow).
    at_offset
        Only a call whose byte range covers this offset in the file.
    start_ns, until_ns
        Only calls that begin in this span. A stall with ``start_ns`` holds every matching call from then
        until ``seconds`` later; without, each of ``count`` calls opens a span of ``seconds`` from its own
        begin, in which matching calls are held to its end.
    seconds
        Length of a stall; None: until the rule is cleared, or `LONGEST_S`, lest a broken test hang for ever.
    also
        Operations that a stall holds too while it lasts, whatever their path.
    killable
        The stall ends for a caller that was sent SIGKILL; without, it stays in uninterruptible sleep.
    carry_out
        The error is returned although the call was carried out (a lost reply).
    lose
        A failing fsync loses what was written since the last good one: those bytes become zeros.
    """

    kind: Literal["stall", "error", "throttle", "short", "full"]
    ops: tuple[str, ...]
    path: str = "*"
    after: int = 0
    count: int | None = 1
    at_offset: int | None = None
    start_ns: int = 0
    until_ns: int = FOREVER_NS
    seconds: float | None = None
    also: tuple[str, ...] = ()
    killable: bool = False
    errno: int = 0
    size: int = 0
    carry_out: bool = False
    lose: bool = False

    def __post_init__(self) -> None:
        for op in self.ops + self.also:
            if op != "*" and ALIASES.get(op, op) not in OPERATIONS:
                raise ValueError(
                    f"operation {op!r} is not known; use one of {', '.join(sorted(OPERATIONS))}, *"
                )


class Injection(msgspec.Struct, kw_only=True):
    """What was done to one call: one line of the log. ``end_ns`` is 0 while it still goes on."""

    rule: int
    kind: str
    op: str
    path: str
    offset: int
    size: int
    start_ns: int
    end_ns: int = 0
    errno: int = 0
