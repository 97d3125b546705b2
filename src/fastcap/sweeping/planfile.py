"""PLAN.toml: board, devices, axes, recording, analysis and folder of a sweep; every key is checked.

folder = "/mnt/nas/voa"

[board]
config = "VHF_board_params.ini"          # or: source = "sim://?rate=2MHz&voa=demo", ring = "512MiB"

[devices.voa]
kind = "voa"                             # or laser, scpi, command
port = "/dev/serial/by-id/usb-…"         # or: "sim://voa?name=demo"
at_exit = "zero"

[[axes]]
name = "volt"
target = "voa.0.volt"                    # or: "laser.current", "voa.raw.3.dac", "NAME", "module:function"
updown = [0, 4, 41]                      # or: linspace = […], values = […]
settle = "2s"

[record]
length = "15s"
repeats = 5
name = "{time}_volt_{volt}V"             # of the files; default: {point} and the attempt

[analysis]
function = "module:function"

[readings]
temperature = "laser.temperature"

[meta]
fibre = "F12"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fastcap import _checks as check
from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError
from fastcap.payload import PAYLOADS
from fastcap.sweeping.axis import Axis, linspace, updown
from fastcap.sweeping.targets import DEVICES, reading_of, target_of
from fastcap.units import parse_duration_s, parse_size

__all__ = ["PlanFile", "load_plan_file"]

Table = dict[str, Any]
_TOP = ("folder", "board", "devices", "axes", "record", "analysis", "readings", "meta")
_BOARDS = ("config", "source", "command")
_DURATION = check.positive(parse_duration_s)
_SIZE = check.positive(parse_size)
_KEYS: dict[str, dict[str, check.Check]] = {
    "board": {
        "config": check.text, "source": check.text, "command": check.command, "set": check.table(check.anything),
        "ring": _SIZE, "realtime": check.switch, "payload": check.one_of(*PAYLOADS),
    },
    "record": {
        "length": _DURATION, "samples": check.whole(1), "checksum": check.one_of("sha256", "none"),
        "fsync_every": _SIZE, "analyse_timeout": _DURATION, "analyse_memory": _SIZE,
        "payload": check.one_of(*PAYLOADS), "source_timeout": check.at_least_0(parse_duration_s),
        "repeats": check.whole(1), "retries": check.whole(0), "retry": check.one_of("now", "end"),
        "verify": check.one_of("size", "read"), "gapless": check.switch, "fifo": check.at_least_0(parse_duration_s),
        "name": check.text,
    },
    "analysis": {"function": check.function},
}  # fmt: skip
_AXIS_KEYS: dict[str, check.Check] = {
    "target": check.text, "name": check.text, "unit": check.label, "settle": check.at_least_0(parse_duration_s),
    "limits": check.numbers(2, 2), "values": check.numbers(), "updown": check.numbers(3, 3),
    "linspace": check.numbers(3, 3),
}  # fmt: skip
_LOOP_KEYS = ("repeats", "retries", "retry", "verify", "gapless", "fifo", "name")


class PlanFile(msgspec.Struct, frozen=True):
    """A PLAN.toml, read and checked as far as that goes without a device."""

    path: str
    data: Table

    @property
    def folder(self) -> str:
        """The sweep's folder."""
        return str(self.data["folder"])

    def board(self) -> Any:
        """Open the board; nothing is started."""
        import fastcap

        table = self.data["board"]
        way = next(key for key in _BOARDS if key in table)
        options = {key: table[key] for key in ("set", "ring", "realtime", "payload") if key in table}
        return self._at("board", way, lambda: fastcap.open(table[way], **options))

    def devices(self, stack: ExitStack) -> dict[str, Any]:
        """Open the devices, to be left as each plan says when the stack unwinds."""
        found = {}
        for name, table in self.data["devices"].items():
            found[name] = self._at(f"devices.{name}", "", partial(_opened, stack, table))
        return found

    def axes(self, devices: Mapping[str, Any]) -> list[Axis]:
        """Return the axes."""
        return [self._axis(k, table, devices) for k, table in enumerate(self.data["axes"], start=1)]

    def _axis(self, number: int, table: Table, devices: Mapping[str, Any]) -> Axis:
        where = f"axes {number}"
        way = next(key for key in _MAKERS if key in table)
        values = self._at(where, way, lambda: _MAKERS[way](*table[way]))
        target = self._at(where, "target", lambda: target_of(table["target"], devices))
        limits = table.get("limits")
        name = table.get("name") or str(table["target"]).rpartition(".")[2].rpartition(":")[2]
        options = {key: table[key] for key in ("unit", "settle") if key in table}
        made: Axis = self._at(
            where, way,
            lambda: Axis(target, values, name=name, limits=None if limits is None else tuple(limits), **options),
        )  # fmt: skip
        return made

    def options(self, devices: Mapping[str, Any]) -> dict[str, Any]:
        """Return what else `fastcap.sweep` is to be given."""
        record = dict(self.data["record"])
        loop = {key: record.pop(key) for key in _LOOP_KEYS if key in record}
        readings = {
            name: self._at("readings", name, partial(reading_of, text, devices))
            for name, text in self.data["readings"].items()
        }
        analyse = self.data["analysis"].get("function")
        meta = self.data["meta"]
        return {
            **loop,
            "record": record,
            "readings": readings,
            "analyse": analyse,
            "meta": meta,
            "save": self.folder,
        }

    def _at(self, section: str, key: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"{self.path}: [{section}]{key and f' {key}'}: {error}") from error


def load_plan_file(path: str | os.PathLike[str]) -> PlanFile:
    """Read a PLAN.toml.

    Raises
    ------
    ConfigError
        It cannot be read; a key is missing, unknown or of the wrong kind.
    """
    name = os.fspath(path)
    try:
        data = tomllib.loads(Path(name).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"plan {shown(name)} cannot be read: {why}") from error
    _known(name, "", data, _TOP)
    for key in ("folder", "board", "axes"):
        if key not in data:
            raise ConfigError(f"{name}: has no {key}; add {'folder = …' if key == 'folder' else f'[{key}]'}")
    checked = {"folder": _checked(name, "", {"folder": data["folder"]}, {"folder": check.text})["folder"]}
    for section, keys in _KEYS.items():
        checked[section] = _checked(name, section, data.get(section, {}), keys)
    _check_one(name, "board", checked["board"], _BOARDS, "source")
    if {"length", "samples"} <= checked["record"].keys():
        raise ConfigError(f"{name}: [record] has both length and samples; give one of them")
    checked["readings"] = _checked(name, "readings", data.get("readings", {}), check.text)
    checked["meta"] = _checked(name, "meta", data.get("meta", {}), check.anything)
    checked["devices"] = {
        device: _checked_device(name, device, table)
        for device, table in _checked(name, "devices", data.get("devices", {}), check.anything).items()
    }
    checked["axes"] = _checked_axes(name, data["axes"])
    return PlanFile(name, checked)


def _known(path: str, section: str, table: Any, keys: Collection[str] | None) -> None:
    """Check that a table is one and has known keys only."""
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {section} is not a section; write [{section}] on a line of its own")
    for key in table:
        if keys is not None and key not in keys:
            where = f"[{section}] has" if section else "has"
            raise ConfigError(f"{path}: {where} an unknown key {shown(key)}{did_you_mean(key, keys)}")


def _checked(path: str, section: str, table: Any, checks: Mapping[str, check.Check] | check.Check) -> Table:
    """Return a section's values; with one check for all, any key is known."""
    _known(path, section, table, None if callable(checks) else checks)
    values = {}
    for key, value in table.items():
        try:
            values[key] = (checks if callable(checks) else checks[key])(value)
        except (ValueError, ConfigError, OSError) as error:
            raise ConfigError(f"{path}: {f'[{section}] ' if section else ''}{key}: {error}") from error
    return values


def _check_one(path: str, section: str, table: Table, ways: tuple[str, ...], what: str) -> None:
    """Check that one of the keys is there that exclude each other."""
    given = [key for key in ways if key in table]
    if len(given) != 1:
        has = " and ".join(given) or f"no {what}"
        raise ConfigError(f"{path}: [{section}] has {has}; give one of {', '.join(ways)}")


def _checked_axes(path: str, axes: Any) -> list[Table]:
    if not isinstance(axes, list) or not axes:
        raise ConfigError(f"{path}: axes is no list of sections; write [[axes]] before each")
    checked = [_checked(path, f"axes {k}", table, _AXIS_KEYS) for k, table in enumerate(axes, start=1)]
    for number, table in enumerate(checked, start=1):
        if "target" not in table:
            raise ConfigError(f"{path}: [axes {number}] has no target; add one such as target = 'voa.0.volt'")
        _check_one(path, f"axes {number}", table, tuple(_MAKERS), "values")
    return checked


def _checked_device(path: str, device: str, table: Any) -> Table:
    section = f"devices.{device}"
    _known(path, section, table, None)
    kind = table.get("kind")
    if kind not in DEVICES:
        raise ConfigError(f"{path}: [{section}] kind: {shown(kind)} is not one of {', '.join(DEVICES)}")
    checked = _checked(path, section, table, {"kind": check.text, **DEVICES[kind].keys})
    for key in DEVICES[kind].needed:
        if key not in table:
            raise ConfigError(f"{path}: [{section}] has no {key}; add it")
    return checked


def _opened(stack: ExitStack, table: Table) -> Any:
    given = {key: value for key, value in table.items() if key != "kind"}
    return stack.enter_context(DEVICES[table["kind"]].open(given))


def _listed(*values: Any) -> tuple[Any, ...]:
    return values


_MAKERS: dict[str, Callable[..., Any]] = {"values": _listed, "updown": updown, "linspace": linspace}
