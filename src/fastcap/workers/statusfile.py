"""What everybody may know about a session: a small world-readable file, locked while the session lives.

``status`` reads these files of every user; a file whose lock nobody holds belongs to a session that is gone. The
directory is everybody's: what stands there under such a name may be anything, and say anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK_DIRS = ("/run/lock", "/tmp")
PREFIX = "fastcap-session-"
_READS, _READ_AGAIN_S = 3, 0.002
_MOST_BYTES = 1 << 20
_PAGE_BYTES = 4096  # a file of whole pages, once written, can be written again on a full file system
_LOCKS, _LOCK_AGAIN_S = 40, 0.005  # whoever looks whether a session lives has its lock for a moment

_TEXT, _COUNT, _SECONDS = (str,), (int,), (int, float)
_NOTHING = type(None)
_SESSION = {  # what a file must say, by type
    "session": _TEXT, "folder": _TEXT, "pid": _COUNT, "ring_bytes": _COUNT, "recordings": (list,), "at": _SECONDS,
    "user": (str, _NOTHING), "label": (str, _NOTHING), "started": (str, _NOTHING),
}  # fmt: skip
_RECORDING: dict[str, tuple[type, ...]] = {
    "recording": _COUNT, "state": _TEXT, "bytes": (int, _NOTHING), "dropped_bytes": _COUNT,
    "backlog_bytes": _COUNT, "stalled_s": _SECONDS, "elapsed_s": _SECONDS, "trouble": (str, _NOTHING),
    "silent_s": (*_SECONDS, _NOTHING),
    "device": (str, _NOTHING), "destination": (str, _NOTHING), "expected_end": (str, _NOTHING),
}  # fmt: skip


def directory() -> str:
    """Return where status and lock files go."""
    return next((d for d in LOCK_DIRS if os.path.isdir(d) and os.access(d, os.W_OK)), LOCK_DIRS[-1])


class StatusFile:
    """The status file of one session, written by its supervisor.

    Parameters
    ----------
    message : dict
        The session's ``open`` message: ``user``, ``label``.
    folder : str
        The session's folder; its name is the session's.
    """

    def __init__(self, message: dict[str, Any], folder: str) -> None:
        self._base = {
            "session": os.path.basename(folder),
            "folder": folder,
            "uid": os.getuid(),
            "user": message.get("user"),
            "pid": os.getpid(),
            "label": message.get("label"),
            "started": message.get("started"),
            "ring_bytes": message["ring_bytes"],
        }
        _remove_bygone()
        self._path = os.path.join(directory(), f"{PREFIX}{os.getuid()}-{self._base['session']}.json")
        self._written = 0.0
        self._told: list[tuple[Any, ...]] = []
        self._fd = -1
        self._make()
        self.write([])

    def _make(self) -> None:
        """Make the file and lock it. Where that cannot be had, nobody is told: a capture does not fail for it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o644)
            os.fchmod(self._fd, 0o644)
        except OSError:
            self._let_go()
            return
        for _ in range(_LOCKS):  # somebody else may hold it as long as he likes: then it looks alive, too
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(_LOCK_AGAIN_S)

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_there(self) -> bool:
        """Tell whether the file still has its name: what is cleaned up in /tmp takes no notice of locks."""
        try:
            return self._fd >= 0 and os.path.samestat(os.lstat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def write(self, recordings: list[dict[str, Any]]) -> None:
        """Say how the session's recordings stand: at once what begins, ends or goes wrong, the rest once a second."""
        told = [(r.get("recording"), r.get("state"), r.get("trouble")) for r in recordings]
        if told and told == self._told and time.monotonic() - self._written < 1.0:
            return
        self._written, self._told = time.monotonic(), told
        if not self._is_there():
            self._let_go()
            self._make()
        if self._fd >= 0 and not self._put({**self._base, "recordings": recordings, "at": time.time()}):
            self._put({**self._base, "recordings": [], "at": time.time()})  # fits where something stood

    def _put(self, content: dict[str, Any]) -> bool:
        """Write the file anew; False if it does not fit on the disk."""
        text = json.dumps(content).encode()
        text = text.ljust(-(-len(text) // _PAGE_BYTES) * _PAGE_BYTES)
        try:
            if os.pwrite(self._fd, text, 0) < len(text):
                return False
            os.ftruncate(self._fd, len(text))
        except OSError:
            return False
        return True

    def close(self, *, left_behind: bool) -> None:
        """Remove the file; a session left behind keeps its own, unlocked."""
        if not left_behind and self._is_there():
            try:
                os.unlink(self._path)
            except OSError:
                os.ftruncate(self._fd, 0)  # nobody may remove it any more: it tells of no session
        self._let_go()


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith(PREFIX))
    except OSError:
        return []  # where nobody can look, no session tells of itself


def _remove_bygone() -> None:
    """Remove this user's files of sessions that were left behind and whose folders are gone since."""
    own = f"{PREFIX}{os.getuid()}-"
    for path in [os.path.join(directory(), name) for name in _names(directory()) if name.startswith(own)]:
        session = _read(path)
        if session is not None and not session["alive"] and not os.path.lexists(session["folder"]):
            try:
                os.unlink(path)
            except OSError:
                continue  # another session was quicker, or it is another user's


def read_all() -> list[dict[str, Any]]:
    """Return every user's sessions, each with ``alive``: whether its supervisor still runs.

    ``uid`` is the file's owner, whatever it says; what is of another type than it must be is not returned.
    """
    paths = [os.path.join(folder, name) for folder in LOCK_DIRS for name in _names(folder)]
    return [session for path in paths if (session := _read(path)) is not None]


def _read(path: str) -> dict[str, Any] | None:
    """Return what a status file says; None: it is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        st = os.fstat(fd)
        mine = os.path.basename(path).startswith(f"{PREFIX}{st.st_uid}-")
        if not stat.S_ISREG(st.st_mode) or not mine or st.st_size > _MOST_BYTES:
            return None
        content = _checked(_content(fd))
        return None if content is None else {**content, "uid": st.st_uid, "alive": _is_locked(fd)}
    except OSError:
        return None
    finally:
        os.close(fd)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _content(fd: int) -> Any:
    """Read the file; one that does not parse may be being written at this moment."""
    for attempt in range(_READS):
        try:
            return json.loads(os.pread(fd, _MOST_BYTES, 0))
        except (ValueError, RecursionError):
            if attempt + 1 < _READS:
                time.sleep(_READ_AGAIN_S)
    return None


def _checked(content: Any) -> dict[str, Any] | None:
    """Return a session's file without what has no business there; None where something else is missing or wrong."""
    session = _of_types(content, _SESSION)
    if session is None or "\0" in session["folder"]:
        return None
    recordings = [_of_types(recording, _RECORDING) for recording in session["recordings"]]
    return {**session, "recordings": [recording for recording in recordings if recording is not None]}


def _of_types(content: Any, types: dict[str, tuple[type, ...]]) -> dict[str, Any] | None:
    """Return the fields of an object, if all are of their types and no number is below 0 or out of range."""
    if not isinstance(content, dict):
        return None
    found = {key: content.get(key) for key in types}
    for key, value in found.items():
        if type(value) not in types[key]:
            return None
        if isinstance(value, int | float) and not 0 <= value < 2**63:
            return None
    return found
