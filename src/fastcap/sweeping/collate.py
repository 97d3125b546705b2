"""Arrays of what a sweep gave: one for each key that the analysis returned, shape ``(*axes, repeats, *value)``.

What is missing is NaN (empty text where values are texts), and the reason stands beside it. Mappings within a
result become keys joined by dots; truth values become 0 and 1. A value of another shape than the first one's is
missing, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcap.sweeping.journal import Entry
from fastcap.sweeping.order import Shot
from fastcap.sweeping.store import Store

Array = NDArray[Any]
Reasons = dict[tuple[int, ...], str]


def collate(store: Store) -> tuple[dict[str, Array], Reasons]:
    """Return the arrays by key, and for each place that misses something why."""
    done = store.done()
    reasons: Reasons = {shot.place: store.reason(shot) for shot in store.order if not store.is_done(shot)}
    for shot, entry in done:
        if entry["error"]:
            reasons[shot.place] = f"analysis: {entry['error']}"
    analysed = [(shot, dict(_flat(entry["values"]))) for shot, entry in done if entry["values"] is not None]
    keys = dict.fromkeys(key for _, values in analysed for key in values)
    shape = store.order.plan.shape
    arrays = {key: _array(key, shape, analysed, reasons) for key in keys}
    return arrays, reasons


def extras(store: Store) -> dict[str, Array]:
    """Return what is known beside the analysis: readbacks, directions, readings, attempts, files."""
    plan, order, done = store.order.plan, store.order, store.done()

    def numbers(value: Callable[[Shot, Entry], float | None]) -> Array:
        array = np.full(plan.shape, np.nan)
        for shot, entry in done:
            found = value(shot, entry)
            array[shot.place] = np.nan if found is None else found
        return array

    arrays: dict[str, Array] = {}
    for k, axis in enumerate(plan.axes):
        arrays[f"{axis.name}_readback"] = numbers(lambda _, e, name=axis.name: e["readback"].get(name))  # type: ignore[misc]
        arrays[f"{axis.name}_direction"] = np.array(order.legs[k].directions, dtype=np.int8)
    for name in plan.readings:
        arrays[name] = numbers(lambda _, e, name=name: e["readings"].get(name))  # type: ignore[misc]
    arrays["attempts"] = np.zeros(plan.shape, dtype=np.int32)
    arrays["file"] = np.full(plan.shape, "", dtype=object)
    for shot in order:
        arrays["attempts"][shot.place] = store.attempts(shot)
    for shot, entry in done:
        arrays["file"][shot.place] = entry["file"]
    arrays["file"] = arrays["file"].astype(str)
    return arrays


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _array(
    key: str, shape: tuple[int, ...], analysed: Sequence[tuple[Shot, Mapping[str, Any]]], reasons: Reasons
) -> Array:
    """Return the array of one key; notes where it misses something."""
    texts = any(_has_text(values[key]) for _, values in analysed if key in values)
    array: Array | None = None
    for shot, values in analysed:
        if key not in values:
            _because(reasons, shot, f"the analysis gave no '{key}'")
            continue
        value = _value(values[key], texts)
        if value is None:
            _because(reasons, shot, f"'{key}' has rows of several lengths; give an array or a number")
            continue
        if array is None:
            array = np.full((*shape, *value.shape), "" if texts else np.nan, dtype=object if texts else float)
        if value.shape != array.shape[len(shape) :]:
            _because(
                reasons,
                shot,
                f"'{key}' has shape {value.shape}, not {array.shape[len(shape) :]} as the others",
            )
            continue
        array[shot.place] = value if value.ndim else value.item()
    if array is None:
        array = np.full(shape, np.nan)
    return array.astype(str) if array.dtype == object else array


def _because(reasons: Reasons, shot: Shot, text: str) -> None:
    before = reasons.get(shot.place)
    reasons[shot.place] = f"{before}; {text}" if before else text


def _has_text(value: Any) -> bool:
    return any(map(_has_text, value)) if isinstance(value, list) else isinstance(value, str)


def _value(value: Any, texts: bool) -> Array | None:
    """Return a value of the result as an array; None where it is none."""
    try:
        if texts:
            return np.array(value, dtype=object)
        return np.array(value, dtype=float)  # None is NaN
    except (TypeError, ValueError):
        return None
