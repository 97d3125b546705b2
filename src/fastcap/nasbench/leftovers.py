"""Names of the bench's files, and removing those that killed benches left.

A file has a name only where it could not be taken away at once. The name says who made it: host, process and
when that process began. A bench of the same host removes what belongs to processes that are gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket

_PREFIX = ".fastcap-bench-"
_NAME = re.compile(re.escape(_PREFIX) + r"(?P<host>[A-Za-z0-9.-]+)_(?P<pid>\d+)_(?P<ticks>\d+)\.tmp")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"


def _began(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks; None: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def new_name() -> str:
    """Return the name of this process's file."""
    return f"{_PREFIX}{_host()}_{os.getpid()}_{_began(os.getpid())}.tmp"


def remove(dir_fd: int) -> int:
    """Remove what dead benches of this host left in a directory; return how many files that were.

    Raises
    ------
    OSError
        The directory cannot be read.
    """
    removed = 0
    for name in os.listdir(dir_fd):
        made = _NAME.fullmatch(name)
        if made is None or made["host"] != _host() or _began(int(made["pid"])) == made["ticks"]:
            continue
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=dir_fd)
            removed += 1
    return removed
