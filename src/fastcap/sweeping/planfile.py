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
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError
from fastcap.sweeping.axis import Axis, linspace, updown
from fastcap.sweeping.targets import DEVICES, reading_of, target_of

__all__ = ["PlanFile", "load_plan_file"]

Table = dict[str, Any]
_TOP = ("folder", "board", "devices", "axes", "record", "analysis", "readings", "meta")
_KEYS = {
    "board": ("config", "source", "command", "set", "ring", "realtime"),
    "record": (
        "length", "samples", "checksum", "fsync_every", "analyse_timeout", "analyse_memory", "repeats", "retries",
        "retry", "verify", "gapless", "fifo",
    ),
    "analysis": ("function",),
}  # fmt: skip
_AXIS_KEYS = ("target", "name", "unit", "settle", "limits", "values", "updown", "linspace")
_LOOP_KEYS = ("repeats", "retries", "retry", "verify", "gapless", "fifo")


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
        ways = [key for key in ("config", "source", "command") if key in table]
        if len(ways) != 1:
            raise ConfigError(
                f"{self.path}: [board] has {ways or 'no source'}; give one of config, source, command"
            )
        options = {key: table[key] for key in ("set", "ring", "realtime") if key in table}
        return self._at("board", ways[0], lambda: fastcap.open(table[ways[0]], **options))

    def devices(self, stack: ExitStack) -> dict[str, Any]:
        """Open the devices, to be left as each plan says when the stack unwinds."""
        found = {}
        for name, table in self.data.get("devices", {}).items():
            found[name] = self._at(f"devices.{name}", "port", partial(_opened, stack, table))
        return found

    def axes(self, devices: Mapping[str, Any]) -> list[Axis]:
        """Return the axes."""
        return [self._axis(k, table, devices) for k, table in enumerate(self.data["axes"], start=1)]

    def _axis(self, number: int, table: Table, devices: Mapping[str, Any]) -> Axis:
        where = f"axes {number}"
        ways = [key for key in ("values", "updown", "linspace") if key in table]
        if len(ways) != 1:
            raise ConfigError(
                f"{self.path}: [{where}] has {ways or 'no values'}; give one of values, updown, linspace"
            )
        make: Callable[..., Any] = _MAKERS[ways[0]]
        values = self._at(where, ways[0], lambda: make(*table[ways[0]]))
        target = self._at(where, "target", lambda: target_of(table["target"], devices))
        limits = table.get("limits")
        name = table.get("name") or str(table["target"]).rpartition(".")[2].rpartition(":")[2]
        options = {key: table[key] for key in ("unit", "settle") if key in table}
        made: Axis = self._at(
            where, ways[0],
            lambda: Axis(target, values, name=name, limits=None if limits is None else tuple(limits), **options),
        )  # fmt: skip
        return made

    def options(self, devices: Mapping[str, Any]) -> dict[str, Any]:
        """Return what else `fastcap.sweep` is to be given."""
        record = dict(self.data.get("record", {}))
        loop = {key: record.pop(key) for key in _LOOP_KEYS if key in record}
        readings = {
            name: self._at("readings", name, partial(reading_of, text, devices))
            for name, text in self.data.get("readings", {}).items()
        }
        analyse = self.data.get("analysis", {}).get("function")
        meta = self.data.get("meta", {})
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
            raise ConfigError(f"{self.path}: [{section}] {key}: {error}") from error


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
    for section, keys in _KEYS.items():
        _known(name, section, data.get(section, {}), keys)
    for section in ("readings", "meta", "devices"):
        _known(name, section, data.get(section, {}), None)
    for device, table in data.get("devices", {}).items():
        _check_device(name, device, table)
    _check_axes(name, data["axes"])
    if not isinstance(data["folder"], str) or not data["folder"]:
        raise ConfigError(f"{name}: folder: {shown(data['folder'])} is not a text in quotes")
    return PlanFile(name, data)


def _known(path: str, section: str, table: Any, keys: tuple[str, ...] | None) -> None:
    """Check that a table is one and has known keys only."""
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {section} is not a section; write [{section}] on a line of its own")
    for key in table:
        if keys is not None and key not in keys:
            where = f"[{section}] has" if section else "has"
            raise ConfigError(f"{path}: {where} an unknown key {shown(key)}{did_you_mean(key, keys)}")


def _check_axes(path: str, axes: Any) -> None:
    if not isinstance(axes, list) or not axes:
        raise ConfigError(f"{path}: axes is no list of sections; write [[axes]] before each")
    for number, table in enumerate(axes, start=1):
        _known(path, f"axes {number}", table, _AXIS_KEYS)
        if not isinstance(table.get("target"), str):
            raise ConfigError(f"{path}: [axes {number}] has no target; add one such as target = 'voa.0.volt'")
        for key in ("values", "updown", "linspace", "limits"):
            if key in table and not isinstance(table[key], list):
                raise ConfigError(f"{path}: [axes {number}] {key}: {shown(table[key])} is no list of numbers")


def _check_device(path: str, device: str, table: Any) -> None:
    _known(path, f"devices.{device}", table, None)
    kind = table.get("kind")
    if kind not in DEVICES:
        raise ConfigError(
            f"{path}: [devices.{device}] kind: {shown(kind)} is not one of {', '.join(DEVICES)}"
        )
    _known(path, f"devices.{device}", table, ("kind", *DEVICES[kind].keys))
    for key in DEVICES[kind].needed:
        if key not in table:
            raise ConfigError(f"{path}: [devices.{device}] has no {key}; add it")


def _opened(stack: ExitStack, table: Table) -> Any:
    given = {key: value for key, value in table.items() if key != "kind"}
    return stack.enter_context(DEVICES[table["kind"]].open(given))


def _listed(*values: Any) -> tuple[Any, ...]:
    return values


_MAKERS: dict[str, Callable[..., Any]] = {"values": _listed, "updown": updown, "linspace": linspace}
