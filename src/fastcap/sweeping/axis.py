"""What is stepped: targets, values, and from which side a value is approached.

A *leg* is a stretch of values that goes one way. It begins at its turning point: the value where the way changed,
or the first one. A value is reached as the sweep would reach it only from a place between the two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap._messages import shown
from fastcap.devices.setting import as_number, within
from fastcap.errors import ConfigError
from fastcap.units import parse_duration_s

__all__ = ["Axis", "Legs", "legs_of", "linspace", "updown"]


def linspace(start: float, stop: float, n: int) -> NDArray[np.float64]:
    """Return ``n`` values from ``start`` to ``stop``, both included, evenly spaced.

    Raises
    ------
    ValueError
        A limit is not a finite number, or ``n`` is below 1.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"{shown(n)} points: give a whole number of at least 1")
    return np.linspace(as_number(start, "start"), as_number(stop, "stop"), int(n))


def updown(start: float, stop: float, n: int) -> NDArray[np.float64]:
    """Return ``2 n`` values: from ``start`` to ``stop``, then back; the far end is visited twice.

    Raises
    ------
    ValueError
        A limit is not a finite number, ``n`` is below 1, or 1 though the limits differ.

    >>> updown(0, 4, 3).tolist()
    [0.0, 2.0, 4.0, 4.0, 2.0, 0.0]
    """
    there = linspace(start, stop, n)
    if len(there) < 2 and there[0] != as_number(stop, "stop"):
        raise ValueError(f"{shown(n)} point does not reach {stop:g}; give 2 or more")
    return np.concatenate([there, there[::-1]])


class Axis:
    """A quantity that a sweep steps.

    Parameters
    ----------
    target : Setting, SCPI, Command or callable
        What has a ``set`` is set by it, anything else is called with the value. A number that comes back is
        the readback.
    values : sequence of float
        In the order in which they are visited; see `updown` and `linspace`.
    name, unit : str, optional
        Default: the target's.
    settle : str or float
        How long to wait after a change, before recording: ``"2s"``.
    get : callable, optional
        What to ask for the readback instead.
    limits : (float, float), optional
        What may be set, beside the target's own limits.

    Raises
    ------
    ValueError
        There are no values, one is not finite or beyond the limits, or ``settle`` is no time.
    ConfigError
        The target can be neither set nor called, or the name is empty.
    """

    def __init__(
        self,
        target: Any,
        values: Sequence[float] | NDArray[Any],
        *,
        name: str | None = None,
        unit: str | None = None,
        settle: str | float = 0,
        get: Callable[[], float] | None = None,
        limits: tuple[float, float] | None = None,
    ) -> None:
        self.target = target
        self._set: Callable[[float], Any] = _setter(target)
        self.name = str(name or getattr(target, "name", None) or getattr(target, "__name__", None) or "axis")
        self.unit = str(getattr(target, "unit", "") if unit is None else unit)
        self.settle_s = float(parse_duration_s(settle))
        self.limits = limits
        self._get = get
        if get is not None and not callable(get):
            raise ConfigError(f"axis {self.name}: get of {shown(get)} cannot be called; give a function")
        self.values = tuple(self._checked(value) for value in np.ravel(np.asarray(values, dtype=object)))
        if not self.values:
            raise ValueError(f"axis {self.name} has no values; give at least one, or fc.updown(0, 4, 41)")

    def _checked(self, value: Any) -> float:
        if self.limits is not None:
            within(value, self.name, self.unit, self.limits)
        check = getattr(self.target, "check", None)
        return float(check(value)) if callable(check) else as_number(value, self.name)

    def set(self, value: float) -> float:
        """Set the quantity; return the readback, NaN where there is none. Blocks until it is set."""
        said = self._set(value)
        if self._get is not None:
            said = self._get()
        if said is None or isinstance(said, bool | str | bytes):
            return math.nan
        try:
            return float(said)
        except (TypeError, ValueError):
            return math.nan

    def __repr__(self) -> str:
        ends = f"{self.values[0]:g} … {self.values[-1]:g} {self.unit}".strip()
        return f"<Axis {self.name}: {len(self.values)} values, {ends}>"


def _setter(target: Any) -> Callable[[float], Any]:
    setter = getattr(target, "set", None)
    if callable(setter):
        return setter  # type: ignore[no-any-return]
    if callable(target):
        return target  # type: ignore[no-any-return]
    raise ConfigError(
        f"axis target {shown(target)} can be neither set nor called; give a Setting such as "
        "voa.channel(0).volt, fc.SCPI, fc.Command or a function"
    )


class Legs(msgspec.Struct, frozen=True):
    """From which side each value of an axis is approached.

    Attributes
    ----------
    directions : tuple of int
        +1 or -1 for each value; of equal neighbours the later one belongs to what follows.
    turns : tuple of int
        For each value, the place of its leg's turning point: where an approach begins.
    """

    directions: tuple[int, ...]
    turns: tuple[int, ...]

    def direct(self, at: int | None, to: int) -> bool:
        """Tell whether going from place ``at`` straight to ``to`` is as the sweep would."""
        return at is not None and self.turns[to] <= at <= to


def legs_of(values: Sequence[float]) -> Legs:
    """Return the legs of an axis; a single value, or equal ones, count as going up."""
    steps = [math.copysign(1, b - a) if b != a else 0.0 for a, b in itertools.pairwise(values)]
    after = [0.0] * len(values)
    for k in range(len(steps) - 1, -1, -1):
        after[k] = steps[k] or after[k + 1]
    directions: list[int] = []
    turns: list[int] = []
    for k in range(len(values)):
        came = steps[k - 1] if k else 0.0
        way = int(came or after[k] or (directions[-1] if directions else 1))
        turned = bool(directions) and way != directions[-1]
        turns.append(k - 1 if turned else turns[-1] if turns else 0)
        directions.append(way)
    return Legs(tuple(directions), tuple(turns))
