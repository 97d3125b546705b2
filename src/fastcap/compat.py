"""A drop-in for the lab's `VHFparser`: the same names, on top of `fastcap.Trace`.

What differs is what was wrong. Rollovers count from the file's first word on in every window and at every
block's edge; windows begin and end at the exact word, at any rate; a file may end in odd bytes; an open file
may stand anywhere; flags are read as a shell and getopt do, so that a path may hold `` -`` or ``# ``. V2 files
are read like V1 files.

Nothing is ever written: a script looks at files that are others', or gone in a moment. Pickled, a parser takes
its rollovers along, so that other processes need not look for them again.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcap._origin import Origin
from fastcap._stored import InMemory
from fastcap._timings import Timings
from fastcap._tracefile import Facts
from fastcap.errors import StreamFormatError
from fastcap.rollovers import find_rollovers
from fastcap.stream import WORD_BYTES, Header, parse_header
from fastcap.trace import Trace, load
from fastcap.v2header import V2Header, is_v2, parse_v2_header, read_v2_header

__all__ = ["ManifoldRollover", "Timings", "VHF_v1_parser", "VHFparser"]

_NUMBERED = {"q": "num_words", "s": "skip"}
_TEXTS = {"U": "device", "o": "output", "G": "gain", "F": "filter_const", "v": "verbosity"}
_DESCRIPTORS = "/proc/self/fd/"
_ENCODINGS = {"binary": "b", "hexadecimal": "x", "text": "t", "ascii": "A"}


class ManifoldRollover(NamedTuple):
    """Rollovers of M in all of a file, as the lab's scripts know them.

    Attributes
    ----------
    sparse_m_delta_idx : (n,) intp
        Words at which M has rolled over, from the file's first.
    sparse_m_delta : (n,) int16
        1 where M jumped up by about 65,536, -1 where it jumped down: M~ is M - 65536 times their sum so far.
    """

    sparse_m_delta_idx: NDArray[np.intp]
    sparse_m_delta: NDArray[np.int16]


def _computed(name: str) -> property:
    """Return a property of `VHFparser`: the window's values that are kept under ``name``, None if there are none."""

    def kept(self: VHFparser) -> NDArray[Any] | None:
        return self._kept.get(name)

    return property(kept)


class VHFparser:
    """A file of the board, or a window of it, as the lab's scripts see it.

    Parameters
    ----------
    filename : path or binary file
        An open file is read from its beginning, wherever it stands, and may be closed afterwards.
    headers_only : bool
        Read nothing but the header now. Data are read when they are asked for in either case.
    plot_start_time : datetime or timedelta, optional
        Where the window begins; see `update_plot_timing`.
    plot_duration : timedelta, optional
        How long it is.
    plot_end_time : datetime, optional
        Where it ends, instead of a duration.
    payload : {"auto", "8n", "8n+8"}
        Where data begin; see `fastcap.payload`.

    Attributes
    ----------
    header : dict
        ``Time start`` (datetime), ``base sampling freq`` and ``sampling freq`` (Hz, float), and each flag of
        the command line under its letter: an int where it is one, else text, "" for a flag without a value. Of a
        V2 file the flags that its JSON amounts to, and the JSON's own keys.
    headerraw : bytes
        The header's text; of a V2 file the JSON.
    filesize : int
        Bytes of the file.
    timings : Timings
        Times and word indices of the file and of the window.
    _filename : path or binary file
        As it was given.
    _num_head_bytes, _num_trc_bytes, _bytes_per_word : int
        Bytes before the first word; *words* of the file; 8.
    _m_mgr : ManifoldRollover or None
        The file's rollovers, None if there are none; looked for when first asked for.
    _m_mgr_obtained, _pre_trace_parsing_called : bool
        They have been looked for.
    _data, _i_arr, _q_arr, _m_arr, _phase, _radii : array or None
        Values of the window that were computed already.
    logger : logging.Logger
        ``vhfparser``.

    Notes
    -----
    `reduced_phase` has the sign of the lab's parser of 2023, ``-atan2(I, Q)/2π - M~``; its later one has the other.

    Raises
    ------
    StreamFormatError
        There is no such file, or no header that gives rate and start.
    ValueError
        The window makes no sense.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str] | IO[bytes],
        *,
        headers_only: bool = False,
        plot_start_time: datetime | timedelta | None = None,
        plot_duration: timedelta | None = None,
        plot_end_time: datetime | None = None,
        payload: str = "auto",
    ) -> None:
        self._trace, self.filesize = _opened(filename, payload)
        header = self._trace.header
        if header is None:
            raise StreamFormatError(f"{filename}: {self._trace.header_problem}")
        if header.start is None:
            raise StreamFormatError(f"{filename}: its header gives no recording start")
        self._filename = filename
        self.header = _flags(header)
        self.headerraw = header.text
        self._num_head_bytes, self._num_trc_bytes = header.header_bytes, len(self._trace)
        self._bytes_per_word = WORD_BYTES
        self.timings = Timings(self.header["Time start"], header.sample_rate_hz, self._trace)
        self._kept: dict[str, NDArray[Any]] = {}
        self._rollovers = self._trace._origin.facts.complete_rollovers
        self._use_rollovers()
        if (plot_start_time, plot_duration, plot_end_time) != (None, None, None):
            self.timings.update_plot_timing(plot_start_time, plot_duration, plot_end_time)
        if not headers_only:
            self.resolve_m_overflow_idxs()

    def __deepcopy__(self, memo: dict[int, Any]) -> VHFparser:
        """Return a parser with a window of its own, of the same file: words are not copied."""
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__
        other.header = copy.deepcopy(self.header, memo)
        other.timings = copy.copy(self.timings)
        other._kept = {}
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Leave the values out: another process gets the file's name, its rollovers and the window."""
        if (self._trace.path or "").startswith(_DESCRIPTORS):
            raise TypeError("a parser of an open file without a name cannot be pickled; give the file's name")
        name = self._filename if isinstance(self._filename, (str, os.PathLike)) else self._trace.path
        return {**self.__dict__, "_kept": {}, "_filename": name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._use_rollovers()

    def _use_rollovers(self) -> None:
        """Let the trace count with the rollovers that are known, and write no index of it."""
        index = self._trace._origin.index
        index.read_only = True
        if self._rollovers is not None:
            index.rollovers = self._rollovers

    def resolve_m_overflow_idxs(self) -> None:
        """Find the file's rollovers now, so that later windows need not wait for it; reads the file, once."""
        if self._rollovers is None:
            origin = self._trace._origin
            self._rollovers = find_rollovers(origin.stored, origin.facts.wraps)
            self._use_rollovers()

    _pre_trace_parsing = _obtain_m_deltas = resolve_m_overflow_idxs

    @property
    def _m_mgr_obtained(self) -> bool:
        return self._rollovers is not None

    _pre_trace_parsing_called = _m_mgr_obtained

    @property
    def _m_mgr(self) -> ManifoldRollover | None:
        self.resolve_m_overflow_idxs()
        found = self._rollovers
        if found is None or not found.words:
            return None
        return ManifoldRollover(np.array(found.words, np.intp), np.array(found.steps, np.int16))

    @property
    def logger(self) -> logging.Logger:
        """The logger of the lab's name."""
        return logging.getLogger("vhfparser")

    def _all_trace(self, bsize: int = 200_000) -> Iterator[NDArray[np.uint64]]:
        """Yield all words of the file, ``bsize`` at a time."""
        for at in range(0, len(self._trace), bsize):
            yield self._trace[at : at + bsize].words

    def read_words(self) -> None:
        """Compute I, Q and M of the window now."""
        for name in ("i_arr", "q_arr", "m_arr"):
            getattr(self, name)

    _read_words = read_words

    def update_plot_timing(
        self,
        lazy: bool = False,
        *,
        start: datetime | timedelta | None = None,
        duration: timedelta | None = None,
        end: datetime | None = None,
    ) -> None:
        """Choose another window; see `Timings.update_plot_timing`. Nothing is read before it is asked for.

        Parameters
        ----------
        lazy : bool
            Taken for compatibility: windows are always lazy.
        """
        if self.timings.update_plot_timing(start, duration, end):
            self._kept.clear()

    @property
    def _window(self) -> Trace:
        return self._trace[self.timings.start_idx : self.timings.end_idx]

    def _keep(self, name: str) -> NDArray[Any]:
        """Return values of the window, computed once until the window changes."""
        if name not in self._kept:
            self._kept[name] = getattr(self._window, name)()
        return self._kept[name]

    _data, _i_arr, _q_arr = _computed("data"), _computed("i"), _computed("q")
    _m_arr, _phase, _radii = _computed("m_arr"), _computed("phase"), _computed("radius")

    @property
    def data(self) -> NDArray[np.uint64]:
        """Words of the window, ``(n,) uint64``, read-only: a copy."""
        if "data" not in self._kept:
            self._kept["data"] = self._window.words
        return self._kept["data"]

    @property
    def i_arr(self) -> NDArray[np.int32]:
        """I of the window, ``(n,) int32``, ADC counts."""
        return self._keep("i")

    @property
    def q_arr(self) -> NDArray[np.int32]:
        """Q of the window, ``(n,) int32``, ADC counts."""
        return self._keep("q")

    @property
    def m_arr(self) -> NDArray[np.int64]:
        """M of the window with its rollovers undone, ``(n,) int64``, turns."""
        if "m_arr" not in self._kept:
            wrapped = np.arctan2(self.i_arr, self.q_arr) / (2 * np.pi)
            self._kept["m_arr"] = np.rint(-self.reduced_phase - wrapped).astype(np.int64)
        return self._kept["m_arr"]

    @property
    def reduced_phase(self) -> NDArray[np.float64]:
        """Phase of the window in turns, unwrapped from the file's first word, ``(n,) float64``."""
        return self._keep("phase")

    @property
    def radii(self) -> NDArray[np.float64]:
        """Radius of the window, ``(n,) float64``, ADC counts."""
        return self._keep("radius")


VHF_v1_parser = VHFparser  # what the lab's package calls it since 2024


def _opened(source: str | os.PathLike[str] | IO[bytes], payload: str) -> tuple[Trace, int]:
    """Return the trace of a name or an open file, and the file's size."""
    if isinstance(source, (str, os.PathLike)):
        trace = load(source, payload=payload)
        return trace, os.path.getsize(source)
    try:
        number = source.fileno()
    except (AttributeError, OSError):
        return _in_memory(source, payload)
    if source.writable():
        source.flush()
    name = source.name
    named = (
        isinstance(name, str) and os.path.exists(name) and os.path.samestat(os.stat(name), os.fstat(number))
    )
    return load(name if named else f"{_DESCRIPTORS}{number}", payload=payload), os.fstat(number).st_size


def _in_memory(source: IO[bytes], payload: str) -> tuple[Trace, int]:
    """Return the trace of what only looks like a file."""
    try:
        source.seek(0)
        raw = source.read()
    except (AttributeError, OSError) as error:
        raise StreamFormatError(f"{source!r} is no file name and no file that can seek") from error
    if is_v2(raw, payload):
        return _v2_in_memory(source, raw), len(raw)
    header = parse_header(raw, payload)
    count = (len(raw) - header.header_bytes) // WORD_BYTES
    words = np.frombuffer(raw, dtype="<u8", count=count, offset=header.header_bytes).astype(np.uint64)
    return Trace.from_words(words, header), len(raw)


def _v2_in_memory(source: IO[bytes], raw: bytes) -> Trace:
    """Return the trace of a V2 file's bytes; rollovers are found in its words."""
    header = parse_v2_header(read_v2_header(source, len(raw)))
    order = "<" if header.byte_order == "little" else ">"
    count = (len(raw) - header.header_bytes) // WORD_BYTES
    words = np.frombuffer(raw, f"{order}u8", count, header.header_bytes).astype(np.uint64)
    facts = Facts(
        header=header,
        rate=header.sample_rate_hz,
        start=header.start,
        start_ns=header.start_ns,
        meta=header.meta,
        layout=header.layout,
        wraps=header.wraps,
    )
    return Trace(Origin(InMemory(words), facts), 0, count)


def _v2_flags(header: V2Header) -> dict[str, Any]:
    """Return a V2 file's header as the flags of a command line that would have made it."""
    from fastcap.teststream import SLOW_HZ

    given = {
        "q": header.num_words,
        "s": header.skip,
        "G": header.gain,
        "F": header.filter_const,
        "l" if header.base_rate_hz == SLOW_HZ else "h": "",
    }
    return {key: value for key, value in given.items() if value is not None} | header.details


def _flags(header: Header) -> dict[str, Any]:
    """Return the header as the lab's scripts know it."""
    times = {
        "Time start": _start(header),
        "base sampling freq": float(header.base_rate_hz),
        "sampling freq": float(header.sample_rate_hz),
    }
    return (_v2_flags(header) if isinstance(header, V2Header) else _argv_flags(header)) | times


def _start(header: Header) -> datetime | None:
    """Return the recording's start; without a zone where its text has none, as the lab's parser does."""
    if header.start is None or header.start_time is None or header.start_time.offset:
        return header.start
    return header.start.replace(tzinfo=None)


def _argv_flags(header: Header) -> dict[str, Any]:
    from fastcap.teststream import FAST_HZ, SLOW_HZ, parse_board_argv

    flags = parse_board_argv(header.argv or ())
    found: dict[str, Any] = {}
    for letter, field in (_TEXTS | _NUMBERED).items():
        value = getattr(flags, field)
        if value is not None and (letter != "s" or header.argv):
            found[letter] = _number(value)
    if header.argv:
        found[{SLOW_HZ: "l", FAST_HZ: "h"}[flags.base_rate_hz]] = ""
        found[_ENCODINGS[flags.encoding]] = ""
    for flag in flags.extra:
        if flag.startswith("-") and flag != "-":
            found[flag[1]] = _number(flag[2:])
    return found


def _number(value: Any) -> Any:
    try:
        return int(value)
    except ValueError:
        return value
