"""A drop-in for the lab's `VHFparser`: the same names, on top of `fastcap.Trace`.

What differs is what was wrong. Rollovers count from the file's first word on in every window and at every
block's edge; windows begin and end at the exact word, at any rate; a file may end in odd bytes; an open file
may stand anywhere; flags are read as a shell and getopt do, so that a path may hold `` -`` or ``# ``.
"""

from __future__ import annotations

import copy
import os
from datetime import datetime, timedelta
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastcap._timings import Timings
from fastcap.errors import StreamFormatError
from fastcap.stream import WORD_BYTES, Header, parse_header
from fastcap.trace import Trace, load

__all__ = ["Timings", "VHFparser"]

_NUMBERED = {"q": "num_words", "s": "skip"}
_TEXTS = {"U": "device", "o": "output", "G": "gain", "F": "filter_const", "v": "verbosity"}
_DESCRIPTORS = "/proc/self/fd/"
_ENCODINGS = {"binary": "b", "hexadecimal": "x", "text": "t", "ascii": "A"}


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
        the command line under its letter: an int where it is one, else text, "" for a flag without a value.
    headerraw : bytes
        The header's text.
    filesize : int
        Bytes of the file.
    timings : Timings
        Times and word indices of the file and of the window.

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
        self.header = _flags(header)
        self.headerraw = header.text
        self.timings = Timings(header.start, header.sample_rate_hz, self._trace)
        self._kept: dict[str, NDArray[Any]] = {}
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
        """Leave the values out: another process gets the file's name and the window."""
        if (self._trace.path or "").startswith(_DESCRIPTORS):
            raise TypeError("a parser of an open file without a name cannot be pickled; give the file's name")
        return {**self.__dict__, "_kept": {}}

    def resolve_m_overflow_idxs(self) -> None:
        """Find the file's rollovers now, so that later windows need not wait for it."""
        self._trace[len(self._trace) :].phase()

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

    @property
    def data(self) -> NDArray[np.uint64]:
        """Words of the window, ``(n,) uint64``: read-only: a copy."""
        return self._window.words

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
        """M of the window with its rollovers removed, ``(n,) int64``, turns."""
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
    header = parse_header(raw, payload)
    count = (len(raw) - header.header_bytes) // WORD_BYTES
    words = np.frombuffer(raw, dtype="<u8", count=count, offset=header.header_bytes).astype(np.uint64)
    return Trace.from_words(words, header), len(raw)


def _flags(header: Header) -> dict[str, Any]:
    """Return the header as the lab's scripts know it."""
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
    found["Time start"] = header.start
    found["base sampling freq"] = float(header.base_rate_hz)
    found["sampling freq"] = float(header.sample_rate_hz)
    return found


def _number(value: Any) -> Any:
    try:
        return int(value)
    except ValueError:
        return value
