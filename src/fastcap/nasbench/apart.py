"""System calls on a destination that may be stalled, in a process that can be left behind: it holds nobody else."""

from __future__ import annotations

import subprocess
import sys

from fastcap.errors import SinkError

_FREE = "f = os.statvfs(args[0]); print(f.f_bavail * f.f_frsize)"
_REMOVE = "[os.unlink(os.path.join(args[0], n)) for n in os.listdir(args[0]) if n.startswith(args[1])]"
_PROGRAM = """import os, sys
code, *args = sys.argv[1:]
try:
    exec(code)
except OSError as e:
    sys.exit(e.strerror)
"""


def _apart(patience_s: float, code: str, *args: str) -> str:
    """Run a line of Python; return what it printed.

    Raises
    ------
    SinkError
        What the destination said; or it has not answered for so long, and may do it later.
    """
    argv = [sys.executable, "-S", "-c", _PROGRAM, code, *args]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, said = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired as e:
        raise SinkError(f"no answer for {patience_s:.0f} s: it is stalled, or its server is away") from e
    if process.returncode:
        raise SinkError(said.strip())
    return out


def free_bytes(directory: str, patience_s: float) -> int:
    """Return what is free for this user there.

    Raises
    ------
    SinkError
    """
    return int(_apart(patience_s, _FREE, directory))


def remove(directory: str, beginning: str, patience_s: float) -> str | None:
    """Remove the files whose names begin so; return why one may still be there."""
    try:
        _apart(patience_s, _REMOVE, directory, beginning)
    except SinkError as e:
        return str(e)
    return None
