"""What the supervisor is told about a recording: checked and written out, before anything is started.

Flow: the user's words (``"30s"``, a path, a function) -> exact numbers and names -> one JSON-able message.
Rates and lengths stay exact: [numerator, denominator].
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from fastcap.errors import ConfigError, SourceError
from fastcap.naming import recording_name, split_destination, stamp
from fastcap.payload import AUTO, NO_HEADER, check_payload
from fastcap.ringsize import default_fsync_bytes
from fastcap.sources import SourceSpec, with_length
from fastcap.units import parse_duration_s, parse_size

SKIP_WORDS = 12_000  # the board's start-up transient
ANALYSE_TIMEOUT = "10min"
NUM_RUNS = "num_runs"  # a split: as many files as the configuration has runs, without a gap
PIPE_MAX = "/proc/sys/fs/pipe-max-size"
SOURCE_TIMEOUT_S = 7.0
SOURCE_BUFFER_BYTES = 1 << 18  # what a program's standard output may hold back until it writes


def size(value: int | str | None) -> int | None:
    """Return a size in bytes; None stays None."""
    return None if value is None else parse_size(value)


def _pair(value: Fraction | None) -> list[int] | None:
    return None if value is None else [value.numerator, value.denominator]


GATHER_S = (
    0.008  # the reader lets words gather in the pipe for this long at most: each wake-up costs CPU time
)
LIVE_GATHER_S = 0.001


def pipe_bytes() -> int:
    """Return how far a pipe may be enlarged here."""
    try:
        return int(Path(PIPE_MAX).read_text())
    except (OSError, ValueError):
        return 1 << 20


def destination(to: str | os.PathLike[str] | None, source: SourceSpec) -> str | None:
    """Return where to write; None: nowhere.

    Raises
    ------
    ConfigError
        Nobody said where.
    """
    if to is None:
        if source.save_dir is None:
            raise ConfigError("no destination: name a directory or a .bin path with --to (or --to none)")
        return source.save_dir
    return None if os.fspath(to) == "none" else os.fspath(to)


def _sink(
    to: str, source: SourceSpec, started: datetime, meta: Mapping[str, str], name: str | None,
    split: Fraction | None, words: int | None, later: Sequence[str], checksum: str, fsync_every: int,
    **rest: Any,
) -> dict[str, Any]:  # fmt: skip
    if checksum not in ("sha256", "none"):
        raise ValueError(f"checksum '{checksum}' is neither 'sha256' nor 'none'")
    directory, file = split_destination(to)
    directory = os.path.abspath(directory)  # the user may change directories while this drains
    offset = source.lab_names
    named = file or recording_name(started, source.details, meta, name, offset=offset)
    base = named.removesuffix(".bin")
    names: dict[str, Any] = {"base": base, "later": list(later), "fixed": file is not None}
    if split is not None:
        names["split"] = True
        if words is not None and source.sample_rate_hz is not None:
            names["file_words"] = max(1, int(split * source.sample_rate_hz))
            names["files"] = -(-words // names["file_words"])
        if file is None and name is None and source.sample_rate_hz is not None:
            names |= {
                "start": started.isoformat(),
                "offset": offset,
                "suffix": base.removeprefix(stamp(started, offset=offset)),
                "rate": _pair(source.sample_rate_hz),
            }
    return {"directory": directory, "names": names, "checksum": checksum, "fsync_every": fsync_every, **rest}


def analysis(
    analyse: str | Callable[..., Any] | None, *, statistics: bool = False, meta: Mapping[str, str] | None = None,
    rate: list[int] | None = None, timeout: Any = ANALYSE_TIMEOUT, memory: Any = None, lossless: bool = True,
) -> dict[str, Any] | None:  # fmt: skip
    """Return the message's part on analysis: the function, what it may take, what comes with it; None: no analysis.

    Raises
    ------
    ConfigError, ValueError
        There is no function of this name, or a limit is invalid.
    """
    timeout_s = None if timeout in (None, "none") else parse_duration_s(timeout)
    if timeout_s is not None and timeout_s <= 0:
        raise ValueError(f"analyse_timeout of {timeout} s: must be above 0, or None for no limit")
    memory_bytes = size(memory)
    if memory_bytes is not None and memory_bytes <= 0:
        raise ValueError(f"analyse_memory of {memory} bytes: must be above 0")
    if analyse is None and not statistics:
        return None
    pickled = None
    if analyse is not None and not isinstance(analyse, str):
        import cloudpickle

        pickled = base64.b64encode(cloudpickle.dumps(analyse)).decode()
    elif analyse is not None:
        if analyse.count(":") != 1 or not all(analyse.split(":")):
            raise ConfigError(f"analysis function '{analyse}' is not MODULE:FUNCTION")
        from fastcap._analysisname import check_function

        check_function(analyse, [os.getcwd()])
    return {
        "analyse": analyse if isinstance(analyse, str) else None, "pickled": pickled, "path": os.getcwd(),
        "sys_path": [os.path.abspath(place) for place in sys.path],  # a pickled function names its module
        "skip_words": SKIP_WORDS, "word_bytes": 8, "hold": analyse is not None,
        "meta": dict(meta or {}), "rate": rate, "timeout_s": None if timeout_s is None else float(timeout_s),
        "memory_bytes": memory_bytes, "lossless": lossless,
    }  # fmt: skip


def _one_run(source: SourceSpec, length: Any, samples: int | None) -> tuple[int, None, Fraction]:
    """Return words, no seconds, and the seconds of each file, of ``num_runs`` files that are one run.

    Raises
    ------
    ConfigError, ValueError
        The configuration does not say how many files, or how long they are.
    """
    if length is not None or samples is not None:
        raise ValueError(
            "a split into num_runs files, and a length: each has num_samples; --set num_samples=N instead"
        )
    if source.num_runs is None:
        raise ConfigError(f"a split into num_runs files: {source.label} has no num_runs; --set num_runs=N")
    if source.num_words is None or source.sample_rate_hz is None:
        raise ConfigError(
            f"a split into num_runs files: {source.label} has no num_samples; --set num_samples=N"
        )
    words = source.num_runs * source.num_words
    return words, None, source.num_words / source.sample_rate_hz


def _extent(
    source: SourceSpec, length: Any, samples: int | None, split: Any, *, endless: bool
) -> tuple[int | None, Fraction | None, Fraction | None]:
    """Return words, seconds (see `_length`), and the seconds of each file; None: one file."""
    if split == NUM_RUNS and not endless:
        return _one_run(source, length, samples)
    words, seconds = (None, None) if endless else _length(source, length, samples)
    split_s = None if split is None else parse_duration_s(split)
    if split_s is not None and split_s <= 0:
        raise ValueError(f"split every {split} s: must be above 0")
    return words, seconds, split_s


def _length(source: SourceSpec, length: Any, samples: int | None) -> tuple[int | None, Fraction | None]:
    """Return (words, seconds): at most one is set; both None: until the source ends.

    Raises
    ------
    ValueError
        Both are given, or one makes no sense.
    """
    if length is not None and samples is not None:
        raise ValueError("a length in seconds and one in samples: give one of them")
    if samples is not None:
        if samples <= 0:
            raise ValueError(f"{samples} samples: must be above 0")
        return samples, None
    if length is None:
        return source.num_words, None
    seconds = parse_duration_s(length)
    if seconds <= 0:
        raise ValueError(f"length of {length} s: must be above 0")
    if source.sample_rate_hz is not None:
        return max(1, int(seconds * source.sample_rate_hz)), None
    return None, seconds


def _source_timeout(value: Any, source: SourceSpec) -> dict[str, float] | None:
    """Return how long the source may be silent: the more of a time and of what a buffer takes to fill; None: for ever.

    Parameters
    ----------
    value : str, number or None
        0: for ever. None: what the configuration says; else 7 s, or what 256 KiB take at the source's rate if that
        is longer, for what is run here; for ever for files and standard input.

    Raises
    ------
    ValueError
        It is not a time.
    """
    if value is None:
        value = source.options.get("source_timeout")
    if value is None:
        if source.argv is None:
            return None
        return {"seconds": SOURCE_TIMEOUT_S, "buffer_bytes": SOURCE_BUFFER_BYTES}
    try:
        seconds = float(parse_duration_s(value))
    except ValueError as error:
        raise ValueError(f"source time-out: {error}; 0 for none") from error
    return {"seconds": seconds, "buffer_bytes": 0} if seconds else None


def _open_source(source: SourceSpec) -> list[int]:
    """Return the descriptor to hand over for a source that is no command."""
    if source.kind == "file":
        try:
            return [os.open(source.path or "", os.O_RDONLY | os.O_CLOEXEC)]
        except OSError as e:
            raise SourceError(
                f"cannot read '{source.path}': {e.strerror}; check the path and its rights"
            ) from e
    if source.fd is not None:
        return [os.dup(source.fd)]
    return []


def recording(
    source: SourceSpec, *, length: Any = None, samples: int | None = None, to: Any = None,
    meta: Mapping[str, str] | None = None, name: str | None = None, split: Any = None, analyse: Any = None,
    checksum: str = "sha256", fsync_every: Any = None, on_full: str | None = None, check_first: bool = False,
    statistics: bool = False, stalls: Sequence[tuple[float, float]] = (), ring_bytes: int, live: bool = False,
    analyse_timeout: Any = ANALYSE_TIMEOUT, analyse_memory: Any = None, analyse_lossless: bool = True,
    endless: bool = False, later: Sequence[str] = (), source_timeout: Any = None, payload: str | None = None,
) -> tuple[dict[str, Any], list[int]]:  # fmt: skip
    """Return the ``record`` message and the descriptors that go with it (the caller's to close).

    With ``live`` somebody waits for every word: the reader lets fewer of them gather, and wakes more often.
    With ``endless`` the source runs until it is told to end, whatever the configuration says. ``later`` are names
    of files (without ending, and number) that later recordings need: they must not exist, either. ``payload`` says
    where data begin in the stream: see `fastcap.payload`.

    Raises
    ------
    ValueError, ConfigError, SourceError, RingError
        Something makes no sense or cannot be had; nothing was started.
    """
    if on_full not in (None, "drop", "wait"):
        raise ValueError(f"on_full '{on_full}' is neither 'drop' nor 'wait'")
    payload = check_payload(payload)
    max_words, max_seconds, split_s = _extent(source, length, samples, split, endless=endless)
    if max_words is not None:
        source = with_length(source, max_words)
    elif endless:
        source = with_length(source, 0)
    where = destination(to, source)
    if where is None and split_s is not None:
        raise ValueError("a split of files, and none is written: leave --split out, or name a destination")
    started = datetime.now().astimezone()
    rate = source.sample_rate_hz
    bytes_per_s = float(rate * 8) if rate else None
    every = size(fsync_every) or default_fsync_bytes(ring_bytes, bytes_per_s)
    sink = None
    if where is not None:
        sink = _sink(
            where, source, started, meta or {}, name, split_s, max_words, later, checksum, every,
            rate=_pair(rate), bytes_per_s=bytes_per_s, check_first=check_first, stalls=[list(s) for s in stalls],
        )  # fmt: skip
    seconds = max_words / rate if max_words and rate else max_seconds
    end = started + timedelta(seconds=float(seconds)) if seconds else None
    can_wait = source.can_wait if on_full is None else on_full == "wait"
    header = {True: "yes", False: "no", None: "auto"}[source.expect_header]
    if payload != AUTO:
        header = "no" if payload == NO_HEADER else "yes"
    message = {
        "source": {
            "kind": "command" if source.argv else "fd", "argv": list(source.argv or ()), "cwd": source.cwd,
            "device": source.device,
        },
        "label": source.label, "command": list(source.argv) if source.argv else [source.label],
        "word_bytes": 8, "header": header, "payload": payload, "rate": _pair(rate), "max_words": max_words,
        "max_seconds": _pair(max_seconds), "split_seconds": _pair(split_s), "windows": None,
        "can_wait": can_wait, "source_timeout": _source_timeout(source_timeout, source),
        "replay_bytes_per_s": float(source.replay_rate_hz * 8) if source.replay_rate_hz else 0.0,
        "gather_s": LIVE_GATHER_S if live else GATHER_S,
        "pipe_bytes": pipe_bytes(), "ring_bytes": ring_bytes, "sink": sink,
        "analysis": analysis(
            analyse, statistics=statistics, meta={**source.details, **(meta or {})}, rate=_pair(rate),
            timeout=analyse_timeout, memory=analyse_memory, lossless=analyse_lossless,
        ),
        "meta": {**source.details, **(meta or {})}, "started": started.isoformat(),
        "warnings": list(source.warnings),
        "lock_info": {
            "destination": where and os.path.abspath(where), "device": source.device, "label": source.label,
            "expected_end": end.isoformat() if end else None, "started": started.isoformat(),
        },
    }  # fmt: skip
    return message, _open_source(source)
