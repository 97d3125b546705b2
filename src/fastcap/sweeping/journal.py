"""The journal: what happened in a sweep, a line of JSON each, appended and fsynced by a thread of its own.

The folder may be on a network disk that stalls: nobody but `Journal.flush` waits for it. An append that fails is
taken back and tried again. What a crash cut short is the last line, and is cut off before the next one is written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

from fastcap.errors import SweepError
from fastcap.sweeping.plan import JOURNAL

logger = logging.getLogger(__name__)
Entry = dict[str, Any]
RETRY_S = 1.0
LOOK_S = 0.5  # a wait is broken so often, so that Ctrl-C gets through


def read_journal(folder: str | os.PathLike[str]) -> list[Entry]:
    """Return a journal's entries, without a torn last line; an empty list if there is none.

    Raises
    ------
    SweepError
        A line before the last is no entry.
    """
    path = Path(folder, JOURNAL)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error.strerror}") from error
    entries = []
    for number, line in enumerate(content[: _whole_bytes(content)].splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not isinstance(entry.get("event"), str):
            raise SweepError(f"{path}, line {number} is damaged; restore the journal from a copy")
        entries.append(entry)
    return entries


def _whole_bytes(content: bytes) -> int:
    """Return how much of a journal is whole lines."""
    return content.rfind(b"\n") + 1


class Journal:
    """A journal open for appending; one program at a time has it.

    Raises
    ------
    SweepError
        Another program has it, or it cannot be opened.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder, JOURNAL)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SweepError(f"{self.path} cannot be opened: {error.strerror}") from error
        self._lock()
        # what is torn is cut off before the next is written
        self._size = _whole_bytes(self.path.read_bytes())
        self._queue: list[bytes] = []
        self._changed = threading.Condition()
        self._closing = False
        self._trouble: OSError | None = None
        self._thread = threading.Thread(target=self._write_all, name="fastcap-journal", daemon=True)
        self._thread.start()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise SweepError(
                f"the sweep in {self.path.parent} is running in another program; wait for its end"
            ) from error
        except OSError as error:  # some network disks have no locks
            logger.warning(
                "%s cannot be locked (%s): run the sweep once at a time", self.path, error.strerror
            )

    def append(self, event: str, **fields: Any) -> Entry:
        """Note something; returns at once."""
        entry = {"event": event, **fields}
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        with self._changed:
            self._queue.append(line)
            self._changed.notify_all()
        return entry

    def flush(self, timeout_s: float | None = None) -> None:
        """Block until all is on the disk.

        Raises
        ------
        SweepError
            It is not within ``timeout_s``; the entries stay, and are tried on.
        """
        waited_s = 0.0
        with self._changed:
            while self._queue:
                if timeout_s is not None and waited_s >= timeout_s:
                    why = self._trouble.strerror if self._trouble else "the disk does not answer"
                    raise SweepError(f"{self.path} could not be written within {timeout_s:g} s: {why}")
                self._changed.wait(LOOK_S)
                waited_s += LOOK_S

    def close(self, timeout_s: float | None = None) -> None:
        """Write what is left, let others have it. A second call does nothing."""
        if self._closing:
            return
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(LOOK_S)

    # -- the thread ----------------------------------------------------------------------------------

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                lines = list(self._queue)
            if not lines:
                break
            written = self._write(b"".join(lines))
            with self._changed:
                if written:
                    del self._queue[: len(lines)]
                    self._changed.notify_all()
                elif self._closing:
                    break
                else:
                    self._changed.wait(RETRY_S)
        os.close(self._fd)

    def _write(self, data: bytes) -> bool:
        """Append durably; what did not get there whole is taken back."""
        try:
            if os.fstat(self._fd).st_size != self._size:
                os.ftruncate(self._fd, self._size)  # a piece that could not be taken back when it was written
            done = 0
            while done < len(data):
                done += os.write(self._fd, data[done:])
            os.fsync(self._fd)
        except OSError as error:
            if self._trouble is None:
                logger.warning("%s cannot be written (%s); it is tried again", self.path, error.strerror)
            self._trouble = error
            self._take_back()
            return False
        self._size += len(data)
        self._trouble = None
        return True

    def _take_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            logger.debug("%s cannot be shortened: %s", self.path, error)
