"""The results of a sweep: arrays over its axes, where they come from, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcap._messages import did_you_mean
from fastcap.sweeping.collate import Array, collate, extras
from fastcap.sweeping.journal import read_journal
from fastcap.sweeping.order import Order
from fastcap.sweeping.plan import RESULTS, Plan, load_plan
from fastcap.sweeping.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import Dataset

__all__ = ["Results", "load_sweep"]


class Results(Mapping[str, Array]):
    """What a sweep gave; a mapping of names to arrays.

    ``res["mean"]`` has shape ``(*axes, repeats, *value)``. What is missing is NaN, and `failed` says why. Names
    are those of the dict that the analysis returned; axes, readings, ``NAME_readback``, ``NAME_direction``,
    ``attempts`` and ``file`` can be asked for, too.

    Attributes
    ----------
    folder : Path
        The sweep's folder, with every recording.
    plan : Plan
        What was swept.
    dims : tuple of str
        Names of the arrays' first dimensions: the axes, then ``repeat``.
    coords, units : dict
        Setpoints and unit of every axis.
    extra : dict of str to array
        Readbacks, directions, readings, attempts, files.
    failed : dict of tuple to str
        For each place in the arrays that misses something: why.
    """

    def __init__(self, folder: str | os.PathLike[str], store: Store) -> None:
        self.folder = Path(folder)
        self.plan: Plan = store.order.plan
        self.dims = (*(axis.name for axis in self.plan.axes), "repeat")
        self.coords = {axis.name: np.array(axis.values) for axis in self.plan.axes}
        self.units = {axis.name: axis.unit for axis in self.plan.axes}
        self._store = store
        self._arrays, self.failed = collate(store)
        self.extra = extras(store)
        for shot, entry in store.done():
            for name, why in entry.get("reading_errors", {}).items():
                before = self.failed.get(shot.place)
                self.failed[shot.place] = f"{before}; " * bool(before) + f"reading {name}: {why}"

    @property
    def done(self) -> int:
        """How many recordings are complete and verified."""
        return len(self._store.done())

    @property
    def complete(self) -> bool:
        """Every recording of the plan is done and nothing is missing."""
        return not self.failed

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict for each recording that is done: setpoints, readbacks, file, readings, values."""
        return [self._store.row(shot, entry) for shot, entry in self._store.done()]

    def __getitem__(self, key: str) -> Array:
        for held in (self._arrays, self.extra, self.coords):
            if key in held:
                return held[key]
        known = [*self._arrays, *self.extra, *self.coords]
        raise KeyError(f"'{key}' is no result{did_you_mean(str(key), known)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def mean(self, key: str) -> NDArray[np.float64]:
        """Return the mean over repeats, missing ones left out; NaN where there is none."""
        return _over_repeats(self[key], len(self.plan.axes), np.nanmean)

    def std(self, key: str) -> NDArray[np.float64]:
        """Return the standard deviation over repeats (ddof 0), missing ones left out."""
        return _over_repeats(self[key], len(self.plan.axes), np.nanstd)

    def files(self) -> list[Path]:
        """Return the files of the recordings that are done, in the plan's order."""
        return [self.folder / entry["file"] for _, entry in self._store.done()]

    def to_npz(self, path: str | os.PathLike[str]) -> Path:
        """Write all arrays; axes under their names, reasons as ``failed`` and ``failed_at``."""
        from fastcap.sweeping.output import to_npz

        return to_npz(self, path)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write a line for each recording of the plan; values that are arrays in columns ``key[0]``, …."""
        from fastcap.sweeping.output import to_csv

        return to_csv(self, path)

    def to_xarray(self) -> Dataset:
        """Return a dataset with axes as coordinates and units as attributes.

        Raises
        ------
        ConfigError
            xarray is missing.
        """
        from fastcap.sweeping.output import to_xarray

        return to_xarray(self)

    def plot(
        self, key: str | Sequence[str] | None = None, path: str | os.PathLike[str] | None = None
    ) -> Figure:
        """Draw results over one axis, with both directions, or over two as images.

        Parameters
        ----------
        key : str or sequence of str, optional
            Default: the first results that are numbers, four at most.
        path : path, optional
            Where to write the picture.

        Raises
        ------
        ConfigError
            matplotlib is missing, or the picture cannot be written.
        ValueError
            There are more than two axes of several values, or nothing to draw.
        """
        from fastcap.sweeping.picture import plot_results

        return plot_results(self, key, path)

    def reanalyse(self, analyse: str | Callable[..., Mapping[str, Any]], *, progress: bool = True) -> Results:
        """Analyse every recording that is done again, from its file; return the new results, also saved.

        Nothing is recorded, no device is needed. Where the function fails, the reason is kept.

        Raises
        ------
        ConfigError
            It is a function of blocks, or none.
        SweepError
            The sweep is running in another program.
        """
        from fastcap.sweeping.again import reanalyse

        return reanalyse(self, analyse, progress=progress)

    def __repr__(self) -> str:
        shape = " x ".join(f"{len(v)} {name}" for name, v in self.coords.items())
        missing = f", {len(self.failed)} with something missing (see .failed)" if self.failed else ""
        keys = ", ".join(self._arrays) or "no values"
        total = len(self._store.order)
        return f"<Results of {self.folder}: {shape} x {self.plan.repeats}, {self.done}/{total} done{missing}; {keys}>"


def _over_repeats(array: Array, axis: int, function: Callable[..., Any]) -> NDArray[np.float64]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a point where all is missing
        return np.asarray(function(array, axis=axis), dtype=float)


def save_results(results: Results) -> None:
    """Replace the arrays and the table in the sweep's folder."""
    results.to_npz(results.folder / RESULTS)
    results.to_csv((results.folder / RESULTS).with_suffix(".csv"))


def load_sweep(folder: str | os.PathLike[str]) -> Results:
    """Return the results of a sweep, finished or not, from its folder.

    Raises
    ------
    SweepError
        It is no sweep's folder, or plan or journal are damaged.
    """
    return Results(folder, Store(Order(load_plan(folder)), read_journal(folder)))
