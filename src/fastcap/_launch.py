"""Starting a session: its folder in shared memory, and its supervisor process."""

from __future__ import annotations

import atexit
import os
import select
import stat

from fastcap.errors import RingError
from fastcap.wire import pair
from fastcap.workers import argv_of
from fastcap.workers.children import Child, spawn


def base_folder(shm: str | None = None) -> str:
    """Return this user's folder of sessions, made private.

    Raises
    ------
    RingError
        Something else stands there: another user's, a link, or open to others.
    """
    from fastcap.ringsize import SHM

    path = os.path.join(shm or SHM, f"fastcap-{os.getuid()}")
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
    from datetime import datetime

    name = f"{datetime.now():%Y%m%dT%H%M%S}-{os.getpid()}-{os.urandom(3).hex()}"
    path = os.path.join(base_folder(), name)
    os.mkdir(path, 0o700)
    return path


def user_name() -> str:
    """Return what this user is called."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class SupervisorProcess(Child):
    """A running supervisor, in a session of its own: a Ctrl-C at the terminal does not reach it."""

    def __init__(self) -> None:
        self.channel, theirs = pair()
        argv = argv_of("fastcap.workers.supervisor", "3")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            out = 2 if _is_open(2) else null
            pid = spawn(argv, [null, out, out, theirs.fileno()], session=True)
        finally:
            os.close(null)
            theirs.close()
        super().__init__("supervisor", pid)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended; False if it has not by then."""
        if self.status is not None:
            return True
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if not poller.poll(None if timeout_s is None else timeout_s * 1000):
            return False
        self.reap()
        return True


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


_prestarted: list[SupervisorProcess] = []


def prestart() -> None:
    """Start a supervisor ahead of the session that will use it: it comes up meanwhile."""
    if not _prestarted:
        _prestarted.append(SupervisorProcess())
        atexit.register(_discard_prestarted, os.getpid())


def _discard_prestarted(owner: int) -> None:
    """End a supervisor that no session used: it waits for its first message and has made nothing yet."""
    while _prestarted and os.getpid() == owner:
        process = _prestarted.pop()
        process.kill()
        process.wait()
        process.channel.close()


def start_supervisor() -> SupervisorProcess:
    """Return a supervisor process, prestarted or new."""
    return _prestarted.pop() if _prestarted else SupervisorProcess()
