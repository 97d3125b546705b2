"""Which recordings a plan asks for, in which order, and what each is called.

A recording is known by its setpoints, the directions they are approached from, and the repeat: names that stay
when points or repeats are added. Values count to 12 significant digits.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec

from fastcap.errors import SweepError
from fastcap.sweeping.axis import Legs, legs_of
from fastcap.sweeping.plan import AxisPlan, Plan, differences

_NAME_CHARS, _STEM_CHARS = 24, 180  # of an axis, and of all, in a file's name
_DIGITS = 12  # to which values count
_SIGNS = {1: "up", -1: "down"}


class Shot(msgspec.Struct, frozen=True):
    """One recording of the plan: a place on every axis, and which repeat."""

    index: tuple[int, ...]
    repeat: int

    @property
    def place(self) -> tuple[int, ...]:
        """Where it stands in result arrays."""
        return (*self.index, self.repeat)


class Order:
    """The recordings of a plan; the last axis varies fastest, repeats follow one another."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.legs: tuple[Legs, ...] = tuple(legs_of(axis.values) for axis in plan.axes)
        self._ids = [_ids(axis, legs) for axis, legs in zip(plan.axes, self.legs, strict=True)]
        self._texts = [short_numbers(axis.values) for axis in plan.axes]
        self._short = [
            _ids(axis, legs, texts)
            for axis, legs, texts in zip(plan.axes, self.legs, self._texts, strict=True)
        ]

    def __len__(self) -> int:
        count = self.plan.repeats
        for axis in self.plan.axes:
            count *= len(axis.values)
        return count

    def __iter__(self) -> Iterator[Shot]:
        lengths = [range(len(axis.values)) for axis in self.plan.axes]
        for index in itertools.product(*lengths):
            for repeat in range(self.plan.repeats):
                yield Shot(index, repeat)

    def key(self, shot: Shot) -> str:
        """Return what the journal calls a recording."""
        ids = [ids[k] for ids, k in zip(self._ids, shot.index, strict=True)]
        named = zip(self.plan.axes, ids, strict=True)
        return " ".join([*(f"{axis.name}={text}" for axis, text in named), f"repeat={shot.repeat}"])

    @cached_property
    def shots(self) -> dict[str, Shot]:
        """Every recording by its key."""
        return {self.key(shot): shot for shot in self}

    def setpoints(self, shot: Shot) -> tuple[float, ...]:
        """Return the value of each axis."""
        return tuple(axis.values[k] for axis, k in zip(self.plan.axes, shot.index, strict=True))

    def directions(self, shot: Shot) -> tuple[int, ...]:
        """Return from which side each axis comes: +1 from below, -1 from above."""
        return tuple(legs.directions[k] for legs, k in zip(self.legs, shot.index, strict=True))

    def stem(self, shot: Shot, attempt: int) -> str:
        """Return the file's name without its ending: ``volt_1.25_up_r1_a1``."""
        return f"{self.point(shot)}_a{attempt}"

    def point(self, shot: Shot) -> str:
        """Return what a recording's names begin with, whatever the attempt: ``volt_1.25_up_r1``."""
        places = zip(self.plan.axes, self._short, shot.index, strict=True)
        base = _cleaned("_".join(f"{axis.name[:_NAME_CHARS]}_{ids[k]}" for axis, ids, k in places))
        if len(base) > _STEM_CHARS:
            base = f"{base[:_STEM_CHARS]}-{hashlib.blake2b(base.encode(), digest_size=4).hexdigest()}"
        return f"{base}_r{shot.repeat + 1}"

    def texts(self, shot: Shot) -> tuple[str, ...]:
        """Return the value of each axis as it stands in names: short, and no two different ones alike."""
        return tuple(texts[k] for texts, k in zip(self._texts, shot.index, strict=True))

    def label(self, shot: Shot) -> str:
        """Return a recording for people: ``volt 1.25 V up, repeat 1/5``."""
        values = zip(self.plan.axes, self.setpoints(shot), self.directions(shot), strict=True)
        text = ", ".join(f"{a.name} {v:.6g} {a.unit}".rstrip() + f" {_SIGNS[d]}" for a, v, d in values)
        return f"{text}, repeat {shot.repeat + 1}/{self.plan.repeats}" if self.plan.repeats > 1 else text


def _cleaned(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_-]", "-", text).lstrip(".-_") or "point"


def short_numbers(values: Sequence[float]) -> list[str]:
    """Return each value with as few digits as tell all apart: ``0.444`` for 4/9.

    Three significant digits at least, and all before the decimal point; what six can say exactly is exact.
    """
    full = [f"{value + 0.0:.{_DIGITS}g}" for value in values]
    exact = [float(f"{float(text):.6g}") == float(text) for text in full]
    for digits in range(3, _DIGITS):
        short = [_rounded(float(text), digits) for text in full]
        told = all(float(a) == float(b) for a, b, whole in zip(short, full, exact, strict=True) if whole)
        if told and len(set(short)) == len(set(full)):
            return short
    return full


def _rounded(value: float, digits: int) -> str:
    before_point = math.floor(math.log10(abs(value))) + 1 if 1 <= abs(value) < 10**_DIGITS else 0
    return f"{value:.{max(digits, before_point)}g}"


def _ids(axis: AxisPlan, legs: Legs, texts: Sequence[str] | None = None) -> list[str]:
    """Return each value's own text: digits, direction, and a number where both come again."""
    seen: Counter[str] = Counter()
    ids = []
    digits = texts or [f"{value + 0.0:.{_DIGITS}g}" for value in axis.values]
    for number, direction in zip(digits, legs.directions, strict=True):
        text = f"{number}_{_SIGNS[direction]}"
        seen[text] += 1
        ids.append(text if seen[text] == 1 else f"{text}_{seen[text]}")
    return ids


def check_extension(old: Plan, new: Plan) -> None:
    """Check that a plan only adds points or repeats to another.

    Raises
    ------
    SweepError
        Something else differs, or recordings of the old plan have no place in the new one.
    """
    widened = msgspec.structs.replace(old, repeats=new.repeats, axes=_same_values(old, new))
    changed = differences(widened, new)
    if changed:
        raise SweepError(f"only points and repeats can be added; this has changed: {'; '.join(changed)}")
    places = Order(new).shots
    for key in Order(old).shots:
        if key not in places:
            raise SweepError(
                f"the extended plan has no place for '{key}'; keep all old values, in their order and direction"
            )


def _same_values(old: Plan, new: Plan) -> tuple[AxisPlan, ...]:
    values = {axis.name: axis.values for axis in new.axes}
    return tuple(msgspec.structs.replace(a, values=values.get(a.name, a.values)) for a in old.axes)
