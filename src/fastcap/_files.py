"""Room for many open files."""

from __future__ import annotations

import os
import resource

_OF_A_TRACE = 2  # its own descriptor, and its index'
_SPARE = 256


def room_for_traces(count: int) -> None:
    """Let this process open ``count`` more traces, as far as its hard limit allows: the usual 1024 is soon too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/proc/self/fd")) + _OF_A_TRACE * count + _SPARE
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))
