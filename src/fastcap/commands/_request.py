"""What ``fastcap capture`` was asked for: arguments, completed from the configuration's ``[capture]``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from fastcap import naming, spec
from fastcap.board import Board
from fastcap.errors import ConfigError
from fastcap.sources import resolve_source


class Request:
    """A capture that was asked for, checked as far as possible without starting anything.

    Parameters
    ----------
    given : mapping
        The command's options; None (or empty) where they were not given.
    command : sequence of str, optional
        What stood after ``--``.

    Raises
    ------
    ConfigError, SourceError
        Options contradict each other or the source makes no sense.
    """

    def __init__(self, given: Mapping[str, Any], command: Sequence[str] | None = None) -> None:
        self._given = given
        ways = (("a command", command), ("--config", given["config"]), ("SOURCE", given["source"]))
        named = [way for way, value in ways if value is not None]
        if len(named) > 1:
            raise ConfigError(f"{' and '.join(named)} are both given; a capture has one source")
        if not named:
            raise ConfigError("no source; give a command after --, --config FILE, '-', or 'sim://?rate=2MHz'")
        if given["seconds"] is not None and given["samples"] is not None:
            both = f"--seconds {given['seconds']} and --samples {given['samples']}"
            raise ConfigError(f"{both} are both given; give one of them")
        value = list(command) if command is not None else given["source"]
        self.source = resolve_source(value, config=given["config"], overrides=given["overrides"])
        self.meta = dict(_meta(pair) for pair in given["meta"])
        self.repeated = self._option("repeat") is not None
        self.split = self._option("split")
        self.runs = self._runs()
        self.to = self._option("to")
        self.plot: str | None = given["plot"]
        if self.plot is not None:
            _check_drawable()

    @property
    def several(self) -> bool:
        """Several reports may come of it."""
        return self.repeated or self.split is not None

    def _option(self, name: str) -> Any:
        """Return an option as given, or as the configuration has it."""
        value = self._given[name]
        return self.source.options.get(name) if value is None else value

    def _runs(self) -> int:
        # num_runs files of one run are what the configuration's repeats stand for
        repeat = self._given["repeat"] if self.split == spec.NUM_RUNS else self._option("repeat")
        if repeat is None:
            return 1
        if repeat == "":
            if self.source.num_runs is None:
                raise ConfigError("--repeat has no number and no configuration has num_runs; give --repeat N")
            repeat = self.source.num_runs
        return _whole("--repeat", repeat)

    def board(self) -> Board:
        """Return the source to record from; nothing is started."""
        return Board(self.source, ring=self._option("ring"), realtime=bool(self._option("realtime")))

    def recording(self, board: Board, run: int) -> tuple[dict[str, Any], list[int]]:
        """Return the ``record`` message of one run, and its descriptors.

        Raises
        ------
        ValueError, ConfigError, SourceError, RingError
            Something makes no sense or cannot be had.
        """
        length, samples = self._length()
        fsync_every = self._option("fsync_every")
        to, name = self._names(run)
        return spec.recording(
            self.source, length=length, samples=samples, to=to, meta=self.meta, name=name, split=self.split,
            analyse=self._option("analyse"), checksum=self._option("checksum") or "sha256",
            fsync_every=fsync_every, on_full=self._option("on_full"), check_first=self._given["check_first"],
            source_timeout=self._option("source_timeout"), payload=self._option("payload"),
            ring_bytes=board.ring_bytes(fsync_every), later=self._later(run), **self._limits(),
        )  # fmt: skip

    def _limits(self) -> dict[str, Any]:
        """Return what the configuration says of the analysis beyond its function."""
        names = ("analyse_timeout", "analyse_memory", "analyse_lossless")
        return {name: self.source.options[name] for name in names if name in self.source.options}

    def message(self, board: Board, run: int) -> dict[str, Any]:
        """Return the ``record`` message alone."""
        message, fds = self.recording(board, run)
        for fd in fds:
            os.close(fd)
        return message

    def _length(self) -> tuple[Any, int | None]:
        """Return (seconds, samples); what the command line says overrides both of the configuration's."""
        seconds, samples = self._given["seconds"], self._given["samples"]
        if seconds is None and samples is None:
            seconds, samples = self.source.options.get("seconds"), self.source.options.get("samples")
        return seconds, None if samples is None else _whole("--samples", samples)

    def _names(self, run: int) -> tuple[str | None, str | None]:
        """Return destination and name of one run; fixed names are numbered."""
        to, name = self.to, self._option("name")
        if self._given["name"] is not None and to is not None and to.endswith(naming.BIN):
            raise ConfigError(
                f"--name {name} and --to {to} both name the file; give a directory, or no --name"
            )
        if self.runs == 1:
            return to, name
        if to is not None and to.endswith(naming.BIN):
            return naming.numbered(to, run + 1), name
        return to, None if name is None else naming.numbered(name, run + 1)

    def _later(self, run: int) -> list[str]:
        """Return the fixed names of the runs that follow the first: they are looked for at the start, too."""
        if run or self.runs == 1:
            return []
        to, name = self._names(0)
        if to is None or not to.endswith(naming.BIN):
            if name is None:
                return []
            fixed = [
                naming.recording_name(datetime.now(), {}, {}, self._names(k)[1]) for k in range(1, self.runs)
            ]
        else:
            fixed = [os.path.basename(self._names(k)[0] or "") for k in range(1, self.runs)]
        return [file.removesuffix(naming.BIN) for file in fixed]

    def picture(self, report: Mapping[str, Any], number: int, count: int) -> Path:
        """Return where the picture of one report goes: beside its file, or here where nothing was written."""
        if self.plot:
            target = Path(self.plot)
            return target if count == 1 else target.with_name(f"{target.stem}_{number:04d}{target.suffix}")
        if report["path"] is not None:
            return Path(report["path"]).with_suffix(".png")
        started = datetime.fromisoformat(report["started"])
        details, offset = self.source.details, self.source.lab_names
        return Path(naming.recording_name(started, details, self.meta, offset=offset)).with_suffix(".png")


def _whole(option: str, value: Any) -> int:
    """Return a positive whole number; ``2**20`` works, too."""
    from fastcap.arith import evaluate_integer

    try:
        number = evaluate_integer(value) if isinstance(value, str) else int(value)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{option} {value}: {error}") from error
    if number < 1:
        raise ConfigError(f"{option} {value}: must be at least 1")
    return number


def _meta(pair: str) -> tuple[str, str]:
    key, separator, value = pair.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--meta '{pair}' is not KEY=VALUE; give one such as laser_curr=392.8mA")
    return key.strip(), value.strip()


def _check_drawable() -> None:
    """Say before the capture, not after it, that no picture can be drawn."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib, which is not installed: pip install 'fastcap[plot]'")
