"""Write a trace's values for other programs: ``.npz``, ``.csv``, ``.nc`` (netCDF), with units and times.

Every format is streamed: memory does not grow with the window. A file appears when it is complete, and never
replaces another.
"""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap._newfile import new_file
from fastcap._table import LOST, TIME, Table
from fastcap.errors import ConfigError

if TYPE_CHECKING:
    from fractions import Fraction

    import xarray

    from fastcap.trace import Trace
    from fastcap.units import Duration

Progress = Callable[[int, int], object]


def export(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    what: Sequence[str] | None = None,
    start: Duration | None = None,
    duration: Duration | None = None,
    rate: str | float | Fraction | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write values of a trace, or of a window of it, to a new file.

    Parameters
    ----------
    trace : Trace
        What to export.
    path : path
        Its ending says the format: ``.npz`` and ``.csv`` have columns named with their units (``time_s``,
        ``phase_turns``, ``radius_counts``, ``i_counts``, ``q_counts``, ``m_turns``); ``.nc`` has the
        coordinate ``time`` and variables named as in ``what`` with a ``units`` attribute each. Times are
        seconds after ``start`` (to the microsecond; ``start_ns``: exactly, in nanoseconds since 1970), which ``.npz``
        and ``.nc`` hold, too: that of the file's first word. All say
        how many words of the window were lost: ``words_lost`` in ``.npz`` and as an attribute in ``.nc``; in
        ``.csv`` a column ``words_lost``, which is there only if any were, says how many right before each row
        (before or behind the last one), so that its sum is theirs.
    what : sequence of str, optional
        Of "phase", "radius", "i", "q", "m"; default: phase and radius.
    start, duration : str or number, optional
        The window, as for `Trace.window`.
    rate : str or number, optional
        Decimate the phase to this rate, as ``trace.phase(rate=...)`` does.
    progress : callable, optional
        Called with values written so far and in all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        The file exists, its ending or ``what`` is unknown, or a package for it is missing.
    ValueError
        The window reaches beyond the trace, all its words were lost, or the rate does not fit.
    SinkError
        The file system refused. Nothing is left behind.
    """
    target = Path(path)
    write = _WRITERS.get(target.suffix.lower())
    if write is None:
        raise ConfigError(
            f"{target}: ending '{target.suffix}' is not one of {', '.join(_WRITERS)}; choose one"
        )
    if write is _write_netcdf:
        _h5netcdf()
    with new_file(target) as part:
        table = Table(trace, what, start, duration, rate)
        write(part, table, _Counter(table, progress))
    return target


def to_xarray(
    trace: Trace,
    *,
    what: Sequence[str] | None = None,
    start: Duration | None = None,
    duration: Duration | None = None,
    rate: str | float | Fraction | None = None,
) -> xarray.Dataset:
    """Return values of a trace as a Dataset in memory: coordinate ``time`` in seconds, units as attributes.

    Parameters
    ----------
    trace, what, start, duration, rate
        As for `export`.

    Raises
    ------
    ConfigError
        xarray is not installed, or ``what`` is unknown.
    ValueError
        The window reaches beyond the trace, or the rate does not fit.
    """
    try:
        import xarray
    except ImportError as error:
        raise _missing("xarray") from error
    table = Table(trace, what, start, duration, rate)
    name = table.coordinate.name
    variables: dict[str, Any] = {}
    for column in (table.coordinate, *table.columns):
        values = np.empty(table.rows, column.dtype)
        at = 0
        for block in table.values(column):
            values[at : at + block.size] = block
            at += block.size
        variables[column.name] = ((name,), values, {"units": column.unit, "long_name": column.long_name})
    coordinate = {name: variables.pop(name)}
    return xarray.Dataset(variables, coords=coordinate, attrs=table.facts())


class _Counter:
    """Counts values for a progress bar."""

    def __init__(self, table: Table, tell: Progress | None) -> None:
        self._tell, self._total, self._done = tell, table.rows * (len(table.columns) + 1), 0

    def add(self, values: int) -> None:
        self._done += values
        if self._tell is not None:
            self._tell(self._done, self._total)


def _write_npz(part: Path, table: Table, counter: _Counter) -> None:
    """Write one member after the other, each as NumPy's own format has it; stored, as np.savez does."""
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for column in (table.coordinate, *table.columns):
            shape = {"descr": column.dtype, "fortran_order": False, "shape": (table.rows,)}
            with archive.open(f"{column.full_name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, shape)
                for block in table.values(column):
                    member.write(np.ascontiguousarray(block).data.cast("B"))
                    counter.add(block.size)
        for name, value in table.facts().items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def _write_csv(part: Path, table: Table, counter: _Counter) -> None:
    """Write a line of names, then a line a row; a float is written with as many digits as give it back."""
    with part.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = (table.coordinate, *table.columns, *((LOST,) if table.words_lost else ()))
        writer.writerow([column.full_name for column in columns])
        for blocks in zip(*map(table.values, columns), strict=True):
            writer.writerows(zip(*(block.tolist() for block in blocks), strict=True))
            counter.add(sum(block.size for block in blocks[: 1 + len(table.columns)]))


def _write_netcdf(part: Path, table: Table, counter: _Counter) -> None:
    """Write netCDF4 with a coordinate variable; `xarray.open_dataset` reads it."""
    name = table.coordinate.name
    with _h5netcdf().File(part, "w") as file:
        file.dimensions = {name: table.rows}
        file.attrs.update(table.facts())
        for column in (table.coordinate, *table.columns):
            variable = file.create_variable(column.name, (name,), dtype=column.dtype)
            variable.attrs.update({"units": column.unit, "long_name": column.long_name})
            if column is TIME:
                variable.attrs["standard_name"] = "time"
            at = 0
            for block in table.values(column):
                variable[at : at + block.size] = block
                at += block.size
                counter.add(block.size)


_WRITERS: dict[str, Callable[[Path, Table, _Counter], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".nc": _write_netcdf,
}


def _h5netcdf() -> Any:
    try:
        import h5netcdf
        import h5py  # noqa: F401 - what h5netcdf writes with, and need not bring along
    except ImportError as error:
        raise _missing(error.name or "h5netcdf") from error
    return h5netcdf


def _missing(package: str) -> ConfigError:
    return ConfigError(f"this needs {package}, which is not installed: pip install 'fastcap[xarray]'")
