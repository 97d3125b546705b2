"""What all captures of a machine share, for one run of tests alone: shared memory and lock files.

Tests that run beside each other would see each other's sessions in ``/dev/shm`` and in ``/run/lock``. As root a
run gets a mount namespace, in which both are file systems of its own; what it mounts elsewhere is seen by it
alone, too.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence

_CLONE_NEWNS = 0x20000
PRIVATE = ("/dev/shm", "/run/lock")


def can_isolate() -> bool:
    """Tell whether this process may have namespaces of its own."""
    if os.geteuid():
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


def isolate() -> None:
    """Give this process, and all that it will start, its own shared memory and lock files.

    Raises
    ------
    OSError, subprocess.CalledProcessError
        The namespace, or a file system in it, cannot be had.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "a mount namespace cannot be had")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for place in PRIVATE:
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "fastcap-tests", place], check=True)


def in_namespaces(argv: Sequence[str]) -> list[str]:
    """Return a command that runs ``argv`` with places and processes of its own; they end with it.

    Where namespaces cannot be had it is ``argv`` itself.
    """
    if not can_isolate():
        return list(argv)
    mounts = " && ".join(
        f"mkdir -p {place} && mount -t tmpfs -o mode=1777 fastcap-tests {place}" for place in PRIVATE
    )
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*unshare, "sh", "-c", f'{mounts} && "$@"', "sh", *argv]
