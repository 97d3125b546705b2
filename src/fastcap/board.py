"""Open a source and record from it: what most scripts need of fastcap.

    with fc.open("VHF_board_params.ini") as board:
        cap = board.record("30s", "/mnt/nas/run")
        print(cap.report)

Flow: `open` resolves what the source is (`fastcap.sources`) and starts nothing. The first `record` or `stream`
starts a session; it and its ring serve all recordings of this board, the next one beginning while the last
still drains.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap import spec as _spec
from fastcap.errors import SinkError
from fastcap.model import Report
from fastcap.ringsize import checked_ring_bytes
from fastcap.session import Recording, Session
from fastcap.sources import SourceSpec, check_startable, resolve_source

if TYPE_CHECKING:
    from fastcap.live import Stream
    from fastcap.trace import Trace

Source = str | Path | Sequence[str] | int


class Capture:
    """One recording: under way, draining, or complete.

    Attributes
    ----------
    sampled : bool
        The source has ended and every byte it gave is accounted for.
    done : bool
        The file is complete and named, and the analysis has run.
    """

    def __init__(self, recording: Recording, analysis: bool) -> None:
        self._recording = recording
        self._analysis = analysis

    @property
    def sampled(self) -> bool:
        """The source has ended; the board is free."""
        return self._recording.sampled

    @property
    def done(self) -> bool:
        """Everything is complete."""
        return self._recording.done

    def wait(self, timeout_s: float | None = None) -> Capture:
        """Block until done.

        Raises
        ------
        FastcapError
            The recording failed; what arrived is still in the ring or the part file.
        TimeoutError
            ``timeout_s`` is over; the recording goes on.
        """
        if not self._recording.wait_for(lambda: self._recording.done, timeout_s):
            raise TimeoutError(f"not done within {timeout_s} s; the destination may be stalled: wait() again")
        return self

    @property
    def reports(self) -> tuple[Report, ...]:
        """The report of each file, in order; more than one with ``split``. Waits until done."""
        self.wait()
        return tuple(Report(r) for r in self._recording.reports)

    @property
    def report(self) -> Report:
        """The report (of the last file, with ``split``). Waits until done."""
        return self.reports[-1]

    @property
    def path(self) -> Path | None:
        """The complete file; None where nothing is written. Waits until done."""
        path = self.report["path"]
        return Path(path) if path else None

    @property
    def progress(self) -> Mapping[str, Any]:
        """The latest of what is known while it runs: bytes, backlog, losses."""
        return dict(self._recording.progress)

    def trace(self) -> Trace:
        """Open the complete file.

        Raises
        ------
        SinkError
            Nothing was written.
        """
        from fastcap.trace import load

        if self.path is None:
            raise SinkError("this recording was not written (to=None): there is no file to open")
        return load(self.path)

    def __repr__(self) -> str:
        state = "done" if self.done else "draining" if self.sampled else "running"
        return f"<Capture {self._recording.number}: {state}>"


class Board:
    """A source of samples: the board, or what stands for it. Made by `open`; use as a context manager.

    Parameters
    ----------
    source : SourceSpec
    ring : int or str, optional
        The ring's size; default see `fastcap.ringsize`.
    realtime : bool
        Ask for SCHED_FIFO and locked memory in the reader.
    """

    def __init__(self, source: SourceSpec, *, ring: int | str | None = None, realtime: bool = False) -> None:
        self.source = source
        self._ring_wanted = ring
        self._realtime = realtime
        self.session: Session | None = None

    def open_session(self, *, writes: bool = True, analyses: bool = False, fsync_every: int | None = None) -> Session:
        """Start the session if it does not run yet; it serves every later recording."""
        if self.session is None:
            wanted = _spec.size(self._ring_wanted)
            ring_bytes = checked_ring_bytes(wanted, fsync_every=fsync_every)
            self.session = Session(
                ring_bytes, label=self.source.label, realtime=self._realtime, writes=writes, analyses=analyses
            )
        return self.session

    def record(
        self,
        length: str | float | Fraction | None = None,
        to: str | os.PathLike[str] | None = None,
        *,
        samples: int | None = None,
        meta: Mapping[str, str] | None = None,
        wait: bool = True,
        name: str | None = None,
        split: str | float | None = None,
        analyse: str | Callable[..., Mapping[str, Any]] | None = None,
        checksum: str = "sha256",
        fsync_every: int | str | None = None,
        on_full: str | None = None,
        check_first: bool = False,
        statistics: bool = False,
        stalls: Sequence[tuple[float, float]] = (),
    ) -> Capture:
        """Record to a file.

        Parameters
        ----------
        length : str or number, optional
            ``"30s"``, ``"5min"``, a number of seconds; default: what the configuration says, or until the
            source ends. Cut at the exact word, then the source is stopped.
        to : path or None
            A directory, a ``.bin`` path, or None: analyse only. Default: the configuration's ``save_dir``;
            pass ``"none"`` to override that.
        samples : int, optional
            Length in words instead.
        meta : mapping, optional
            Goes into name and report.
        wait : bool
            True: return when the file is complete. False: when the source has ended; it drains meanwhile.
        split : str or number, optional
            Begin a new file every so often.
        analyse : str or callable, optional
            ``"module:function"`` or a function of a `Trace`; runs in the analysis process.
        statistics : bool
            Run the live statistics even without ``analyse``.
        on_full : {"drop", "wait"}, optional
            What to do when the ring is full.
        check_first : bool
            Look at the destination before the source starts, however long that takes.
        stalls : sequence of (at_s, for_s)
            Make the writer stall as a network disk would: for rehearsals and tests.

        Raises
        ------
        ValueError
            A length, size or option makes no sense; nothing was started.
        ConfigError, SourceError, SinkError, RingError
            The recording could not begin, or (with ``wait``) not be completed.
        """
        message, fds = _spec.recording(
            self.source, length=length, samples=samples, to=to, meta=meta or {}, name=name, split=split,
            analyse=analyse, checksum=checksum, fsync_every=fsync_every, on_full=on_full,
            check_first=check_first, statistics=statistics, stalls=stalls, ring=self._ring_wanted,
        )  # fmt: skip
        check_startable(self.source)
        session = self.open_session(
            writes=message["sink"] is not None, analyses=message["analysis"] is not None,
            fsync_every=_spec.size(fsync_every),
        )  # fmt: skip
        recording = session.record(message, fds)
        for fd in fds:
            os.close(fd)
        capture = Capture(recording, message["analysis"] is not None)
        if wait:
            return capture.wait()
        recording.wait_for(lambda: recording.sampled)
        return capture

    @contextmanager
    def stream(
        self,
        block_words: int = 1 << 16,
        save: str | os.PathLike[str] | None = None,
        on_overrun: str = "raise",
        *,
        length: str | float | None = None,
        meta: Mapping[str, str] | None = None,
        checksum: str = "sha256",
    ) -> Iterator[Stream]:
        """Yield a `Stream` of live blocks; the source runs until its end, ``length``, or the end of the block.

        Parameters
        ----------
        block_words : int
            Words of one block.
        save : path, optional
            Also write to this destination, as `record` does.
        on_overrun : {"raise", "mark"}
            What to do when this consumer was passed: raise `OverrunError`, or mark the next block.

        Raises
        ------
        ValueError, ConfigError, SourceError, SinkError, RingError
        """
        from fastcap._ring import LOSSLESS, Slot
        from fastcap.live import Stream as LiveStream

        message, fds = _spec.recording(
            self.source, length=length, to=save if save is not None else "none", meta=meta or {}, checksum=checksum,
            ring=self._ring_wanted,
        )  # fmt: skip
        check_startable(self.source)
        session = self.open_session(writes=save is not None)
        ring = session.attach()
        slot = Slot.claim(ring, LOSSLESS)
        recording = session.record(message, fds)
        for fd in fds:
            os.close(fd)
        stream: LiveStream | None = None
        try:
            stream = LiveStream(ring, slot, recording, block_words, on_overrun)
            yield stream
        finally:
            if not recording.sampled and not recording.over:
                session.stop()
            if stream is None:
                slot.leave()
                ring.close()
            else:
                stream.close()
            session.wait_for(lambda: recording.over)

    def close(self) -> None:
        """Stop what runs, drain, end the session. Blocks for as long as the destination takes."""
        if self.session is not None:
            session, self.session = self.session, None
            session.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and self.session is not None:
            self.session.stop()
        self.close()


def open(  # noqa: A001 - fc.open, as io.open
    source: Source,
    *,
    set: Sequence[str] = (),  # noqa: A002
    ring: int | str | None = None,
    realtime: bool = False,
) -> Board:
    """Open a source; nothing is started and no device is touched yet.

    Parameters
    ----------
    source : path, list, URL or descriptor
        The lab's ``.ini`` or a ``.toml``, a command as a list of arguments, ``"sim://?rate=2MHz"``,
        ``"file:///path?rate=2MHz"``, ``"-"``, or a file descriptor.
    set : sequence of "KEY=VALUE"
        Overrides of the configuration.

    Raises
    ------
    ConfigError
    """
    return Board(resolve_source(source, overrides=set), ring=ring, realtime=realtime)
