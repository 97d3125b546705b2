"""A new file that appears under its name when it is complete, and never replaces another."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastcap.errors import ConfigError, SinkError

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the name of an empty file beside ``path``; on success it is renamed, after an error removed.

    Raises
    ------
    ConfigError
        ``path`` exists, also if it came into being meanwhile; or its folder does not.
    SinkError
        The file system refused. Nothing is left behind.
    """
    _check(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    ours = True  # from before it is made: an interruption may come at any time
    try:
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            ours = False
            raise
        yield part
        _sync(part)
        _publish(part, path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise SinkError(
            f"{path}: cannot be written: {error.strerror or error}; name another place"
        ) from error
    finally:
        if ours:
            part.unlink(missing_ok=True)


def _check(path: Path) -> None:
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or name another")


def _exists(path: Path) -> ConfigError:
    return ConfigError(f"{path}: exists, and nothing is ever overwritten; name another file")


def _sync(part: Path) -> None:
    handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _publish(part: Path, path: Path) -> None:
    """Give the complete file its name; a link refuses to replace where a rename would."""
    try:
        os.link(part, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        part.rename(path)
