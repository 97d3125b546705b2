"""Pictures of a sweep: results over one axis with both directions, or over two as images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastcap.sweeping.results import Results

__all__ = ["plot_results"]
_MOST = 4
_WAYS = ((1, "up", "^-", "C0"), (-1, "down", "v--", "C3"))


def plot_results(
    results: Results, key: str | Sequence[str] | None, path: str | os.PathLike[str] | None
) -> Figure:
    """Draw results; see `Results.plot`."""
    keys = [key] if isinstance(key, str) else list(key) if key is not None else _drawable(results)
    wide = [k for k, axis in enumerate(results.plan.axes) if len(axis.values) > 1] or [0]
    if len(wide) > 2:
        raise ValueError(
            f"{len(wide)} axes of several values cannot be drawn; take slices of res[key] yourself"
        )
    for name in keys:
        if results[name].ndim != len(results.plan.shape) or results[name].dtype.kind not in "fi":
            raise ValueError(f"'{name}' has shape {results[name].shape}: not one number for each recording")
    canvas = _canvas()
    sides = _directions(results, wide)
    height = min(3.2 * len(keys) + 0.8, 14)
    figure: Figure = canvas.new_figure((6 * len(sides) if len(wide) == 2 else 8, height), windowed=False)
    panels = figure.subplots(len(keys), len(sides) if len(wide) == 2 else 1, squeeze=False)
    for row, name in zip(panels, keys, strict=True):
        if len(wide) == 1:
            _draw_line(row[0], results, name, wide[0])
        else:
            for panel, side in zip(row, sides, strict=True):
                _draw_image(figure, panel, results, name, wide, side)
    figure.suptitle(_title(results, "mean and spread of" if len(wide) == 1 else "mean of"), fontsize="medium")
    if path is not None:
        _save(figure, Path(path))
    return figure


def _drawable(results: Results) -> list[str]:
    keys = [
        key for key in results
        if results[key].ndim == len(results.plan.shape) and results[key].dtype.kind in "fi"
    ][:_MOST]  # fmt: skip
    if not keys:
        raise ValueError("there is nothing to draw: no result is one number for each recording; name a key")
    return keys


def _directions(results: Results, wide: Sequence[int]) -> list[int]:
    """Return the directions of the last axis that is drawn."""
    found = results.extra[f"{results.plan.axes[wide[-1]].name}_direction"]
    return [way for way in (1, -1) if way in found]


def _draw_line(panel: Any, results: Results, key: str, k: int) -> None:
    axis = results.plan.axes[k]
    mean, std = (
        np.moveaxis(a, k, 0).reshape(len(axis.values), -1)[:, 0]
        for a in (results.mean(key), results.std(key))
    )
    setpoints, ways = results.coords[axis.name], results.extra[f"{axis.name}_direction"]
    for way, label, style, color in _WAYS:
        there = ways == way
        if there.any():
            panel.errorbar(
                setpoints[there], mean[there], std[there] if results.plan.repeats > 1 else None, fmt=style,
                color=color, label=label, markersize=4, linewidth=1, capsize=2,
            )  # fmt: skip
    missing = np.isnan(mean)
    for k_missing, value in enumerate(setpoints[missing]):
        panel.axvline(value, color="0.8", zorder=0, label="missing" if not k_missing else None)
    panel.set(xlabel=_label(axis.name, axis.unit), ylabel=key)
    panel.grid(alpha=0.3)
    if len(set(ways.tolist())) > 1 or missing.any():
        panel.legend()


def _draw_image(figure: Any, panel: Any, results: Results, key: str, wide: Sequence[int], side: int) -> None:
    """Draw the part of a map in which the last axis moves one way; colours are the same for both ways."""
    (y, x), axes = wide, results.plan.axes
    table = np.moveaxis(results.mean(key), (y, x), (0, 1))
    table = np.ma.masked_invalid(table.reshape(*table.shape[:2], -1)[:, :, 0])
    there = results.extra[f"{axes[x].name}_direction"] == side
    rows = results.extra[f"{axes[y].name}_direction"] == 1 if _twice(axes[y].values) else slice(None)
    xs, ys = results.coords[axes[x].name][there], results.coords[axes[y].name][rows]
    part = table[rows][:, there][np.argsort(ys)][:, np.argsort(xs)]
    image = panel.pcolormesh(
        np.sort(xs), np.sort(ys), part, shading="nearest", vmin=table.min(), vmax=table.max()
    )
    panel.set_facecolor("0.8")
    panel.set(xlabel=_label(axes[x].name, axes[x].unit), ylabel=_label(axes[y].name, axes[y].unit))
    panel.set_title(f"{axes[x].name} {'up' if side > 0 else 'down'}", fontsize="small")
    figure.colorbar(image, ax=panel, label=key)


def _twice(values: Sequence[float]) -> bool:
    return len(set(values)) < len(values)


def _label(name: str, unit: str) -> str:
    return f"{name} / {unit}" if unit else name


def _title(results: Results, shown: str) -> str:
    repeats = f", {shown} {results.plan.repeats} repeats" if results.plan.repeats > 1 else ""
    missing = f", {len(results.failed)} missing" if results.failed else ""
    return f"{results.folder.name}: {results.done} recordings{repeats}{missing}"


def _save(figure: Any, target: Path) -> None:
    try:
        figure.write(target)
    except (OSError, ValueError) as error:
        raise ConfigError(f"picture {target} cannot be written: {error}; name another") from error


def _canvas() -> Any:
    try:
        from fastcap import _figure
    except ImportError as error:
        raise ConfigError(
            "drawing needs matplotlib, which is not installed: pip install 'fastcap[plot]'"
        ) from error
    return _figure
