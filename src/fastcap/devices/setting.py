"""A quantity of a device that can be set and read: the target of a sweep's axis."""

from __future__ import annotations

import math
from collections.abc import Callable

from fastcap._messages import shown
from fastcap.errors import DeviceError

__all__ = ["Setting", "as_number", "within"]


def as_number(value: object, what: str) -> float:
    """Return a value as a finite float.

    Raises
    ------
    ValueError
        It is no number, not finite, or a truth value.
    """
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} of {shown(value)} is not a number; give one such as 1.5") from error
    if not math.isfinite(number):
        raise ValueError(f"{what} of {number} is not finite; give a number such as 1.5")
    return number


def within(value: object, name: str, unit: str, limits: tuple[float, float] | None) -> float:
    """Return a value as a float that may be set.

    Raises
    ------
    ValueError
        It is no finite number, or beyond the limits.
    """
    number = as_number(value, name)
    if limits is not None and not limits[0] <= number <= limits[1]:
        low, high = (f"{limit:.6g}" for limit in limits)
        raise ValueError(
            f"{name} of {number:.6g} {unit} is not from {low} to {high} {unit}; give a value between them"
        )
    return number


class Setting:
    """One quantity of a device. Setting is writing, reading back, and comparing.

    Attributes
    ----------
    name, unit : str
        What it is called, in messages and as an axis.
    limits : (float, float) or None
        Lowest and highest value that `set` takes.
    tolerance : float
        How far the device's reading may be from what was asked.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        *,
        write: Callable[[float], None],
        read: Callable[[], float],
        limits: Callable[[], tuple[float, float] | None] = lambda: None,
        tolerance: float,
        attempts: int = 1,
    ) -> None:
        self.name, self.unit = name, unit
        self.tolerance = tolerance
        self._write, self._read, self._limits = write, read, limits
        self._attempts = attempts

    @property
    def limits(self) -> tuple[float, float] | None:
        """Lowest and highest value; None: any finite number."""
        return self._limits()

    def check(self, value: object) -> float:
        """Return ``value`` as a float if it could be set; nothing is sent.

        Raises
        ------
        ValueError
            It is no finite number, or beyond the limits.
        """
        return within(value, self.name, self.unit, self.limits)

    def set(self, value: float) -> float:
        """Set the quantity and return what the device says it is then; blocks until it does.

        Raises
        ------
        ValueError
            The value cannot be set. Nothing was sent.
        DeviceError
            The device does not answer, or still has another value after all attempts. Which one it has then
            is what `get` returns.
        """
        number = self.check(value)
        for _ in range(self._attempts):
            self._write(number)
            got = self._read()
            if abs(got - number) <= self.tolerance:
                return got
        raise DeviceError(
            f"{self.name} was set to {number:.6g} {self.unit} {_times(self._attempts)} and reads {got:.6g} {self.unit} "
            f"(tolerance {self.tolerance:.2g}); check the device and its cable"
        )

    def get(self) -> float:
        """Ask the device for the quantity.

        Raises
        ------
        DeviceError
            It does not answer, or not with a number that can be trusted.
        """
        return self._read()

    def __repr__(self) -> str:
        return f"<Setting {self.name} [{self.unit}], limits {self.limits}>"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
