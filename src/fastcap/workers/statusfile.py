"""What everybody may know about a session: a small world-readable file, locked while the session lives.

``status`` reads these files of every user; a file whose lock nobody holds belongs to a session that is gone.
"""

from __future__ import annotations

import fcntl
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK_DIRS = ("/run/lock", "/tmp")
PREFIX = "fastcap-session-"
_READS, _READ_AGAIN_S = 3, 0.002


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
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._written = 0.0
        self._told: list[tuple[Any, ...]] = []
        try:
            self._fd = os.open(self._path, flags, 0o644)
            os.fchmod(self._fd, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError:
            self._fd = -1  # status is a courtesy: a capture does not fail for it
        self.write([])

    def write(self, recordings: list[dict[str, Any]]) -> None:
        """Say how the session's recordings stand: at once what begins, ends or goes wrong, the rest once a second."""
        told = [(r.get("recording"), r.get("state"), r.get("trouble")) for r in recordings]
        if self._fd < 0 or (told and told == self._told and time.monotonic() - self._written < 1.0):
            return
        self._written, self._told = time.monotonic(), told
        text = json.dumps({**self._base, "recordings": recordings, "at": time.time()}).encode()
        try:
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))
        except OSError:
            return  # a full /run/lock: the last word stays

    def close(self, *, left_behind: bool) -> None:
        """Remove the file; a session left behind keeps its own, unlocked."""
        if self._fd < 0:
            return
        if not left_behind:
            os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1


def _remove_bygone() -> None:
    """Remove this user's files of sessions that were left behind and whose folders are gone since."""
    own = f"{PREFIX}{os.getuid()}-"
    for name in os.listdir(directory()):
        if name.startswith(own):
            path = os.path.join(directory(), name)
            session = _read(path)
            if (
                session is not None
                and not session["alive"]
                and not os.path.lexists(session.get("folder", "/"))
            ):
                try:
                    os.unlink(path)
                except OSError:
                    continue  # another session was quicker, or it is another user's


def read_all() -> list[dict[str, Any]]:
    """Return every user's sessions, each with ``alive``: whether its supervisor still runs."""
    sessions = []
    for folder in LOCK_DIRS:
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in names:
            if name.startswith(PREFIX):
                session = _read(os.path.join(folder, name))
                if session is not None:
                    sessions.append(session)
    return sessions


def _read(path: str) -> dict[str, Any] | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = _content(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
    except ValueError:
        return None  # not ours
    finally:
        os.close(fd)
    return {**content, "alive": alive} if isinstance(content, dict) else None


def _content(fd: int) -> Any:
    """Read the file; one that does not parse may be being written at this moment."""
    for _ in range(_READS):
        text = os.pread(fd, 1 << 20, 0)
        try:
            return json.loads(text)
        except ValueError:
            time.sleep(_READ_AGAIN_S)
    return json.loads(text)
