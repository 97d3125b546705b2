"""The figure that a trace is drawn into; the only module that imports matplotlib's figures."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DPI = 100


class TraceFigure(Figure):
    """A figure that a notebook shows by itself, whether or not pyplot is in use."""

    def write(self, target: Path) -> None:
        """Write the picture in the format that the name's ending says."""
        if target.suffix.lower() == ".png":
            self._print_png(target)
        else:
            self.savefig(target)

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self._print_png(target)
        return target.getvalue()

    def _print_png(self, target: Path | io.BytesIO) -> None:
        """Draw once; `savefig` draws everything twice, which here takes longer than gathering the data."""
        shown_on = self.canvas
        try:
            canvas: Any = FigureCanvasAgg(self)
            canvas.print_png(target)
        finally:
            self.set_canvas(shown_on)


def plain_text(text: str) -> str:
    """Return what may stand in a picture: no formula, no undecodable bytes, no label that a legend hides."""
    shown = text.encode(errors="replace").decode().replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def new_figure(size_inches: tuple[float, float], *, windowed: bool) -> TraceFigure:
    """Return an empty figure; one that pyplot knows of, if it is to have a window."""
    if not windowed:
        return TraceFigure(figsize=size_inches, dpi=_DPI, layout="constrained")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=size_inches, dpi=_DPI, layout="constrained", FigureClass=TraceFigure)
    assert isinstance(figure, TraceFigure)
    return figure


def has_window(figure: Any) -> bool:
    """Whether ``figure`` can be shown: without a toolkit, pyplot falls back to files."""
    return getattr(figure.canvas, "required_interactive_framework", None) is not None


def pyplot_is_interactive() -> bool:
    """Whether the user has imported pyplot already, with windows."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return False
    framework = getattr(pyplot._get_backend_mod().FigureCanvas, "required_interactive_framework", None)
    return framework is not None
