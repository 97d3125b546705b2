"""Which recordings a plan asks for, in which order, and what each is called.

A recording is known by its setpoints, the directions they are approached from, and the repeat: names that stay
when points or repeats are added. Values count to 12 significant digits.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import msgspec

from fastcap.errors import SweepError
from fastcap.sweeping.axis import Legs, legs_of
from fastcap.sweeping.plan import AxisPlan, Plan, differences

_NAME_CHARS, _STEM_CHARS = 24, 180  # of an axis, and of all, in a file's name
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
        places = zip(self.plan.axes, self._ids, shot.index, strict=True)
        base = _cleaned("_".join(f"{axis.name[:_NAME_CHARS]}_{ids[k]}" for axis, ids, k in places))
        if len(base) > _STEM_CHARS:
            base = f"{base[:_STEM_CHARS]}-{hashlib.blake2b(base.encode(), digest_size=4).hexdigest()}"
        return f"{base}_r{shot.repeat + 1}_a{attempt}"

    def label(self, shot: Shot) -> str:
        """Return a recording for people: ``volt 1.25 V up, repeat 1/5``."""
        values = zip(self.plan.axes, self.setpoints(shot), self.directions(shot), strict=True)
        text = ", ".join(f"{a.name} {v:.6g} {a.unit}".rstrip() + f" {_SIGNS[d]}" for a, v, d in values)
        return f"{text}, repeat {shot.repeat + 1}/{self.plan.repeats}" if self.plan.repeats > 1 else text


def _cleaned(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+_-]", "-", text).lstrip(".-_") or "point"


def _ids(axis: AxisPlan, legs: Legs) -> list[str]:
    """Return each value's own text: digits, direction, and a number where both come again."""
    seen: Counter[str] = Counter()
    ids = []
    for value, direction in zip(axis.values, legs.directions, strict=True):
        text = f"{value + 0.0:.12g}_{_SIGNS[direction]}"
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
