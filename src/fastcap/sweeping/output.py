"""Results as npz, CSV and xarray."""

from __future__ import annotations

import csv
import io
import itertools
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcap.errors import ConfigError, SinkError
from fastcap.whole_file import save_whole

if TYPE_CHECKING:
    from xarray import Dataset

    from fastcap.sweeping.results import Results

__all__ = ["to_csv", "to_npz", "to_xarray"]
_FACTS = ("dims", "units", "failed", "failed_at")


def to_npz(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write all arrays into one file, replaced whole. A result named as an axis or fact gets ``result_`` before it."""
    arrays: dict[str, Any] = {**results.coords, **results.extra}
    arrays |= {"dims": np.array(results.dims), "units": np.array([*results.units.values(), ""])}
    places = sorted(results.failed)
    arrays["failed"] = np.array([results.failed[place] for place in places], dtype=str)
    arrays["failed_at"] = np.array(places, dtype=np.int64).reshape(len(places), len(results.dims))
    for key in results:
        name = f"result_{key}" if key in arrays else key
        arrays[name.replace("/", "_")] = results[key]
    return _saved(Path(path), _archive(arrays))


def to_csv(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write a line for each place in the arrays, with the reason where something is missing."""
    columns: dict[str, Any] = {}
    shape = results.plan.shape
    for k, axis in enumerate(results.plan.axes):
        columns[_titled(axis.name, axis.unit)] = _spread(results.coords[axis.name], k, shape)
        columns[_titled(f"{axis.name}_readback", axis.unit)] = results.extra[f"{axis.name}_readback"]
        columns[f"{axis.name}_direction"] = _spread(results.extra[f"{axis.name}_direction"], k, shape)
    columns["repeat"] = _spread(np.arange(shape[-1]), len(shape) - 1, shape)
    columns["attempts"], columns["file"] = results.extra["attempts"], results.extra["file"]
    columns |= {name: results.extra[name] for name in results.plan.readings}
    for key in results:
        array = results[key]
        for inner in itertools.product(*map(range, array.shape[len(shape) :])):
            name = key + "".join(f"[{i}]" for i in inner)
            outer = (slice(None),) * len(shape)
            columns[f"result_{name}" if name in columns else name] = array[outer + inner]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*columns, "missing"])
    for place in itertools.product(*map(range, shape)):
        cells = [_cell(column[place]) for column in columns.values()]
        writer.writerow([*cells, results.failed.get(place, "")])
    return _saved(Path(path), text.getvalue().encode())


def to_xarray(results: Results) -> Dataset:
    """Return a dataset; see `Results.to_xarray`."""
    try:
        import xarray
    except ImportError as error:
        raise ConfigError("xarray is not installed: pip install 'fastcap[xarray]'") from error
    shape = results.plan.shape
    data: dict[str, Any] = {}
    for name, array in {**results.extra, **{key: results[key] for key in results}}.items():
        if name.endswith("_direction") and array.ndim == 1:
            data[name] = ((name.removesuffix("_direction"),), array)
            continue
        inner = tuple(f"{name}_{k}" for k in range(array.ndim - len(shape)))
        unit = results.units.get(name.removesuffix("_readback"), "")
        data[name] = ((*results.dims, *inner), array, {"units": unit} if unit else {})
    missing = np.full(shape, "", dtype=object)
    for place, why in results.failed.items():
        missing[place] = why
    data["missing"] = (results.dims, missing.astype(str))
    coords = {
        name: ((name,), values, {"units": results.units[name]}) for name, values in results.coords.items()
    }
    return xarray.Dataset(data, coords={**coords, "repeat": np.arange(shape[-1])},
                          attrs={"folder": str(results.folder), "source": results.plan.source})  # fmt: skip


def _archive(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays as an npz; numpy's own function does not take every name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _titled(name: str, unit: str) -> str:
    return f"{name}/{unit}" if unit else name


def _spread(values: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """Return one axis' values at every place."""
    return np.broadcast_to(values.reshape([-1 if k == axis else 1 for k in range(len(shape))]), shape)


def _cell(value: Any) -> Any:
    item = value.item() if hasattr(value, "item") else value
    return "" if isinstance(item, float) and np.isnan(item) else item


def _saved(path: Path, content: bytes) -> Path:
    try:
        save_whole(path, content)
    except OSError as error:
        raise SinkError(f"{path} cannot be written: {error.strerror}; name another place") from error
    return path
