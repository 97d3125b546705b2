"""Pictures of a trace: phase, radius with its histogram, spectrum, gaps and stalls.

The work is in `fastcap._survey` (what to show), `fastcap._caption` (what to say) and `fastcap._picture`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError, StreamFormatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastcap.overview import Overview
    from fastcap.sidecar import Gap
    from fastcap.trace import Trace
    from fastcap.units import Duration


def plot_trace(
    trace: Trace,
    path: str | os.PathLike[str] | None = None,
    *,
    start: Duration | None = None,
    duration: Duration | None = None,
) -> Figure:
    """Draw a trace of any size, in fixed memory; every word counts in the envelopes.

    Parameters
    ----------
    trace : Trace
        With a known rate. Its file's sidecar, if there is one, tells of stalls and losses.
    path : path, optional
        Where to write the picture; its ending says the format. A picture that is there is replaced.
    start, duration : str or number, optional
        The part to draw, as for `Trace.window`: ``"1.5s"``, ``"5min"``, a number of seconds.

    Returns
    -------
    Figure
        A notebook shows it; ``matplotlib.pyplot.show()`` does where pyplot was imported before.

    Raises
    ------
    ConfigError
        matplotlib is missing, or the picture cannot be written.
    StreamFormatError
        The trace holds no words, or its rate is not known.
    ValueError
        The part is empty or reaches beyond the trace.
    """
    canvas = _canvas()
    figure: Figure = _drawn(
        canvas, trace, start, duration, windowed=path is None and canvas.pyplot_is_interactive()
    )
    if path is not None:
        _save(figure, Path(path))
    return figure


def plot_file(
    path: str | os.PathLike[str],
    png: str | os.PathLike[str] | None = None,
    *,
    start: Duration | None = None,
    duration: Duration | None = None,
    payload: str = "auto",
) -> Path | None:
    """Draw a file; without ``png`` open a window, or, where there is no display, write ``NAME.png`` beside it.

    Parameters
    ----------
    payload : str, optional
        As for `fastcap.load`.

    Returns
    -------
    Path or None
        Where the picture is; None after it was shown in a window, which blocks until that is closed.

    Raises
    ------
    ConfigError, StreamFormatError, ValueError
        As `plot_trace`; StreamFormatError, too, if the file cannot be read.
    """
    from fastcap.trace import load

    canvas = _canvas()
    figure = _drawn(
        canvas, load(path, payload=payload), start, duration, windowed=png is None and _has_display()
    )
    if png is None and canvas.has_window(figure):
        from matplotlib import pyplot

        pyplot.show()
        return None
    beside = Path(path).with_name(Path(path).name.removesuffix(".bin") + ".png")
    return _save(figure, beside if png is None else Path(png))


def save_overview(
    facts: Mapping[str, Any], overview: Overview, gaps: Sequence[Gap], png: str | os.PathLike[str]
) -> Path:
    """Draw what was gathered of a stream that no file holds, from its first word to its last.

    Parameters
    ----------
    facts : mapping
        ``path`` (a title), ``sample_rate_hz``, ``words``, ``stalls``, ``command``, ``words_lost``, ``board``,
        ``started``, ``meta``.
    overview : Overview
        Every word of it.
    gaps : sequence of Gap
        What is missing in it.

    Raises
    ------
    ConfigError
        matplotlib is missing, or the picture cannot be written.
    StreamFormatError
        There is nothing to draw, or the rate is not known.
    """
    from fastcap._picture import SIZE_INCHES, draw

    if not facts["sample_rate_hz"]:
        raise StreamFormatError(f"{facts['path']}: the word rate is not known, so there is no time axis")
    if not overview.words:
        raise StreamFormatError(f"{facts['path']}: not a word was seen, so there is nothing to draw")
    figure = _canvas().new_figure(SIZE_INCHES, windowed=False)
    draw(figure, overview.survey(facts["sample_rate_hz"], gaps), facts)
    return _save(figure, Path(png))


def _drawn(
    canvas: Any, trace: Trace, start: Duration | None, duration: Duration | None, *, windowed: bool
) -> Any:
    from fastcap._caption import facts_of
    from fastcap._picture import SIZE_INCHES, draw
    from fastcap._survey import survey

    found = survey(trace, start, duration)
    figure = canvas.new_figure(SIZE_INCHES, windowed=windowed)
    draw(figure, found, facts_of(trace))
    return figure


def _save(figure: Any, target: Path) -> Path:
    try:
        figure.write(target)
    except (OSError, ValueError) as error:
        raise ConfigError(f"picture {target} cannot be written: {error}; name another with -o") from error
    return target


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _canvas() -> Any:
    """Return `fastcap._figure`, or say what is missing."""
    try:
        from fastcap import _figure
    except ImportError as error:
        raise ConfigError(
            "drawing needs matplotlib, which is not installed: pip install 'fastcap[plot]'"
        ) from error
    return _figure
