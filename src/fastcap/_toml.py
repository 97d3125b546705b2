"""fastcap's own configuration: TOML with ``[board]``, ``[capture]`` and ``[meta]``, every key checked."""

from __future__ import annotations

import datetime
import os
import tomllib
from collections.abc import Sequence
from typing import Any

from fastcap import _checks as check
from fastcap._boardargv import board_part, refusal
from fastcap._messages import did_you_mean, shown
from fastcap.config import BoardConfig
from fastcap.errors import ConfigError
from fastcap.payload import PAYLOADS
from fastcap.teststream import BoardFlags
from fastcap.units import parse_duration_s, parse_size

_SPEED_FLAGS = {"low": "-l", "high": "-h"}

_KEYS: dict[str, dict[str, check.Check]] = {
    "board": {
        "source": check.text,
        "command": check.command,
        "stream_exec": check.text,
        "device": check.path,
        "num_samples": check.whole(0),
        "skip": check.whole(0),
        "speed": check.one_of(*_SPEED_FLAGS),
        "gain": check.whole(0),
        "filter_const": check.whole(0),
        "verbosity": check.whole(0),
        "flags": check.texts,
        "base_dir": check.path,
    },
    "capture": {
        "to": check.text,
        "seconds": check.positive(parse_duration_s),
        "samples": check.whole(1),
        "ring": check.positive(parse_size),
        "fsync_every": check.positive(parse_size),
        "checksum": check.one_of("sha256", "none"),
        "repeat": check.whole(1),
        "split": check.one_or("num_runs", check.positive(parse_duration_s)),
        "analyse": check.function,
        "analyse_timeout": check.positive(parse_duration_s),
        "analyse_memory": check.positive(parse_size),
        "analyse_lossless": check.switch,
        "realtime": check.switch,
        "source_timeout": check.at_least_0(parse_duration_s),
        "on_full": check.one_of("drop", "wait"),
        "payload": check.one_of(*PAYLOADS),
        "name": check.text,
    },
}
_META = "meta"
_SECTIONS = (*_KEYS, _META)
_WAYS = {"source": (), "command": ("base_dir",)}  # ways to name the board, and what may stand beside each
_LITERAL = (check.text, check.path, check.function)  # in overrides these need no quotes


def read_toml(path: str, text: str, overrides: Sequence[tuple[str, str]]) -> BoardConfig:
    """Return what a TOML configuration says; see `fastcap.config.load_board_config`."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is no TOML: {str(error)[:200]}") from error
    for name, value in overrides:
        _override(path, data, name, value)
    board, options = (_checked(path, data, section) for section in _KEYS)
    details = _details(path, data)
    if "seconds" in options and "samples" in options:
        raise ConfigError(f"{path}: [capture] has both seconds and samples; give one of them")
    argv = _argv(path, board)
    flags = _board_flags(path, argv) if argv else None
    to = options.get("to")
    return BoardConfig(
        path=path,
        argv=argv,
        cwd=board.get("base_dir"),
        device=flags.device if flags else None,
        num_words=flags.num_words if flags else None,
        sample_rate_hz=flags.sample_rate_hz if flags else None,
        save_dir=None if to == "none" else to,
        num_runs=options.get("repeat"),
        details=details,
        options=options,
        source_url=board.get("source"),
        sections={name: {key: str(value) for key, value in data[name].items()} for name in data},
    )


def _checked(path: str, data: dict[str, Any], section: str) -> dict[str, Any]:
    """Return a table's values, every key known and every value checked."""
    for name in data:
        if name not in _SECTIONS:
            raise ConfigError(f"{path}: unknown section [{name}]{did_you_mean(name, _SECTIONS)}")
    values = {}
    for key, value in _table(path, data, section).items():
        checked = _KEYS[section].get(key)
        if checked is None:
            hint = did_you_mean(key, _KEYS[section])
            raise ConfigError(f"{path}: [{section}] has an unknown key {shown(key)}{hint}")
        try:
            values[key] = checked(value)
        except (ValueError, ConfigError, OSError) as error:
            raise ConfigError(f"{path}: [{section}] {key}: {error}") from error
    return values


def _table(path: str, data: dict[str, Any], section: str) -> dict[str, Any]:
    table = data.get(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {section} is not a section; write [{section}] on a line of its own")
    return table


def _details(path: str, data: dict[str, Any]) -> dict[str, str]:
    details = {}
    for key, value in _table(path, data, _META).items():
        if isinstance(value, bool):
            details[key] = str(value).lower()
        elif isinstance(value, str | int | float | datetime.date | datetime.time):
            details[key] = str(value)
        else:
            raise ConfigError(f"{path}: [{_META}] {key}: {shown(value)} is no text, number or time")
    return details


def _argv(path: str, board: dict[str, Any]) -> tuple[str, ...]:
    """Return the program and its arguments; nothing where the source is a URL."""
    for way, beside in _WAYS.items():
        if way in board:
            if others := [key for key in board if key != way and key not in beside]:
                raise ConfigError(f"{path}: [board] {way} and {others[0]} exclude each other; leave one out")
            return board[way] if way == "command" else ()
    for key in ("stream_exec", "device", "num_samples", "speed"):
        if key not in board:
            ways = "" if board else " (or name the board by command or source)"
            raise ConfigError(f"{path}: [board] has no key {key}; add it{ways}")
    program = board["stream_exec"]
    if os.sep in program or os.path.exists(program) or program.startswith("~"):
        program = check.path(program)
    argv = [program, "-U", board["device"], "-q", str(board["num_samples"]), "-s", str(board.get("skip", 0))]
    argv += [_SPEED_FLAGS[board["speed"]], "-b"]
    for key, flag in (("gain", "-G"), ("filter_const", "-F"), ("verbosity", "-v")):
        argv += [flag, str(board[key])] if key in board else []
    return (*argv, *board.get("flags", ()))


def _board_flags(path: str, argv: tuple[str, ...]) -> BoardFlags | None:
    """Return the flags of a command that runs the board's program."""
    try:
        part = board_part(argv)
    except ConfigError as error:
        raise ConfigError(f"{path}: [board]: {error}") from error
    if part is None:
        return None
    if why := refusal(part[1]):
        raise ConfigError(f"{path}: [board]: {why}")
    return part[1]


def _override(path: str, data: dict[str, Any], name: str, text: str) -> None:
    """Set a key as if it stood in the file; quotes may be left out."""
    section, separator, key = name.replace(":", ".", 1).partition(".")
    if separator:
        if section not in _SECTIONS:
            raise ConfigError(
                f"override {shown(name)}: no section [{section}]{did_you_mean(section, _SECTIONS)}"
            )
    else:
        key = name
        meta = _table(path, data, _META)
        section = next((s for s, keys in _KEYS.items() if key in keys), _META if key in meta else "")
        if not section:
            known = [k for keys in (*_KEYS.values(), meta) for k in keys]
            raise ConfigError(
                f"override {shown(name)} is no known key{did_you_mean(name, known)} (new meta: meta.KEY)"
            )
    _table(path, data, section)
    data.setdefault(section, {})[key] = _override_value(_KEYS.get(section, {}).get(key, check.text), text)


def _override_value(checked: check.Check, text: str) -> Any:
    if checked in _LITERAL and text[:1] not in ("'", '"'):
        return text
    try:
        values = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return values["value"] if len(values) == 1 else text
