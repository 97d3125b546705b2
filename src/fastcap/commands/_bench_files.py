"""Where pictures and pages of a bench go: checked before an hour of measuring, not after it."""

from __future__ import annotations

import os
from importlib.util import find_spec

from fastcap.errors import ConfigError

_PICTURES = (".png", ".pdf", ".svg")


def check_targets(plot: str | None, html: str | None, *others: str | None) -> None:
    """Say now what could not be written later.

    Raises
    ------
    ConfigError
    """
    drawn = plot is not None or html is not None
    if drawn and find_spec("matplotlib") is None:
        raise ConfigError(
            "--plot and --html need matplotlib, which is not installed: pip install 'fastcap[plot]'"
        )
    if plot is not None and os.path.splitext(plot)[1].lower() not in _PICTURES:
        raise ConfigError(f"--plot {plot} is no picture's name; give one that ends in {', '.join(_PICTURES)}")
    for path in (plot, html, *others):
        if path is not None and os.path.isdir(os.path.abspath(path)):
            raise ConfigError(f"'{path}' is a directory; name a file in it")
        if path is not None and os.path.exists(path) and not os.access(path, os.W_OK):
            raise ConfigError(f"{path} is there and must not be written; name another file")
        folder = os.path.dirname(os.path.abspath(path)) if path is not None else None
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(
                f"{path} cannot be written: {folder} is no directory to write in; name another file"
            )
