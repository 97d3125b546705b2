"""Whether a program, a device, a file or a descriptor could be used: asked by stat(2), nothing is opened."""

from __future__ import annotations

import os
import stat

from fastcap._messages import shown
from fastcap.errors import SourceError


def check_program(program: str, cwd: str | None) -> None:
    """Check that a program can be run in its working directory."""
    if cwd is not None and not os.path.isdir(cwd):
        raise SourceError(f"working directory {shown(cwd)} does not exist; check base_dir")
    if os.sep not in program:
        if not any(_is_runnable(os.path.join(folder, program)) for folder in os.get_exec_path()):
            raise SourceError(f"program {shown(program)} is not on PATH; give its full path")
        return
    path = os.path.join(cwd or "", program)
    if not os.path.exists(path):
        raise SourceError(f"program {shown(program)} does not exist; check its path")
    if not _is_runnable(path):
        raise SourceError(f"program {shown(program)} cannot be run by you; chmod +x it, or name another")


def _is_runnable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def check_device(device: str) -> None:
    """Check that a device is there and may be read."""
    try:
        mode = os.stat(device).st_mode
    except OSError as error:
        link = f", a link to {shown(os.path.realpath(device))}," if os.path.islink(device) else ""
        why = f"{error.strerror}; is the board plugged in?"
        raise SourceError(f"device {shown(device)}{link}: {why}") from error
    if stat.S_ISDIR(mode):
        raise SourceError(f"device {shown(device)} is a directory; name the device node")
    if not os.access(device, os.R_OK):
        raise SourceError(f"device {shown(device)} may not be read by you; add a udev rule or join its group")


def check_file(path: str) -> None:
    """Check that a file is a regular one and may be read."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise SourceError(f"file {shown(path)} cannot be read: {error.strerror}; check the path") from error
    if not stat.S_ISREG(mode):
        raise SourceError(f"{shown(path)} is no regular file; redirect it to standard input and give '-'")
    if not os.access(path, os.R_OK):
        raise SourceError(f"file {shown(path)} cannot be read: no permission; check its rights")


def check_fd(fd: int, label: str) -> None:
    """Check that a descriptor is open for reading and no terminal."""
    import fcntl

    try:
        mode = os.fstat(fd).st_mode
        writes_only = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    except (OSError, OverflowError) as error:
        raise SourceError(f"{label} is not open; give one that can be read") from error
    if stat.S_ISDIR(mode) or writes_only:
        raise SourceError(f"{label} cannot be read; give a pipe's reading end, or a file opened for reading")
    if os.isatty(fd):
        raise SourceError(f"{label} is a terminal; redirect a stream into it")
