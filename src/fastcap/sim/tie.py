"""What ties an emulated device to the emulated board: a small file that both have mapped.

It holds the device's state, so that a named device keeps it from one program to the next, and a log of what
the device put out, each entry with its time. The board reads the log and applies each step at the word that is
made at that time (`fastcap.sim._optics`), however late it writes that word.

Layout, little-endian: magic (8 bytes); from byte 64 the state as JSON, padded with NUL; from byte 4096 a circle
of 256 entries of ``number <u8, at_ns <i8, value <f8, check <u8``. Entry n stands in slot n % 256; numbers count
from 1. An entry counts only if its check fits, so that no order of memory accesses matters.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
import time
from typing import Any

import msgspec

from fastcap._messages import shown
from fastcap.errors import ConfigError, DeviceError

__all__ = ["FILE_BYTES", "Tie", "tie_memory", "tie_path"]

MAGIC = b"fcTIE\0\0\1"
STATE_AT, LOG_AT, SLOTS = 64, 4096, 256
FILE_BYTES = LOG_AT + SLOTS * 32
_ENTRY = struct.Struct("<Qqd")
_GOLDEN, _MASK = 0x9E3779B97F4A7C15, 2**64 - 1


def tie_path(name: str) -> str:
    """Return the file of a name, or the path that ``name`` is if it has a slash.

    Raises
    ------
    ConfigError
        It is neither, or the folder of names is somebody else's.
    """
    if "/" in name:
        return os.path.abspath(name)
    if not name or not all(c.isalnum() or c in "_-" for c in name):
        raise ConfigError(
            f"emulated device {shown(name)}: names are letters, digits, - and _; or give a path"
        )
    folder = os.path.join(
        os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir(), f"fastcap-sim-{os.geteuid()}"
    )
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.stat(folder).st_uid != os.geteuid():
            raise ConfigError(f"folder {folder} belongs to another user; set XDG_RUNTIME_DIR to one of yours")
    except OSError as error:
        raise ConfigError(f"folder {folder} cannot be made: {error.strerror}; set XDG_RUNTIME_DIR") from error
    return os.path.join(folder, f"{name}.tie")


def tie_memory(path: str) -> tuple[mmap.mmap, int]:
    """Map a tie, made if it is not there; return its memory and descriptor.

    Raises
    ------
    ConfigError
        It cannot be made or opened, or is another kind of file.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"emulated device {shown(path)} cannot be opened: {error.strerror}") from error
    try:
        if os.fstat(fd).st_size not in (0, FILE_BYTES):
            raise ConfigError(f"emulated device {shown(path)} is another kind of file; name one of its own")
        os.truncate(fd, FILE_BYTES)
        memory = mmap.mmap(fd, FILE_BYTES)
    except (OSError, ValueError) as error:
        os.close(fd)
        raise ConfigError(f"emulated device {shown(path)} cannot be mapped: {error}") from error
    except ConfigError:
        os.close(fd)
        raise
    if memory[:8] not in (MAGIC, bytes(8)):
        memory.close()
        os.close(fd)
        raise ConfigError(f"emulated device {shown(path)} is another kind of file; name one of its own")
    memory[:8] = MAGIC
    return memory, fd


class Tie:
    """The device's side: state and log, held by one device at a time.

    Parameters
    ----------
    name : str or None
        Name or path; None: a file of its own that `close` removes.

    Raises
    ------
    DeviceError
        Another program has this emulated device open, as a real one would be in use.
    """

    def __init__(self, name: str | None) -> None:
        self._temporary = name is None
        if name is None:
            fd, self.path = tempfile.mkstemp(prefix="fastcap-sim-", suffix=".tie")
            os.close(fd)
        else:
            self.path = tie_path(name)
        self._memory, self._fd = tie_memory(self.path)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._memory.close()
            os.close(self._fd)
            raise DeviceError(
                f"emulated device {shown(name)} is in use by another program; end that first"
            ) from error
        self._number = max(self._entry_number(slot) for slot in range(SLOTS))

    def load(self) -> dict[str, Any]:
        """Return the state last saved; empty if there is none."""
        text = self._memory[STATE_AT:LOG_AT].partition(b"\0")[0]
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(text, type=dict[str, Any])
        return {}

    def save(self, state: dict[str, Any]) -> None:
        """Keep the state."""
        text = msgspec.json.encode(state)
        self._memory[STATE_AT:LOG_AT] = text.ljust(LOG_AT - STATE_AT, b"\0")

    def put_out(self, value: float) -> int:
        """Log that the device's output is ``value`` from now on; return that time (monotonic ns)."""
        self._number += 1
        at_ns = time.monotonic_ns()
        at = LOG_AT + self._number % SLOTS * 32
        entry = _ENTRY.pack(self._number, at_ns, value)
        self._memory[at : at + 32] = entry + struct.pack("<Q", _check(entry))
        return at_ns

    def close(self) -> None:
        """Let go of the device. A second call does nothing."""
        if self._fd < 0:
            return
        if self._temporary:
            os.unlink(self.path)
        self._memory.close()
        os.close(self._fd)
        self._fd = -1

    def _entry_number(self, slot: int) -> int:
        at = LOG_AT + slot * 32
        entry = self._memory[at : at + 24]
        check = int.from_bytes(self._memory[at + 24 : at + 32], "little")
        number = int.from_bytes(entry[:8], "little")
        return number if number and check == _check(entry) else 0


def _check(entry: bytes) -> int:
    """Return what the entry's last word must be."""
    number, at, value = (int.from_bytes(entry[k : k + 8], "little") for k in (0, 8, 16))
    return number * _GOLDEN & _MASK ^ at ^ value
