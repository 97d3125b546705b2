"""Starting a session: its folder in shared memory, and its supervisor process."""

from __future__ import annotations

import atexit
import os
import pwd
import stat
import subprocess
import sys
from datetime import datetime

from fastcap.errors import RingError
from fastcap.ringsize import SHM
from fastcap.wire import Channel, pair


def base_folder(shm: str = SHM) -> str:
    """Return this user's folder of sessions, made private.

    Raises
    ------
    RingError
        Something else stands there: another user's, a link, or open to others.
    """
    path = os.path.join(shm, f"fastcap-{os.getuid()}")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as e:
        raise RingError(f"cannot make {path}: {e.strerror}") from e
    st = os.lstat(path)
    if not stat.S_ISDIR(st.st_mode) or st.st_uid != os.getuid() or st.st_mode & 0o077:
        raise RingError(
            f"{path} is not a private directory of yours (owner {st.st_uid}, "
            f"mode {st.st_mode & 0o7777:04o}); remove it"
        )
    return path


def new_folder() -> str:
    """Make a session's folder and return its path.

    Raises
    ------
    RingError
        See `base_folder`.
    """
    name = f"{datetime.now():%Y%m%dT%H%M%S}-{os.getpid()}-{os.urandom(3).hex()}"
    path = os.path.join(base_folder(), name)
    os.mkdir(path, 0o700)
    return path


def user_name() -> str:
    """Return what this user is called."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


_prestarted: list[tuple[Channel, subprocess.Popen[bytes]]] = []


def prestart() -> None:
    """Start a supervisor ahead of the session that will use it: it comes up meanwhile."""
    if not _prestarted:
        _prestarted.append(_start())
        atexit.register(_discard_prestarted)


def _discard_prestarted() -> None:
    """End a supervisor that no session used: it waits for its first message and has made nothing yet."""
    while _prestarted:
        channel, process = _prestarted.pop()
        process.kill()
        process.wait()
        channel.close()


def start_supervisor() -> tuple[Channel, subprocess.Popen[bytes]]:
    """Return a supervisor process, prestarted or new, and the channel to it."""
    return _prestarted.pop() if _prestarted else _start()


def _start() -> tuple[Channel, subprocess.Popen[bytes]]:
    channel, theirs = pair()
    argv = [sys.executable, "-P", "-m", "fastcap.workers.supervisor", str(theirs.fileno())]
    try:
        os.fstat(2)
        out: int = 2
    except OSError:
        out = subprocess.DEVNULL
    null = subprocess.DEVNULL
    process = subprocess.Popen(
        argv, pass_fds=[theirs.fileno()], stdin=null, stdout=out, stderr=out, start_new_session=True
    )
    theirs.close()
    return channel, process
