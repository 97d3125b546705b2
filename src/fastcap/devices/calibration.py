"""A channel's calibration: attenuation in dB against volts, from a table of the lab's."""

from __future__ import annotations

import csv
import itertools
import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from fastcap._messages import shown
from fastcap.errors import ConfigError

__all__ = ["Calibration"]


class Calibration:
    """Attenuation against volts, straight between the table's points, in both directions.

    Straight lines between points that rise (or fall) throughout do so too, and their inverse is exact.

    Parameters
    ----------
    points : sequence of (float, float)
        Volts and dB, at least two, in any order.
    label : str
        What to call the table in messages.

    Raises
    ------
    ConfigError
        Fewer than two points, a point that is not finite, volts twice, or dB that turn back.
    """

    def __init__(self, points: Sequence[tuple[float, float]], label: str = "table") -> None:
        self.label = label
        ordered = sorted(points)
        if len(ordered) < 2:
            raise ConfigError(f"calibration {label} has {len(ordered)} points; it needs two or more")
        for volts, db in ordered:
            if not (math.isfinite(volts) and math.isfinite(db)):
                raise ConfigError(f"calibration {label} has the point {volts}, {db}; give finite numbers")
        rises = ordered[-1][1] > ordered[0][1]
        for (volts, db), (next_volts, next_db) in itertools.pairwise(ordered):
            if next_volts == volts:
                raise ConfigError(f"calibration {label} has {volts:g} V twice; leave one")
            if next_db == db or (next_db > db) != rises:
                raise ConfigError(
                    f"calibration {label} is not monotone between {volts:g} V ({db:g} dB) and "
                    f"{next_volts:g} V ({next_db:g} dB); leave out the part that turns back"
                )
        self._volts = [volts for volts, _ in ordered]
        self._db = [db for _, db in ordered]

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read a table: volts, then dB; comma, semicolon, tab or spaces between; ``#`` begins a comment.

        A first line that names the columns may put them in the other order (``dB,volts``).

        Raises
        ------
        ConfigError
            The file cannot be read, or a line is not two numbers.
        """
        name = os.fspath(path)
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                return cls(list(_points(file, name)), os.path.basename(name))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"calibration {shown(name)} cannot be read: {why}") from error

    @property
    def limits_v(self) -> tuple[float, float]:
        """Lowest and highest volts of the table."""
        return self._volts[0], self._volts[-1]

    @property
    def limits_db(self) -> tuple[float, float]:
        """Lowest and highest attenuation of the table."""
        return min(self._db[0], self._db[-1]), max(self._db[0], self._db[-1])

    @property
    def db_per_v(self) -> float:
        """The table's steepest slope, without sign."""
        steps = zip(self._volts, self._db, self._volts[1:], self._db[1:], strict=False)
        return max(abs((db - db0) / (volts - volts0)) for volts0, db0, volts, db in steps)

    def db(self, volts: float) -> float:
        """Return the attenuation at ``volts``.

        Raises
        ------
        ValueError
            The table does not reach so far.
        """
        return _between(self._volts, self._db, volts, "V", self.label)

    def volts(self, db: float) -> float:
        """Return the volts that attenuate by ``db``.

        Raises
        ------
        ValueError
            The table does not reach so far.
        """
        if self._db[0] < self._db[-1]:
            return _between(self._db, self._volts, db, "dB", self.label)
        return _between(self._db[::-1], self._volts[::-1], db, "dB", self.label)


def _between(xs: Sequence[float], ys: Sequence[float], x: float, unit: str, label: str) -> float:
    """Interpolate in rising ``xs``."""
    if not xs[0] <= x <= xs[-1]:
        raise ValueError(
            f"{x:.6g} {unit} is outside calibration {label}, {xs[0]:.6g} to {xs[-1]:.6g} {unit}; "
            "give a value inside"
        )
    k = min(bisect_right(xs, x), len(xs) - 1)
    part = (x - xs[k - 1]) / (xs[k] - xs[k - 1])
    return ys[k - 1] * (1 - part) + ys[k] * part


def _points(lines: Iterable[str], name: str) -> Iterable[tuple[float, float]]:
    swapped = False
    first = True
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        separator = next((c for c in ";\t" if c in text), "," if "," in text else " ")
        row = [
            cell.strip()
            for cell in next(csv.reader([text], delimiter=separator, skipinitialspace=True))
            if cell
        ]
        if first and not _numeric(row):
            swapped = bool(row) and "db" in row[0].casefold()
            first = False
            continue
        first = False
        if len(row) != 2 or not _numeric(row):
            raise ConfigError(f"calibration {shown(name)}, line {number}: {shown(text)} is not 'volts,dB'")
        one, other = float(row[0]), float(row[1])
        yield (other, one) if swapped else (one, other)


def _numeric(row: Sequence[str]) -> bool:
    try:
        return [float(cell) for cell in row] != []
    except ValueError:
        return False
