"""One device, one capture: a lock that works across users and that the kernel frees on death.

A file in a sticky directory cannot be written by other users, so each user has a file of his own for a
device, ``fastcap-MAJ:MIN.UID.lock``, locked by flock(2) for as long as the capture lives. Who has locked his
own file then tests everybody else's. Of two who do so at once at least one sees the other, because each locks
before it looks; never can both go on. Should both see each other, both step back and try again after a
random moment. The device itself is only ever looked at by stat(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from typing import Any

from fastcap._lockinfo import completed, in_use
from fastcap._messages import shown
from fastcap.errors import SourceError

__all__ = ["LOCK_DIRS", "DeviceLock", "device_key", "list_locks"]

LOCK_DIRS = ("/run/lock", "/tmp")
_PREFIX, _SUFFIX = "fastcap-", ".lock"
_MOST_BYTES = 1 << 16
_PROBE_S = 0.2  # others test with a shared lock for a moment; that is no capture
_NAP_S = 0.005
_log = logging.getLogger(__name__)


def device_key(path: str | os.PathLike[str]) -> str:
    """Return what identifies a device, whatever link it is named by: ``MAJ:MIN``.

    Something that is no character device (a plain file in a test) gets a key that no character device has.

    Raises
    ------
    SourceError
        It does not exist or cannot be looked at.
    """
    try:
        st = os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"device {shown(os.fspath(path))}: {reason}; is it plugged in?") from error
    if stat.S_ISCHR(st.st_mode):
        return f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}"
    if stat.S_ISBLK(st.st_mode):
        return f"block-{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}"
    return f"file-{st.st_dev}:{st.st_ino}"


class DeviceLock:
    """A device that is this capture's until `release`, or until every holder of the descriptor is gone.

    Get one from `acquire`. A process that inherits `fileno` holds the lock, too.
    """

    def __init__(self, path: str, fd: int, info: dict[str, Any]) -> None:
        self.path = path
        self._fd = fd
        self._info = info

    @classmethod
    def acquire(cls, device_path: str | os.PathLike[str], info: Mapping[str, Any]) -> DeviceLock:
        """Lock a device; waits for nobody longer than half a second.

        Parameters
        ----------
        device_path : path
            The device or a link to it; never opened.
        info : mapping
            What others are told: ``user``, ``started``, ``expected_end``, ``destination``, other JSON.
            ``uid``, ``pid``, ``pid_start`` and ``device`` are added.

        Raises
        ------
        SourceError
            The device does not exist, is in use (the message says by whom), or no lock file can be made.
        """
        device = os.fspath(device_path)
        key = device_key(device)
        told = completed(info, device)
        deadline = time.monotonic() + _PROBE_S
        while True:
            lock = cls(*_lock_own_file(key, device), told)
            try:
                other = next((path for path in _lock_files(key) if _is_anothers(path, lock.fileno())), None)
                if other is None:
                    lock.update({})
                    return lock
            except BaseException:
                lock.release()
                raise
            lock.release()
            if time.monotonic() >= deadline:
                raise in_use(device, _told(other))
            time.sleep(_NAP_S * (0.1 + os.urandom(1)[0] / 256))

    def update(self, info: Mapping[str, Any]) -> None:
        """Change what others are told; keys not given stay."""
        self._info.update(info)
        text = json.dumps(self._info, default=str).encode() + b"\n"
        try:
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))
        except OSError as error:  # a full file system; the lock holds without its text
            _log.warning("lock file %s cannot be written: %s", self.path, error.strerror)

    def fileno(self) -> int:
        """Return the locked descriptor, for a process that is to inherit the lock."""
        return self._fd

    def release(self) -> None:
        """Free the device, also for those who inherited the lock. A second call does nothing."""
        if self._fd < 0:
            return
        if _is_at(self.path, self._fd):  # while locked: nobody else may hold a file of this name
            with contextlib.suppress(OSError):  # a file that stays and that nobody holds is no obstacle
                os.unlink(self.path)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
        self._fd = -1


def list_locks() -> list[dict[str, Any]]:
    """Return every user's locks that are held now: what `DeviceLock.acquire` was told, and where.

    Added are ``key`` (the device's), ``path`` (the file's) and ``uid``: the file's owner, who cannot be
    made up. What a file does not say is missing.
    """
    return [lock for path in _lock_files("") if (lock := _told(path)) is not None]


def _lock_own_file(key: str, device: str) -> tuple[str, int]:
    """Return path and descriptor of this user's file for a device, locked."""
    refusals = []
    for directory in LOCK_DIRS:
        path = os.path.join(directory, f"{_PREFIX}{key}.{os.geteuid()}{_SUFFIX}")
        try:
            return path, _open_locked(path)
        except BlockingIOError as error:
            raise in_use(device, _told(path)) from error
        except OSError as error:
            refusals.append(f"{path}: {error.strerror}")
    raise SourceError(
        f"device {shown(device)} cannot be locked ({'; '.join(refusals)}); remove what is in the way"
    )


def _open_locked(path: str) -> int:
    """Open and lock a file of one's own, made if need be.

    Raises
    ------
    BlockingIOError
        Another holds it.
    OSError
        It cannot be made, or something that is not ours stands there.
    """
    deadline = time.monotonic() + _PROBE_S
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(path, flags, 0o644)
        try:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode) or st.st_uid != os.geteuid():
                raise PermissionError(1, f"belongs to uid {st.st_uid} or is no regular file")
            os.fchmod(fd, 0o644)  # the umask is not asked: everybody must be able to test it
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, fd):
                os.ftruncate(fd, 0)  # what a former holder told is not ours
                return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise
            time.sleep(_NAP_S)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # released and removed by its last holder in between, or only being tested: once more


def _is_at(path: str, fd: int) -> bool:
    """Tell whether ``path`` still is the file that ``fd`` has open."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except OSError:
        return False


def _lock_files(key: str) -> Iterator[str]:
    """Yield the paths of all users' lock files for ``key``, or for every device if it is empty."""
    prefix = f"{_PREFIX}{key}." if key else _PREFIX
    for directory in LOCK_DIRS:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue  # where nobody can look, nobody has made a lock
        yield from (
            os.path.join(directory, name)
            for name in names
            if name.startswith(prefix) and name.endswith(_SUFFIX)
        )


def _is_anothers(path: str, own_fd: int) -> bool:
    """Tell whether a lock file other than the one ``own_fd`` has open is held."""
    with _opened(path) as fd:
        return fd >= 0 and not os.path.samestat(os.fstat(fd), os.fstat(own_fd)) and _is_held(fd)


def _told(path: str) -> dict[str, Any] | None:
    """Return what a lock file says if somebody holds it, else None."""
    with _opened(path) as fd:
        if fd < 0 or not _is_held(fd):
            return None
        key = os.path.basename(path)[len(_PREFIX) : -len(_SUFFIX)].rpartition(".")[0]
        return {**_content(fd), "uid": os.fstat(fd).st_uid, "key": key, "path": path}


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a lock file for reading; -1 if it is gone or is none.

    None: a link, what is no regular file or not readable, and a file whose owner is not the one in its name.
    """
    fd = -1
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        st = os.fstat(fd) if fd >= 0 else None
        uid = path.removesuffix(_SUFFIX).rpartition(".")[2]
        yield fd if st is not None and stat.S_ISREG(st.st_mode) and uid == str(st.st_uid) else -1
    finally:
        if fd >= 0:
            os.close(fd)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _content(fd: int) -> dict[str, Any]:
    """Return what a holder wrote; it may be writing at this moment, so look for a while."""
    deadline = time.monotonic() + _PROBE_S
    while True:
        try:
            content = json.loads(os.pread(fd, _MOST_BYTES, 0).partition(b"\n")[0])
        except (ValueError, RecursionError, OSError):
            content = None
        if isinstance(content, dict) or time.monotonic() >= deadline:
            return content if isinstance(content, dict) else {}
        time.sleep(_NAP_S)
