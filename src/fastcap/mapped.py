"""What a function gave for each window: mean and spread, and a folder that keeps them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap._fingerprint import fingerprint, name_of
from fastcap._messages import shown
from fastcap.decimate import start_ns
from fastcap.errors import ConfigError

if TYPE_CHECKING:
    from fastcap.windows import Window

__all__ = ["MapResult", "Store", "Summary"]

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Arrays = Floats | dict[str, Floats]

_MANIFEST = "map.json"
_EDGE_WORDS = 64
_PLAIN = ""  # the name of a value that is in no dict


class Moments(msgspec.Struct):
    """Running mean and spread of arrays of one shape, element by element (Welford, 1962); NaN does not count."""

    count: NDArray[np.int64]
    mean: Floats
    m2: Floats

    def add(self, value: Floats) -> None:
        """Take in one more array."""
        there = ~np.isnan(value)
        self.count += there
        delta = np.where(there, value - self.mean, 0.0)
        self.mean += delta / np.maximum(self.count, 1)
        self.m2 += delta * np.where(there, value - self.mean, 0.0)


class Summary(msgspec.Struct, frozen=True):
    """Mean and spread of all values of one window, by name."""

    moments: dict[str, Moments]

    @classmethod
    def of(cls, given: Any) -> Summary:
        """Return the summary of what a function gave.

        Raises
        ------
        TypeError
            It is no number, array or dict of these, nor a list or generator of such.
        ValueError
            Values of a list differ in shape or names.
        """
        several = isinstance(given, list | tuple | GeneratorType)
        moments: dict[str, Moments] = {}
        for k, value in enumerate(given if several else [given]):
            named = (
                {str(n): _array(v) for n, v in value.items()}
                if isinstance(value, dict)
                else {_PLAIN: _array(value)}
            )
            if k == 0:
                moments = {
                    n: Moments(np.zeros(a.shape, np.int64), np.zeros(a.shape), np.zeros(a.shape))
                    for n, a in named.items()
                }
            if {n: a.shape for n, a in named.items()} != {n: m.mean.shape for n, m in moments.items()}:
                raise ValueError(
                    f"value {k} of a window has other names or shapes than those before: give equal ones"
                )
            for name, array in named.items():
                moments[name].add(array)
        return cls(moments)


def _array(value: Any) -> Floats:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"the function gave {type(value).__name__} of {array.dtype}; give real numbers, arrays, or dicts of these"
        )
    return array.astype(np.float64)


class MapResult(msgspec.Struct, frozen=True):
    """Mean and spread of each window's values.

    Attributes
    ----------
    time : (n,) datetime64[ns]
        The windows' starts, UTC.
    length_s : float
        How long each is.
    fill : (n,) float64
        Share of each that was recorded.
    mean, spread : (n, ...) float64, or a dict of them by name
        Mean and standard deviation (ddof 0) of a window's values; that of a single value is 0. NaN where
        there was none but NaN.
    count : (n, ...) int64, or a dict of them by name
        How many values that were of.
    """

    time: NDArray[np.datetime64]
    length_s: float
    fill: Floats
    mean: Any
    spread: Any
    count: Any

    @classmethod
    def of(cls, windows: Sequence[Window], summaries: Sequence[Summary]) -> MapResult:
        """Stack the windows' summaries.

        Raises
        ------
        ValueError
            Windows' values differ in shape or names.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for window, summary in zip(windows, summaries, strict=True):
            for name, moments in summary.moments.items():
                if shapes.setdefault(name, moments.mean.shape) != moments.mean.shape:
                    what = f" {name}" if name else ""
                    raise ValueError(
                        f"the value{what} of the window of {window.start.isoformat()} has the shape "
                        f"{moments.mean.shape}, windows before it {shapes[name]}; give equal ones"
                    )
        columns = {
            name: _stacked([s.moments.get(name) for s in summaries], shape) for name, shape in shapes.items()
        }
        plain = set(shapes) <= {_PLAIN}
        mean, spread, count = (
            columns.get(_PLAIN, (np.empty(0),) * 3)[k] if plain else {n: c[k] for n, c in columns.items()}
            for k in range(3)
        )
        return cls(
            time=np.array([start_ns(window.start) for window in windows], dtype="datetime64[ns]"),
            length_s=(windows[0].stop - windows[0].start).total_seconds() if windows else 0.0,
            fill=np.array([window.fill for window in windows], dtype=np.float64),
            mean=mean,
            spread=spread,
            count=count,
        )


def _stacked(all_moments: Sequence[Moments | None], shape: tuple[int, ...]) -> tuple[Floats, Floats, Any]:
    size = (len(all_moments), *shape)
    mean, spread, count = np.full(size, np.nan), np.full(size, np.nan), np.zeros(size, np.int64)
    for k, moments in enumerate(all_moments):
        if moments is not None:
            count[k] = moments.count
            mean[k] = np.where(moments.count, moments.mean, np.nan)
            spread[k] = np.where(moments.count, np.sqrt(moments.m2 / np.maximum(moments.count, 1)), np.nan)
    return mean, spread, count


class Store:
    """A folder that keeps the summaries of windows: `map.json`, which says of what they are, and a file for each.

    Raises
    ------
    ConfigError
        The folder holds something else, or results of another function or grid.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        function: Callable[..., Any],
        length: timedelta,
        origin: datetime,
    ) -> None:
        self._folder = Path(folder)
        wanted = {
            "function": _called(function),
            "fingerprint": fingerprint(function),
            "length_s": length.total_seconds(),
            "origin": origin.isoformat(),
        }
        manifest = self._folder / _MANIFEST
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if manifest.exists():
                self._compare(json.loads(manifest.read_text()), wanted)
            elif any(self._folder.iterdir()):
                raise ConfigError(f"{folder}: holds other files; name a folder of its own for results")
            else:
                _write(manifest, json.dumps(wanted, indent=2).encode() + b"\n")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder}: cannot keep results: {error}; name another folder") from error

    def _compare(self, held: dict[str, Any], wanted: dict[str, Any]) -> None:
        if all(held.get(key) == value for key, value in wanted.items() if key != "function"):
            return
        if held.get("fingerprint") != wanted["fingerprint"]:
            what = f"function {held.get('function')!r}, which is not {wanted['function']!r} as it is now"
        else:
            what = f"windows of {held.get('length_s')} s from {held.get('origin')}"
        raise ConfigError(f"{self._folder}: holds results of {what}; name another folder, or remove this one")

    def _file(self, window: Window) -> Path:
        return self._folder / f"{window.start.astimezone(UTC):%Y-%m-%dT%H-%M-%S.%f}.npz"

    def load(self, window: Window) -> Summary | None:
        """Return what is kept of a window; None if there is nothing, or its words were others."""
        path = self._file(window)
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["words"]) != _identity(window):
                    logger.info("%s: the window's words have changed since; it is done anew", path)
                    return None
                names = [str(name) for name in held["names"]]
                return Summary(
                    {
                        n: Moments(*(held[f"{part}{k}"] for part in ("count", "mean", "m2")))
                        for k, n in enumerate(names)
                    }
                )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s: cannot be read (%s); the window is done anew", path, error)
            return None

    def save(self, window: Window, summary: Summary) -> None:
        """Keep a window's summary.

        Raises
        ------
        ConfigError
            The folder cannot be written to.
        """
        import io

        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(_members(window, summary)))
        try:
            _write(self._file(window), buffer.getvalue())
        except OSError as error:
            raise ConfigError(
                f"{self._folder}: cannot keep results: {error}; make room, and run again"
            ) from error


def _called(function: Callable[..., Any]) -> str:
    """Return a function's name, and the settings that it was given beforehand."""
    if not isinstance(function, partial):
        return name_of(function)
    settings = [*map(shown, function.args), *(f"{k}={shown(v)}" for k, v in function.keywords.items())]
    return f"{name_of(function)}({', '.join(settings)})"


def _members(window: Window, summary: Summary) -> Iterator[tuple[str, Any]]:
    yield "words", np.array(_identity(window))
    yield "names", np.array(list(summary.moments), dtype=np.str_)
    for k, moments in enumerate(summary.moments.values()):
        yield f"count{k}", moments.count
        yield f"mean{k}", moments.mean
        yield f"m2{k}", moments.m2


def _identity(window: Window) -> str:
    """Return what tells a window's words from others: their places, and the words at both ends of each part."""
    digest = hashlib.blake2b(digest_size=16)
    for stretch in window.stretches():
        digest.update(f"{stretch.at} {len(stretch.parts)}\n".encode())
        for part in stretch.parts:
            digest.update(f"{os.path.basename(part.path or '')} {part._begin} {part._end}\n".encode())
            for edge in (part[:_EDGE_WORDS], part[-_EDGE_WORDS:]):
                digest.update(edge.words.tobytes())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
