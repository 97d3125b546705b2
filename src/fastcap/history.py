"""The local history of captures: how each destination behaved, one line of JSON per capture.

It lies in ``$XDG_STATE_HOME/fastcap/history.jsonl`` (else under ``~/.local/state``), the user's own. A line
is written by one write(2) to a file opened for appending: captures that end together do not mix theirs.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)
_LOCK_PATIENCE_S = 1.0


def history_path() -> Path:
    """Return where the history stands, whether or not it exists.

    Raises
    ------
    OSError
        The user has no home directory.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # the XDG specification: a relative path is to be ignored
        try:
            state = os.fspath(Path.home() / ".local" / "state")
        except RuntimeError as error:
            raise FileNotFoundError(f"no home directory ({error}); set XDG_STATE_HOME") from error
    return Path(state) / "fastcap" / "history.jsonl"


def entry_from_report(report: dict[str, Any], *, device: str | None = None) -> dict[str, Any]:
    """Return a capture's line: what its report says of the destination, and the device if it is known."""
    sink = report.get("sink") or {}
    write_s, fsync_s = sink.get("write_s") or {}, sink.get("fsync_s") or {}
    ring = report.get("ring") or {}
    path, rate_hz = report.get("path"), report.get("sample_rate_hz")
    return {
        "started": report.get("started"),
        "destination": os.path.dirname(os.path.abspath(path)) if path else None,
        "device": device,
        "duration_s": report.get("duration_s"),
        "rate_bytes_per_s": None if rate_hz is None else rate_hz * 8,
        "bytes": report.get("bytes"),
        "words_lost": report.get("words_lost"),
        "stalls": sink.get("stalls") or [],
        "write_p99_s": write_s.get("p99"),
        "write_max_s": write_s.get("max"),
        "fsync_p99_s": fsync_s.get("p99"),
        "fsync_max_s": fsync_s.get("max"),
        "high_water_bytes": ring.get("high_water_bytes"),
        "ring_bytes": ring.get("capacity_bytes"),
    }


def append(entry: dict[str, Any]) -> bool:
    """Append one capture's line; return whether it was written.

    Never raises: a capture does not fail for its history. A failure is logged as a warning. Blocks for a
    second at most while others write, and as long as the home directory's disk does.
    """
    try:
        line = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        path = history_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd)
            _append_line(fd, line)
        finally:
            os.close(fd)
    except (OSError, ValueError, TypeError) as error:
        _log.warning("this capture is not in the history of destinations: %s", error)
        return False
    return True


def _lock(fd: int) -> None:
    """Take the file's lock; go on without it rather than wait for a stopped process."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)


def _append_line(fd: int, line: bytes) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        line = b"\n" + line  # the last writer was cut off: its line ends here
    written = os.write(fd, line)
    if written != len(line):
        raise OSError(f"{written} of {len(line)} bytes were written: the disk is full")


def read(destination: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """Return the entries in the order they were written, of one destination directory or of all.

    Lines that were torn or are no entries are passed over. Without a history the list is empty.

    Raises
    ------
    OSError
        The history is there, but cannot be read.
    """
    try:
        raw = history_path().read_bytes()
    except FileNotFoundError:
        return []
    wanted = None if destination is None else os.path.abspath(destination)
    entries = [entry for line in raw.split(b"\n") if (entry := _entry(line)) is not None]
    return [entry for entry in entries if wanted is None or entry["destination"] == wanted]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and "destination" in entry else None
