"""Names of recordings: from time and details, or as told; safe whatever the details hold.

No function here looks at a file system: a destination may be on a network disk that stalls.
"""

from __future__ import annotations

import os

from fastcap._messages import shown
from fastcap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

__all__ = [
    "BIN",
    "alternative",
    "name_suffix",
    "numbered",
    "recording_name",
    "sidecar_path",
    "split_destination",
]

BIN = ".bin"
_MOST_BYTES = 255 - len(".sigmf-meta.part")  # of a name without its ending: NAME_MAX, less the longest ending
_NUMBER_BYTES = len("_99999999")
_STEM_BYTES = _MOST_BYTES - _NUMBER_BYTES
_TIME_BYTES = len("2026-11-22T10:00:00.123456")


def recording_name(
    start: datetime, details: Mapping[str, Any], meta: Mapping[str, Any], name: str | None = None
) -> str:
    """Return the file name of a recording in a directory, ``.bin`` included.

    Parameters
    ----------
    start : datetime
        When it started; written as it stands, in its own time zone.
    details, meta : mapping
        ``[Phasemeter Details]`` and ``--meta``, each appended as ``_KEY_VALUE``. Where both have a key,
        ``meta`` counts. What does not fit a file name is cut off at the end; the sidecar has all of it.
    name : str, optional
        A name to take instead, with or without ``.bin``; made safe.

    Raises
    ------
    ConfigError
        ``name`` holds nothing that a file name could be made of.
    """
    if name is not None:
        return _safe_stem(name) + BIN
    return f"{start:%Y-%m-%dT%H:%M:%S.%f}{name_suffix(details, meta)}{BIN}"


def name_suffix(details: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Return what follows the time in a recording's name: ``_KEY_VALUE`` of each detail, made safe."""
    pairs = {**details, **meta}
    suffix = "".join(f"_{_cleaned(str(key))}_{_cleaned(str(value))}" for key, value in pairs.items())
    room = _STEM_BYTES - _TIME_BYTES
    return suffix if len(suffix) <= room else suffix[:room].rstrip("_-.")


def numbered(filename: str, number: int) -> str:
    """Return the name of one of several files: ``NAME_0001.bin`` for ``NAME.bin``."""
    return f"{filename.removesuffix(BIN)}_{number:04d}{BIN}"


def alternative(filename: str, number: int) -> str:
    """Return the name to take where others have ``filename``: ``NAME-2.bin`` for the second, and so on."""
    return filename if number < 2 else f"{filename.removesuffix(BIN)}-{number}{BIN}"


def split_destination(to: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Return directory and file name of a destination; the name is None if it is a directory.

    What ends in ``.bin`` is a file, everything else a directory. Nothing is looked up.

    Raises
    ------
    ConfigError
        ``to`` is empty, holds a NUL, or names a file whose name is only ``.bin``, or too long.
    """
    path = os.fspath(to)
    if not path or "\0" in path:
        raise ConfigError(
            f"destination {shown(path)} is no path; give a directory or a path that ends in .bin"
        )
    if not path.endswith(BIN):
        return path, None
    directory, filename = os.path.split(path)
    stem = filename.removesuffix(BIN)
    if not stem:
        raise ConfigError(f"destination {shown(path)} has no name before .bin; give one such as run.bin")
    if len(os.fsencode(stem)) > _STEM_BYTES:
        raise ConfigError(
            f"file name {shown(filename)} is too long; names before .bin have at most {_STEM_BYTES} bytes"
        )
    return directory or ".", filename


def _safe_stem(name: str) -> str:
    """Make an explicit name safe: no separators, nothing hidden, nothing that looks like an option."""
    stem = _cleaned(name.removesuffix(BIN), also="_:,=@").lstrip(".-")
    if not stem.strip("_-."):
        raise ConfigError(f"name {shown(name)} leaves nothing for a file name; give letters or digits")
    return stem[:_STEM_BYTES]


def _cleaned(text: str, also: str = "") -> str:
    """Replace every character outside ``[A-Za-z0-9.+-]`` and ``also`` by ``-``."""
    kept = f".+-{also}"
    return "".join(c if (c.isascii() and c.isalnum()) or c in kept else "-" for c in text)


def sidecar_path(bin_path: str | os.PathLike[str]) -> str:
    """Return where the sidecar of ``bin_path`` stands, whether or not either exists."""
    return os.fspath(bin_path).removesuffix(".part").removesuffix(BIN) + ".sigmf-meta"
