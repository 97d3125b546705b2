"""Names of recordings: from time and details, or as told; safe whatever the details hold.

    2026-11-22T10:00:00.123456_laser_num_2.bin          by default
    2026-11-22T10:00:00.123456+0800_laser_num_2.bin     the lab's: for the board of an INI

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
    "plain_name",
    "recording_name",
    "safe_part",
    "sidecar_path",
    "split_destination",
    "stamp",
]

BIN = ".bin"
_MOST_BYTES = 255 - len(".sigmf-meta.part")  # of a name without its ending: NAME_MAX, less the longest ending
_NUMBER_BYTES = len("_99999999")
_STEM_BYTES = _MOST_BYTES - _NUMBER_BYTES
_TIME_BYTES = len("2026-11-22T10:00:00.123456")


def recording_name(
    start: datetime,
    details: Mapping[str, Any],
    meta: Mapping[str, Any],
    name: str | None = None,
    *,
    offset: bool = False,
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
    offset : bool
        The time is followed by its zone's offset, as the lab's recorder has it.

    Raises
    ------
    ConfigError
        ``name`` holds nothing that a file name could be made of.
    """
    if name is not None:
        return _safe_stem(name) + BIN
    time = stamp(start, offset=offset)
    return f"{time}{name_suffix(details, meta, time_bytes=len(time))}{BIN}"


def stamp(start: datetime, *, offset: bool) -> str:
    """Return a time as names begin with it, in its own zone; with ``offset`` that of the zone, such as ``+0800``."""
    return f"{start:%Y-%m-%dT%H:%M:%S.%f%z}" if offset else f"{start:%Y-%m-%dT%H:%M:%S.%f}"


def name_suffix(details: Mapping[str, Any], meta: Mapping[str, Any], *, time_bytes: int = _TIME_BYTES) -> str:
    """Return what follows the time in a recording's name: ``_KEY_VALUE`` of each detail, made safe."""
    pairs = {**details, **meta}
    suffix = "".join(f"_{safe_part(str(key))}_{safe_part(str(value))}" for key, value in pairs.items())
    short = _cut(suffix, _STEM_BYTES - time_bytes)
    return suffix if short == suffix else short.rstrip("_-.")


def safe_part(text: str, also: str = "") -> str:
    """Replace every character by ``-`` that is neither a letter nor a digit, nor one of ``._+-`` and ``also``.

    Letters of every alphabet stay, if names can hold them in this locale.
    """
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFC", text)  # an accent is part of its letter
    kept = f"._+-{also}"
    return "".join(c if c in kept or (c.isalnum() if c.isascii() else _is_letter(c)) else "-" for c in text)


def _is_letter(character: str) -> bool:
    try:
        return character.isalpha() and bool(os.fsencode(character))
    except UnicodeEncodeError:
        return False


def plain_name(filename: str) -> str:
    """Return a name for file systems that do not take every character: ASCII letters and digits, and ``._+-``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in filename)


def _cut(text: str, most_bytes: int) -> str:
    """Return as many of the first characters as fit into so many bytes."""
    return (
        os.fsencode(text)[:most_bytes].decode(errors="ignore")
        if len(os.fsencode(text)) > most_bytes
        else text
    )


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
    stem = safe_part(name.removesuffix(BIN), also=":,=@").lstrip(".-")
    if not stem.strip("_-."):
        raise ConfigError(f"name {shown(name)} leaves nothing for a file name; give letters or digits")
    return _cut(stem, _STEM_BYTES)


def sidecar_path(bin_path: str | os.PathLike[str]) -> str:
    """Return where the sidecar of ``bin_path`` stands, whether or not either exists."""
    return os.fspath(bin_path).removesuffix(".part").removesuffix(BIN) + ".sigmf-meta"
