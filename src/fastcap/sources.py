"""What a capture reads from: the board, a command, an emulated board, a file, a descriptor.

Flow: `resolve_source` says what a source is and starts nothing; `with_length` tells a board how long to run;
`check_startable` says in one line why a source could not be started, before anything is. Devices are only
ever looked at by stat(2), never opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap._boardargv import board_part, is_emulator, refusal, with_num_words
from fastcap._messages import did_you_mean, shown
from fastcap._startable import check_device, check_fd, check_file, check_program
from fastcap.config import BoardConfig, absolute_path, load_board_config
from fastcap.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["SourceSpec", "check_startable", "resolve_source", "with_length"]

_SCHEMES = ("sim", "file")
_CONFIGS = (".ini", ".toml")
_FORMS = (
    "a command as a list, an .ini or .toml file, '-' for standard input, 'sim://?rate=2MHz', "
    "'file:///PATH?rate=2MHz', or an open descriptor"
)


class SourceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A source, resolved: everything that is needed to start it and to name what it gives.

    Attributes
    ----------
    kind : {"command", "sim", "stdin", "file", "fd", "device"}
        ``command`` and ``sim`` have an ``argv``, ``file`` a ``path``, ``stdin`` and ``fd`` an ``fd``; ``device`` is a
        board whose program is not named: it can be described, but not started.
    label : str
        What to call it in messages.
    cwd : str or None
        The command's working directory.
    fd : int or None
        The caller's; never closed here.
    device : str or None
        The device to lock, absolute.
    rate_pair, replay_rate_pair : (int, int) or None
        Numerator and denominator of `sample_rate_hz` and `replay_rate_hz`.
    num_words : int or None
        Its own length; None: endless, or not known.
    expect_header : bool or None
        The stream begins with the board's header; None: look whether it does, as where a board's program is given no
        ``-v`` that asks for one.
    can_wait : bool
        It may be kept waiting when the ring is full; otherwise words are dropped.
    save_dir, num_runs, details, options, config_path, lab_names, warnings
        From the configuration: see `fastcap.config.BoardConfig`.
    """

    kind: str
    label: str
    argv: tuple[str, ...] | None = None
    cwd: str | None = None
    path: str | None = None
    fd: int | None = None
    device: str | None = None
    rate_pair: tuple[int, int] | None = None
    replay_rate_pair: tuple[int, int] | None = None
    num_words: int | None = None
    expect_header: bool | None = None
    can_wait: bool = False
    save_dir: str | None = None
    num_runs: int | None = None
    details: dict[str, str] = {}
    options: dict[str, Any] = {}
    config_path: str | None = None
    lab_names: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def sample_rate_hz(self) -> Fraction | None:
        """Words per second, exactly, as the flags or the URL say."""
        return _fraction(self.rate_pair)

    @property
    def rate(self) -> Fraction | None:
        """Short for `sample_rate_hz`."""
        return self.sample_rate_hz

    @property
    def replay_rate_hz(self) -> Fraction | None:
        """Words per second at which a file is read; None: as fast as it goes."""
        return _fraction(self.replay_rate_pair)

    @property
    def replay_rate(self) -> Fraction | None:
        """Short for `replay_rate_hz`."""
        return self.replay_rate_hz


def resolve_source(
    source: Any = None,
    *,
    config: str | os.PathLike[str] | BoardConfig | None = None,
    overrides: Sequence[str] = (),
) -> SourceSpec:
    """Return what a source is; nothing is started.

    Parameters
    ----------
    source : list or tuple of str, str, path, int, or object with ``fileno()``
        A command, ``"-"``, an ``.ini`` or ``.toml`` file, a ``sim://`` or ``file://`` URL, a descriptor.
    config : path or BoardConfig
        A configuration instead of ``source``.
    overrides : sequence of str
        ``KEY=VALUE`` for the configuration.

    Raises
    ------
    ConfigError
        It is none of these, or says something that makes no sense.
    SourceError
        The descriptor or file cannot be read.
    """
    if source is not None and config is not None:
        raise ConfigError(f"both a source ({shown(source)}) and a configuration are given; give one of them")
    if isinstance(source, str | os.PathLike):
        source = os.fspath(source)
        if isinstance(source, str) and source.lower().endswith(_CONFIGS) and _scheme(source) is None:
            config = source
    if config is not None:
        loaded = config if isinstance(config, BoardConfig) else load_board_config(config, overrides)
        return _from_config(loaded)
    if overrides:
        raise ConfigError(f"override {shown(overrides[0])} needs a configuration; give an .ini or .toml")
    return _from_value(source)


def with_length(spec: SourceSpec, words: int) -> SourceSpec:
    """Return a source that ends after ``words`` (0: never): ``-q`` of a board's program is set, others stay."""
    if spec.argv is None or board_part(spec.argv) is None:
        return spec
    return msgspec.structs.replace(spec, argv=with_num_words(spec.argv, words), num_words=words or None)


def check_startable(spec: SourceSpec) -> None:
    """Say why a source cannot be started, if so. Nothing is opened, least of all a device.

    Raises
    ------
    SourceError
        Program, working directory, device or file is missing or may not be used; the input is a terminal.
    """
    if spec.argv is not None:
        check_program(spec.argv[0], spec.cwd)
    if spec.kind == "device":
        raise SourceError(
            f"{spec.label}: [Paths] has no stream_exec, and a board is read by its program only; name the program, "
            "or --set stream_exec=PROGRAM"
        )
    if spec.device is not None:
        check_device(spec.device)
    if spec.path is not None:
        check_file(spec.path)
    if spec.fd is not None:
        check_fd(spec.fd, spec.label)


def _from_value(source: Any) -> SourceSpec:
    if isinstance(source, list | tuple):
        return _from_command(source)
    if isinstance(source, str):
        return _from_text(source)
    if isinstance(source, int) and not isinstance(source, bool):
        return _from_fd(source)
    if hasattr(source, "fileno"):
        try:
            return _from_fd(source.fileno())
        except (OSError, ValueError) as error:
            raise SourceError(f"source {shown(source)} has no descriptor to read from: {error}") from error
    given = "no source is given" if source is None else f"source {shown(source)} is not understood"
    raise ConfigError(f"{given}; give {_FORMS}")


def _from_text(text: str) -> SourceSpec:
    if text == "-":
        return SourceSpec(kind="stdin", label="standard input", fd=0, can_wait=True)
    scheme = _scheme(text)
    if not text or "\0" in text or (scheme and scheme not in _SCHEMES):
        hint = did_you_mean(scheme, [f"{known}://" for known in _SCHEMES]) if scheme else f"; give {_FORMS}"
        raise ConfigError(f"source {shown(text)} is not understood{hint}")
    if scheme == "sim":
        return _from_sim(text)
    if scheme == "file":
        return _from_file(text)
    if os.path.isdir(text):
        raise ConfigError(f"source {shown(text)} is a directory; give {_FORMS}")
    if os.path.exists(text):
        from urllib.parse import quote

        url = f"file://{quote(os.path.abspath(text))}?rate=2MHz"
        raise ConfigError(f"source {shown(text)} is a plain path; to replay a data file write '{url}'")
    raise ConfigError(f"source {shown(text)} does not exist and is no URL; give {_FORMS}")


def _scheme(text: str) -> str | None:
    """Return the scheme of a URL; ``sim:`` and ``file:`` need no slashes."""
    head, separator, rest = text.partition(":")
    return head if separator and (rest.startswith("//") or head in _SCHEMES) else None


def _from_command(command: Sequence[Any]) -> SourceSpec:
    argv = tuple(os.fspath(arg) if isinstance(arg, os.PathLike) else arg for arg in command)
    if wrong := [arg for arg in argv if not isinstance(arg, str) or "\0" in arg]:
        raise ConfigError(f"command has the argument {shown(wrong[0])}; arguments are texts without NUL")
    if not argv or not argv[0]:
        raise ConfigError("command is empty; give a program and its arguments")
    return _command_spec(argv, label=f"command {os.path.basename(argv[0])}")


def _command_spec(argv: tuple[str, ...], *, label: str, cwd: str | None = None) -> SourceSpec:
    """Return a command's spec, with device, rate and length if it is the board's program."""
    spec = SourceSpec(kind="command", label=label, argv=argv, cwd=cwd, expect_header=True)
    part = board_part(argv)
    if part is None:
        return spec
    flags = part[1]
    if why := refusal(flags):
        raise ConfigError(f"{label}: {why}")
    device = None if flags.device is None else absolute_path(flags.device, cwd)
    if device is not None and is_emulator(argv) and not os.path.exists(device):
        device = None  # an emulated board has none; one that is there is respected
    clock_given = not any("10 MHz" in warning for warning in flags.warnings)
    told = clock_given or flags.skip or flags.device is not None
    return msgspec.structs.replace(
        spec,
        device=device,
        num_words=flags.num_words,
        expect_header=True if flags.writes_header else None,
        rate_pair=flags.sample_rate_hz.as_integer_ratio() if told else None,
    )


def _from_sim(url: str) -> SourceSpec:
    from fastcap._urls import sim_command

    argv, header = sim_command(url)
    spec = _command_spec(argv, label="emulated board")
    expected = False if header == "none" else spec.expect_header
    return msgspec.structs.replace(spec, kind="sim", expect_header=expected)


def _from_file(url: str) -> SourceSpec:
    from fastcap._urls import file_source

    path, rate_hz = file_source(url)
    check_file(path)
    pair = None if rate_hz is None else rate_hz.as_integer_ratio()
    return SourceSpec(
        kind="file", label=f"file {path}", path=path, rate_pair=pair, replay_rate_pair=pair, can_wait=True
    )


def _from_fd(fd: int) -> SourceSpec:
    label = f"descriptor {fd}"
    check_fd(fd, label)
    return SourceSpec(kind="fd", label=label, fd=fd, can_wait=True)


def _from_config(config: BoardConfig) -> SourceSpec:
    name = os.path.basename(config.path)
    if config.source_url is not None:
        if _scheme(config.source_url) not in _SCHEMES:
            url = shown(config.source_url)
            raise ConfigError(f"{config.path}: [board] source {url} is no sim:// or file:// URL")
        spec = _from_text(config.source_url)
    elif not config.argv:
        spec = SourceSpec(
            kind="device",
            label=f"board {config.device} ({name})",
            device=config.device,
            rate_pair=config.sample_rate_hz.as_integer_ratio() if config.sample_rate_hz else None,
            num_words=config.num_words,
            expect_header=False,
        )
    else:
        board = f"board {config.device}" if config.device else f"command {os.path.basename(config.argv[0])}"
        spec = _command_spec(config.argv, label=f"{board} ({name})", cwd=config.cwd)
    return msgspec.structs.replace(
        spec,
        save_dir=config.save_dir,
        num_runs=config.num_runs,
        details=config.details,
        options=config.options,
        config_path=config.path,
        lab_names=config.lab_names,
        warnings=config.warnings,
    )


def _fraction(pair: tuple[int, int] | None) -> Fraction | None:
    if pair is None:
        return None
    from fractions import Fraction

    return Fraction(*pair)
