"""Names of a sweep's files: each point's own, or made from a template.

    {time}_laser_chip_{laser_chip}_volt_{volt}V  ->  2025-02-18T17:03:08.123456+0800_laser_chip_ULN00238_volt_0.444V.bin

``{time}`` is when the recording begins, as in the lab's names; ``{point}`` what the file would be called without a
template (without the attempt); ``{repeat}`` counts from 1. All else names an axis, or a key of the metadata. A template
by which two recordings would have the same name gets what tells them apart behind it; so do later attempts.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import datetime

from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError
from fastcap.naming import recording_name, safe_part, stamp
from fastcap.sweeping.order import Order, Shot

_TIME, _POINT, _REPEAT = "time", "point", "repeat"
_OWN = (_TIME, _POINT, _REPEAT)
_SAFE = ":,=@"  # beside letters, digits and ._+-


class Names:
    """The names of one sweep's files.

    Parameters
    ----------
    order : Order
    details : mapping
        What ``{KEY}`` may name beside the axes: the board's details, and the plan's metadata above them.

    Raises
    ------
    ConfigError
        The template names what is not there, holds what no file name may, or makes names that are too long.
    """

    def __init__(self, order: Order, details: Mapping[str, str]) -> None:
        self._order = order
        self._template = order.plan.name
        self._parts: list[tuple[str, str | None]] = []
        self._values = {key: safe_part(str(value)) for key, value in {**details, **order.plan.meta}.items()}
        self._behind = ""
        if self._template is not None:
            self._parts = _parsed(self._template)
            self._check_keys()
            self._behind = self._what_tells_apart()
            self._check_names()

    @property
    def templated(self) -> bool:
        """There is a template."""
        return self._template is not None

    @property
    def _timed(self) -> bool:
        return any(key == _TIME for _, key in self._parts)

    def stem(self, shot: Shot, attempt: int, now: datetime) -> str:
        """Return a recording's name, without ending."""
        if self._template is None:
            return self._order.stem(shot, attempt)
        again = f"_a{attempt}" if attempt > 1 and not self._timed else ""
        return f"{self._made(shot, now)}{self._behind_of(shot, self._behind)}{again}"

    def _made(self, shot: Shot, now: datetime | None) -> str:
        values = dict(
            zip((axis.name for axis in self._order.plan.axes), self._order.texts(shot), strict=True)
        )
        values = {**self._values, **values}
        values |= {_POINT: self._order.point(shot), _REPEAT: str(shot.repeat + 1)}
        values[_TIME] = stamp(now, offset=True) if now is not None else ""
        return "".join(text + (values[key] if key is not None else "") for text, key in self._parts)

    def _behind_of(self, shot: Shot, what: str) -> str:
        if what == _REPEAT:
            return f"_r{shot.repeat + 1}"
        return f"_{self._order.point(shot)}" if what == _POINT else ""

    def _what_tells_apart(self) -> str:
        """Return what has to stand behind the template so that no two recordings have the same name."""
        if self._timed:
            return ""
        for what in ("", _REPEAT, _POINT):
            made = {self._made(shot, None) + self._behind_of(shot, what) for shot in self._order}
            if len(made) == len(self._order):
                return what
        return _POINT

    def _check_keys(self) -> None:
        known = [*_OWN, *(axis.name for axis in self._order.plan.axes), *self._values]
        for _, key in self._parts:
            if key is not None and key not in known:
                hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
                raise ConfigError(f"name {shown(self._template)} has an unknown key {shown(key)}{hint}")
        if self._timed and self._order.plan.fifo_s is not None:
            raise ConfigError(
                f"name {shown(self._template)}: windows of a gapless sweep are named before they begin; "
                "leave out {time}"
            )

    def _check_names(self) -> None:
        """Check that every name is one that a file can have, as it stands."""
        now = datetime.now().astimezone()
        for stem in (self.stem(shot, attempt, now) for shot in self._order for attempt in (1, 9999)):
            if recording_name(now, {}, {}, stem) != f"{stem}.bin":
                raise ConfigError(
                    f"name {shown(self._template)} makes {shown(stem)}, which no file can be called; begin with a "
                    f"letter or digit, use these and ._+-{_SAFE} only, and keep it short"
                )


def _parsed(template: str) -> list[tuple[str, str | None]]:
    """Return a template's parts: text, and the key behind it.

    Raises
    ------
    ConfigError
        It has a brace that stands alone, or more than a key between two.
    """
    parts: list[tuple[str, str | None]] = []
    try:
        for text, key, form, conversion in string.Formatter().parse(template):
            if form or conversion:
                raise ValueError(f"{{{key}}} with a format")
            if key == "":
                raise ValueError("{} without a key")
            if text != safe_part(text, also=_SAFE):
                raise ValueError(f"{shown(text)} in it: use letters, digits and ._+-{_SAFE}")
            parts.append((text, key))
    except ValueError as error:
        raise ConfigError(f"name {shown(template)}: {error}; write text and {{KEY}}") from error
    if not parts:
        raise ConfigError("name is empty; give one such as '{time}_volt_{volt}', or leave it out")
    return parts
