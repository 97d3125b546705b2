"""Open a source and record from it: what most scripts need of fastcap.

    with fc.open("VHF_board_params.ini") as board:
        cap = board.record("30s", "/mnt/nas/run")
        print(cap.report)

Flow: `open` resolves what the source is (`fastcap.sources`) and starts nothing. The first `record` or `stream`
starts a session; it and its ring serve all recordings of this board, the next one beginning while the last
still drains.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap import spec as _spec
from fastcap.capture import Capture
from fastcap.errors import FastcapError, SourceError, foreign_text
from fastcap.payload import check_payload
from fastcap.ringsize import checked_ring_bytes
from fastcap.session import Recording, Session
from fastcap.sources import SourceSpec, check_startable, resolve_source

if TYPE_CHECKING:
    from fastcap.live import Stream

__all__ = ["Board", "Capture", "open"]

logger = logging.getLogger(__name__)
Source = str | Path | Sequence[str] | int


IDLE_KEPT = 2  # sessions of other boards in which nothing happens


class Board:
    """A source of samples: the board, or what stands for it. Made by `open`; use as a context manager.

    Parameters
    ----------
    source : SourceSpec
    ring : int or str, optional
        The ring's size; default see `fastcap.ringsize`.
    realtime : bool
        Ask for SCHED_FIFO and locked memory in the reader.
    payload : {"auto", "8n", "8n+8", "none"}, optional
        Where data begin in its stream, unless a recording says otherwise: see `fastcap.payload`. Default: what the
        configuration says, or "auto".

    Raises
    ------
    ValueError
        ``payload`` is unknown.
    """

    def __init__(
        self,
        source: SourceSpec,
        *,
        ring: int | str | None = None,
        realtime: bool = False,
        payload: str | None = None,
    ) -> None:
        self.source = source
        self.payload = check_payload(payload or source.options.get("payload"))
        self._ring_wanted = ring
        self._realtime = realtime
        self.session: Session | None = None
        self._captures: list[Capture] = []
        self._owner = os.getpid()
        self._beginning = (
            threading.RLock()
        )  # held from when a session is looked for until a recording is in it
        self._abandon: weakref.finalize[..., Board] | None = None

    def _give_back(self) -> None:
        """End the session if nothing happens in it; the next recording starts another."""
        if not self._beginning.acquire(blocking=False):
            return
        try:
            if self.session is not None and self.session.idle:
                session, self.session = self.session, None
                session.abandon()
        finally:
            self._beginning.release()

    def __reduce__(self) -> Any:
        raise FastcapError("a board cannot be sent to another process: open it there with fastcap.open()")

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise FastcapError(foreign_text("board", self._owner))

    def ring_bytes(self, fsync_every: int | str | None = None) -> int:
        """Return the size of the session's ring, or of the one that it will have.

        Raises
        ------
        RingError
            There is no room for it, or it is too small for this distance between fsyncs.
        """
        self._check_owner()
        if self.session is not None:
            return self.session.ring_bytes
        return checked_ring_bytes(_spec.size(self._ring_wanted), fsync_every=_spec.size(fsync_every))

    def open_session(self, message: Mapping[str, Any]) -> Session:
        """Start the session, with what this recording needs, unless it runs; it serves every later one."""
        self._check_owner()
        if self.session is None:
            _give_back_idle(self)
            self.session = session = Session(
                message["ring_bytes"], label=self.source.label, realtime=self._realtime,
                writes=message["sink"] is not None, analyses=message["analysis"] is not None,
            )  # fmt: skip
            self._abandon = weakref.finalize(self, Session.abandon, session)
            _with_session.add(self)
            self._abandon.atexit = False  # a program's end ends it, as interrupted
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
        source_timeout: str | float | None = None,
        check_first: bool = False,
        analyse_timeout: str | float | None = _spec.ANALYSE_TIMEOUT,
        analyse_memory: int | str | None = None,
        analyse_lossless: bool = True,
        statistics: bool = False,
        stalls: Sequence[tuple[float, float]] = (),
        payload: str | None = None,
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
            Begin a new file every so often. ``"num_runs"``: the configuration's ``num_runs`` files of exactly
            ``num_samples`` words of the source each, one run without a gap.
        analyse : str or callable, optional
            ``"module:function"`` or a function; runs in the analysis process. It is called with the `Trace` of
            the finished recording and returns a dict; one whose first parameter is named ``blocks`` is called
            at the beginning, with the blocks as they come (`fastcap.blocks.Blocks`). What it returns, or how it
            failed, is in the report's ``analysis``.
        analyse_timeout : str or number, optional
            How long it may take for the trace, or for one block; None: as long as it likes.
        analyse_memory : int or str, optional
            How much it may allocate; default: half of what is available when it is called.
        analyse_lossless : bool
            True: the ring keeps words for the statistics and for a function of blocks until they have seen
            them, as long as that costs neither the file nor the source anything. False: they are passed by
            as soon as others need the memory no longer. What they missed is counted either way.
        statistics : bool
            Run the live statistics even without ``analyse``.
        on_full : {"drop", "wait"}, optional
            What to do when the ring is full.
        source_timeout : str or number, optional
            How long the source may give no byte, or not exit after its last one, before it is ended; 0: for ever.
            Default: 7 s, or what 256 KiB take at the source's rate if that is longer; for ever for files and
            standard input.
        check_first : bool
            Look at the destination before the source starts, however long that takes.
        stalls : sequence of (at_s, for_s)
            Make the writer stall as a network disk would: for rehearsals and tests.
        payload : {"auto", "8n", "8n+8", "none"}, optional
            Where data begin in the stream: "auto", told from its first bytes; "8n" or "8n+8", behind a header whose n
            counts the magic word or does not; "none", at the first byte. Default: what `open` was told.

        Raises
        ------
        ValueError
            A length, size or option makes no sense; nothing was started.
        ConfigError, SourceError, SinkError, RingError
            The recording could not begin, or (with ``wait``) not be completed.
        SourceError
            The source was silent, and was ended. What came before is kept: the error's ``capture`` is what would
            have been returned.
        KeyboardInterrupt, or what another signal handler raised
            The recording is ended as interrupted; its file is kept. The board goes on to be usable.
        """
        self._check_owner()
        message, fds = _spec.recording(
            self.source, length=length, samples=samples, to=to, meta=meta or {}, name=name, split=split,
            analyse=analyse, checksum=checksum, fsync_every=fsync_every, on_full=on_full,
            check_first=check_first, statistics=statistics, stalls=stalls, analyse_timeout=analyse_timeout,
            analyse_memory=analyse_memory, analyse_lossless=analyse_lossless, source_timeout=source_timeout,
            payload=payload or self.payload,
            ring_bytes=self.ring_bytes(fsync_every),
        )  # fmt: skip
        begun: list[Recording] = []
        capture = None
        try:
            capture = self.begin(message, fds, begun)
            if wait:
                capture.wait()
            else:
                capture.recording.wait_for(lambda: capture.sampled)
            if capture.recording.silent is not None:
                raise SourceError(f"{capture.recording.silent}; what came before is kept")
        except SourceError as error:
            error.capture = capture
            raise
        except FastcapError:
            raise
        except BaseException:
            for recording in begun:
                recording.session.stop(recording.number)
            raise
        return capture

    def begin(
        self, message: dict[str, Any], fds: Sequence[int] = (), begun: list[Recording] | None = None
    ) -> Capture:
        """Begin what `fastcap.spec.recording` wrote out, and return at once; ``fds`` are closed.

        ``begun``: see `fastcap.session.Session.record`.

        Raises
        ------
        SourceError, RingError, WorkerError
            The source cannot be started, or there can be no session.
        """
        try:
            check_startable(self.source)
            with self._beginning:
                recording = self.open_session(message).record(message, fds, begun)
        finally:
            for fd in fds:
                os.close(fd)
        stalls = (message["sink"] or {}).get("stalls")
        capture = Capture(recording, device=self.source.device, rehearsed=bool(stalls))
        self._captures.append(capture)
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
        source_timeout: str | float | None = None,
        payload: str | None = None,
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
        source_timeout : str or number, optional
            As for `record`. The stream's blocks end with a `SourceError` then.
        payload : {"auto", "8n", "8n+8", "none"}, optional
            As for `record`.

        Raises
        ------
        ValueError, ConfigError, SourceError, SinkError, RingError
        """
        self._check_owner()
        from fastcap._ring import LOSSLESS, Slot
        from fastcap.live import Stream as LiveStream

        message, fds = _spec.recording(
            self.source, length=length, to=save if save is not None else "none", meta=meta or {}, checksum=checksum,
            ring_bytes=self.ring_bytes(), live=True, source_timeout=source_timeout,
            payload=payload or self.payload,
        )  # fmt: skip
        check_startable(self.source)
        with self._beginning:
            session = self.open_session(message)
            ring = session.attach()
            slot = Slot.claim(ring, LOSSLESS)
            recording = session.record(message, fds)
        for fd in fds:
            os.close(fd)
        stream: LiveStream | None = None
        why = "interrupted"
        try:
            stream = LiveStream(ring, slot, recording, block_words, on_overrun)
            yield stream
            why = "stopped"
        finally:
            if not session.foreign:
                if not recording.sampled and not recording.over:
                    session.stop(recording.number, why=why)
                if stream is None:
                    slot.leave()
                    ring.close()
                else:
                    stream.close()
                session.wait_for(lambda: recording.over)

    def stop(self) -> None:
        """End what runs or waits here, as `Capture.stop` does; returns at once. The board goes on to be usable.

        May be called from another thread, and from a signal handler.

        Raises
        ------
        FastcapError
            This is a forked child; the board is its parent's.
        """
        self._check_owner()
        if (session := self.session) is not None:
            session.stop(why="stopped")

    def close(self) -> None:
        """Stop what runs, drain, end the session. Blocks for as long as the destination takes.

        What runs is stopped as by `stop`: its file is complete. In a forked child nothing happens.
        """
        if os.getpid() != self._owner:
            return
        if self.session is not None:
            session, self.session = self.session, None
            if self._abandon is not None:
                self._abandon.detach()
            session.stop(why="stopped")
            session.close()
        while self._captures:
            self._captures.pop().remember()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and self.session is not None and os.getpid() == self._owner:
            self.session.stop()
        self.close()


_with_session: weakref.WeakSet[Board] = weakref.WeakSet()


def _give_back_idle(board: Board) -> None:
    """Before one more session: end those of this process in which nothing happens, but for the latest few.

    Boards that nobody closes, but somebody still refers to, would keep a ring each.
    """
    others = [other for other in list(_with_session) if other is not board and other.session is not None]
    idle = [other for other in others if other.session is not None and other.session.idle]
    for other in sorted(idle, key=lambda other: other.session.begun_s if other.session else 0.0)[:-IDLE_KEPT]:
        logger.info("the idle session of %s is ended: its ring is given back", other.source.label)
        other._give_back()


def open(
    source: Source,
    *,
    set: Sequence[str] = (),
    ring: int | str | None = None,
    realtime: bool = False,
    payload: str | None = None,
) -> Board:
    """Open a source; nothing is started and no device is touched yet.

    Parameters
    ----------
    source : path, list, URL or descriptor
        The lab's ``.ini`` or a ``.toml``, a command as a list of arguments, ``"sim://?rate=2MHz"``,
        ``"file:///path?rate=2MHz"``, ``"-"``, or a file descriptor.
    set : sequence of "KEY=VALUE"
        Overrides of the configuration.
    payload : {"auto", "8n", "8n+8", "none"}, optional
        Where data begin in its stream: see `Board.record`.

    Raises
    ------
    ConfigError
    ValueError
        ``payload`` is unknown.
    """
    resolved = resolve_source(source, overrides=set)
    for warning in resolved.warnings:
        logger.warning("%s", warning)
    return Board(resolved, ring=ring, realtime=realtime, payload=payload)
