"""Configuration files: the lab's INI, read unchanged, and fastcap's own TOML.

Both become a `BoardConfig`: the argv of the board's program, and what is known about recording from it.
Nothing here is run, opened or evaluated beyond bounded integer arithmetic; no shell is ever involved.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap._messages import shown
from fastcap.errors import ConfigError

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["BoardConfig", "load_board_config"]

_MOST_BYTES = 1 << 20  # a larger file is a trace or a disk image, not a configuration


class BoardConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration file says.

    Attributes
    ----------
    path : str
        The file.
    argv : tuple of str
        The board's program and its arguments; empty where ``source_url`` is given, or the INI names no program.
    cwd : str or None
        The program's working directory, absolute.
    device, num_words, sample_rate_hz
        From the flags in ``argv``, exactly; None where they do not say (no ``num_words``: endless).
    save_dir : str or None
        Where files go by default.
    num_runs : int or None
        What ``--repeat`` defaults to when given no number.
    details : dict
        ``[Phasemeter Details]`` or ``[meta]``, for names and metadata.
    options : dict
        ``[capture]`` of a TOML file, as written there and checked; empty for INI.
    source_url : str or None
        ``[board] source`` of a TOML file.
    sections : dict
        Every section's text after overrides, before interpolation.
    lab_names : bool
        Files are named as the lab's recorder names them, with the zone's offset: see `fastcap.naming`.
    warnings : tuple of str
        What will not be as somebody who wrote this file may think.
    """

    path: str
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    device: str | None = None
    num_words: int | None = None
    sample_rate_hz: Fraction | None = None
    save_dir: str | None = None
    num_runs: int | None = None
    details: dict[str, str] = {}
    options: dict[str, Any] = {}
    source_url: str | None = None
    sections: dict[str, dict[str, str]] = {}
    lab_names: bool = False
    warnings: tuple[str, ...] = ()


def load_board_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> BoardConfig:
    """Read a configuration: TOML if the name ends in ``.toml``, else the lab's INI.

    Parameters
    ----------
    path : path
        The file; at most 1 MiB, UTF-8.
    overrides : sequence of str
        ``KEY=VALUE`` or ``SECTION.KEY=VALUE`` (or ``:``), applied in order as if they stood in the file.

    Raises
    ------
    ConfigError
        The file cannot be read, a key is missing, a value makes no sense, an override names no key.
    """
    name = os.fspath(path)
    text = _text_of(name)
    pairs = [_split_override(override) for override in overrides]
    if name.lower().endswith(".toml"):
        from fastcap._toml import read_toml

        return read_toml(name, text, pairs)
    from fastcap._ini import read_ini

    return read_ini(name, text, pairs)


def absolute_path(path: str, base: str | None = None) -> str:
    """Return ``path`` seen from ``base``, or from the current directory; links and ``..`` stay as they are.

    Raises
    ------
    ConfigError
        The current directory is gone.
    """
    if os.path.isabs(path):
        return path
    try:
        return os.path.join(base or os.getcwd(), path)
    except OSError as error:
        raise ConfigError(f"path {shown(path)} is relative, and the current directory is gone") from error


def _text_of(path: str) -> str:
    """Read a regular file of text."""
    try:
        # not blocking: opening a FIFO would wait for its writer
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(f"configuration {shown(path)} is no regular file; name an .ini or .toml")
            with open(fd, "rb", closefd=False) as file:
                data = file.read(_MOST_BYTES + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(f"configuration {shown(path)} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"configuration {shown(path)} cannot be read: {error}") from error
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"configuration {shown(path)} is larger than 1 MiB; is it a trace?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"line {data.count(10, 0, error.start) + 1}, byte 0x{data[error.start]:02x}"
        raise ConfigError(f"configuration {shown(path)} is not UTF-8 ({where}); is it a trace?") from error


def _split_override(override: str) -> tuple[str, str]:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"override {shown(override)} is not KEY=VALUE; give one such as num_samples=2**20")
    return key.strip(), value.strip()
