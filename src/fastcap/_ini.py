"""The lab's INI: ``[Board]``, ``[Paths]``, ``[Phasemeter Details]``, ``[Extended Sampling]``.

Read with extended interpolation. Whatever else the file holds is kept as text and not looked at. Keys are
found in any case, as configparser does, and passed on as they are written.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Sequence

from fastcap._boardargv import refusal
from fastcap._messages import did_you_mean, shown
from fastcap.arith import evaluate_integer
from fastcap.config import BoardConfig, absolute_path
from fastcap.errors import ConfigError
from fastcap.teststream import parse_board_argv

_BOARD, _PATHS, _DETAILS, _SAMPLING = "Board", "Paths", "Phasemeter Details", "Extended Sampling"
_KNOWN = {
    _BOARD: (
        "num_samples",
        "skip_num",
        "speed",
        "encode",
        "vga_num",
        "vga_num_enable",
        "filter_const",
        "filter_const_enable",
        "save_to_file",
    ),
    _PATHS: ("base_dir", "save_dir", "board", "stream_exec", "save_to_file"),
    _DETAILS: (),
    _SAMPLING: ("num_runs",),
}
_SPEED_FLAGS = {"l": "-l", "h": "-h"}  # by the first letter
_BINARY, _OTHER_ENCODINGS = "bin", ("hex", "asc", "txt", "tex")  # by the first three letters
_NO_PROGRAM = "teststream"  # stands for a program that is not named, to read the flags it would be given
_BOOLEANS = configparser.RawConfigParser.BOOLEAN_STATES


class _Ini:
    """A parsed file: values by lower-case key, and how keys are written in it."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.parser = configparser.ConfigParser(interpolation=configparser.ExtendedInterpolation())
        # the second reading: [DEFAULT] is a section like the others, keys keep their case
        written = configparser.RawConfigParser(default_section="\0", strict=False)
        written.optionxform = str  # type: ignore[assignment, method-assign]
        try:
            self.parser.read_string(text, path)
            written.read_string(text, path)
        except configparser.Error as error:
            raise ConfigError(f"{path}: {_one_line(error)}") from error
        self.written = {name: {key.lower(): key for key in written[name]} for name in written.sections()}

    def has(self, section: str, key: str) -> bool:
        return self.parser.has_option(section, key)

    def get(self, section: str, key: str) -> str:
        """Return a value that must be there, interpolated."""
        if not self.parser.has_section(section):
            raise ConfigError(f"{self.path}: section [{section}] is missing; it must hold {key}")
        if not self.has(section, key):
            raise ConfigError(f"{self.path}: [{section}] has no key {key}; add one, or --set {key}=VALUE")
        try:
            return self.parser.get(section, key)
        except configparser.Error as error:
            raise self.wrong(section, key, f"{_one_line(error)} (write $$ for a $)") from error

    def optional(self, section: str, key: str) -> str | None:
        """Return a value, or None where it is not there or empty."""
        return (self.get(section, key) or None) if self.has(section, key) else None

    def integer(self, section: str, key: str, least: int = 0) -> int:
        value = self.get(section, key)
        try:
            number = evaluate_integer(value)
        except ConfigError as error:
            raise self.wrong(section, key, str(error)) from error
        if number < least:
            raise self.wrong(section, key, f"{shown(value)} is {number}, but must be at least {least}")
        return number

    def enabled(self, section: str, key: str) -> bool:
        """Return whether a switch is not False; one that is not there is not False."""
        if not self.has(section, key):
            return True
        value = self.get(section, key)
        if value.lower() not in _BOOLEANS:
            raise self.wrong(section, key, f"{shown(value)} is neither True nor False")
        return _BOOLEANS[value.lower()]

    def file_path(self, section: str, key: str) -> str:
        """Return a path; a relative one is taken from the current directory."""
        value = self.get(section, key)
        if not value or "\0" in value:
            raise self.wrong(section, key, f"{shown(value)} is no path")
        return absolute_path(value)

    def free_text(self, section: str) -> dict[str, str]:
        """Return a section for people: what cannot be interpolated stands as it is written."""
        values = {}
        for key, written in self.written.get(section, {}).items():
            try:
                values[written] = self.parser.get(section, key)
            except configparser.InterpolationError:
                values[written] = self.parser.get(section, key, raw=True)
        return values

    def texts(self) -> dict[str, dict[str, str]]:
        return {
            section: {written: self.parser.get(section, key, raw=True) for key, written in keys.items()}
            for section, keys in self.written.items()
        }

    def wrong(self, section: str, key: str, why: str) -> ConfigError:
        return ConfigError(f"{self.path}: [{section}] {key}: {why}")

    # -- overrides ---------------------------------------------------------------------------------

    def override(self, name: str, value: str) -> None:
        """Set a key as if it stood in the file."""
        section, key = self._place(name)
        if not self.parser.has_section(section) and section != self.parser.default_section:
            self.parser.add_section(section)
        try:
            self.parser.set(section, key, value)
        except ValueError as error:
            given = shown(f"{name}={value}")
            raise ConfigError(f"override {given}: {error} (write $$ for a $)") from error
        self.written.setdefault(section, {}).setdefault(key.lower(), key)

    def _place(self, name: str) -> tuple[str, str]:
        """Return section and key that an override names."""
        for section in {**self.written, **_KNOWN}:
            head, rest = name[: len(section)], name[len(section) :]
            if head.casefold() == section.casefold() and rest[:1] in (".", ":") and rest[1:].strip():
                return section, rest[1:].strip()
        key = name.lower()
        for section, known in _KNOWN.items():
            if key in self.written.get(section, {}) or key in known:
                return section, key
        head, separator, rest = name.replace(":", ".", 1).partition(".")
        if separator and rest:
            hint = did_you_mean(head, {**_KNOWN, **self.written})
            raise ConfigError(f"override {shown(name)}: {self.path} has no section [{head}]{hint}")
        keys = [key for section, known in _KNOWN.items() for key in (*known, *self.written.get(section, {}))]
        hint = did_you_mean(name, dict.fromkeys(keys))
        raise ConfigError(f"override {shown(name)} is no known key{hint} (a new one: Section.key)")


def read_ini(path: str, text: str, overrides: Sequence[tuple[str, str]]) -> BoardConfig:
    """Return what the lab's INI says; see `fastcap.config.load_board_config`."""
    ini = _Ini(path, text)
    for name, value in overrides:
        ini.override(name, value)
    program = _program(ini)
    argv = (program or _NO_PROGRAM, *_arguments(ini))
    try:
        flags = parse_board_argv(argv)
    except ConfigError as error:
        raise ConfigError(f"{path}: [{_BOARD}]: {error}") from error
    if why := refusal(flags):
        raise ConfigError(f"{path}: [{_BOARD}]: {why}")
    return BoardConfig(
        path=path,
        argv=argv if program else (),
        cwd=ini.file_path(_PATHS, "base_dir") if ini.optional(_PATHS, "base_dir") else None,
        device=flags.device,
        num_words=flags.num_words,
        sample_rate_hz=flags.sample_rate_hz,
        save_dir=ini.file_path(_PATHS, "save_dir") if ini.optional(_PATHS, "save_dir") else None,
        num_runs=ini.integer(_SAMPLING, "num_runs", 1) if ini.optional(_SAMPLING, "num_runs") else None,
        details=ini.free_text(_DETAILS),
        sections=ini.texts(),
        lab_names=True,
        warnings=tuple(_warnings(ini)),
    )


def _program(ini: _Ini) -> str | None:
    """Return the board's program; None: the file names none."""
    program = ini.optional(_PATHS, "stream_exec")
    # a bare name that is not in the current directory is looked for on PATH
    if program is not None and (os.sep in program or os.path.exists(program)):
        return ini.file_path(_PATHS, "stream_exec")
    if program is not None and "\0" in program:
        raise ini.wrong(_PATHS, "stream_exec", f"{shown(program)} is not a path")
    return program


def _warnings(ini: _Ini) -> Iterator[str]:
    """Yield what the file asks for that will not come through fastcap."""
    for section in (_BOARD, _PATHS):
        saves = ini.optional(section, "save_to_file")
        if saves is not None and _BOOLEANS.get(saves.lower(), True):
            yield (
                f"{ini.path}: [{section}] save_to_file = {saves} is not passed on: data that the program saves by "
                "itself do not come through fastcap, which stores what it writes to standard output"
            )


def _arguments(ini: _Ini) -> tuple[str, ...]:
    """Return the program's arguments."""
    argv = ["-U", ini.file_path(_PATHS, "board")]
    argv += ["-q", str(ini.integer(_BOARD, "num_samples")), "-s", str(ini.integer(_BOARD, "skip_num"))]
    speed, encode = ini.get(_BOARD, "speed"), ini.get(_BOARD, "encode")
    if (flag := _SPEED_FLAGS.get(speed[:1].lower())) is None:
        raise ini.wrong(_BOARD, "speed", f"{shown(speed)} is neither low (10 MHz) nor high (20 MHz)")
    if (encoding := encode[:3].lower()) != _BINARY:
        known = "supported" if encoding in _OTHER_ENCODINGS else "known"
        raise ini.wrong(_BOARD, "encode", f"{shown(encode)} is not {known}; set encode to binary")
    argv += [flag, "-b"]
    for key, flag in (("vga_num", "-G"), ("filter_const", "-F")):
        present = ini.has(_BOARD, key) or ini.has(_BOARD, f"{key}_enable")
        if present and ini.enabled(_BOARD, f"{key}_enable"):
            argv += [flag, str(ini.integer(_BOARD, key))]
    for key, written in ini.written[_BOARD].items():
        if key not in _KNOWN[_BOARD]:
            if written.startswith("-"):
                raise ini.wrong(_BOARD, written, "a key is a flag without its -; remove that")
            argv.append(f"-{written}")
            argv += [value] if (value := ini.get(_BOARD, key)) else []
    if any("\0" in arg for arg in argv):
        raise ConfigError(f"{ini.path}: [{_BOARD}] holds a NUL character; no program can be given one")
    return tuple(argv)


def _one_line(error: configparser.Error) -> str:
    """Say in one line what configparser says in several."""
    match error:
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno} {shown(error.line)} stands before any [Section]; is it INI?"
        case configparser.DuplicateSectionError():
            return f"line {error.lineno}: section [{error.section}] stands here twice; remove one"
        case configparser.DuplicateOptionError():
            return f"line {error.lineno}: key {error.option} stands twice in [{error.section}]; remove one"
        case configparser.ParsingError() if getattr(error, "errors", None):
            number, line = error.errors[0]
            written = line if line.isprintable() else repr(line)  # since Python 3.13 it is the line itself
            return f"line {number} {written[:80]} is not KEY = VALUE"
        case configparser.InterpolationDepthError():
            return "its ${...} lead back to itself, or too deep"
        case configparser.InterpolationMissingOptionError():
            return f"${{{error.reference}}} names a key that is not there"
    return " ".join(str(error).split())
