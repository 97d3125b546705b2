"""Watching recordings from the command line: progress, and what Ctrl-C, SIGTERM and SIGHUP do to them.

The first signal stops the source and lets everything drain; the second leaves at once and keeps the session's
folder. The handlers only count: what follows is done between two looks at the session.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fastcap.board import Board, Capture
from fastcap.progress import Progress
from fastcap.ringsize import survives_s
from fastcap.session import Recording, Session
from fastcap.units import format_duration, format_rate, format_size

LOOK_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Follower:
    """Follows the recordings of one board.

    Parameters
    ----------
    keeps : bool
        What a session is left with at once stays for recovery; else it is thrown away.

    Attributes
    ----------
    interrupted, left : bool
        A signal came; a second one came, and the session was left as it was.
    """

    def __init__(self, board: Board, progress: Progress, *, keeps: bool = True) -> None:
        logging.getLogger("fastcap.session").addHandler(logging.NullHandler())  # warnings are said here
        self.board = board
        self._keeps = keeps
        self.progress = progress
        self.left = False
        self._signals: list[int] = []
        self._stopped = False
        self._noticed = 0
        self._told: set[tuple[int, str]] = set()

    @property
    def interrupted(self) -> bool:
        """A signal came."""
        return bool(self._signals)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Take signals until the end of the block, then close the board; an error stops the source first."""
        with self._signals_taken():
            try:
                yield
            except BaseException:
                if self.board.session is not None and not self.left:
                    self.board.session.stop()
                raise
            finally:
                self.progress.end()
                if not self.left:
                    self.board.close()

    @contextmanager
    def _signals_taken(self) -> Iterator[None]:
        """Count signals; those that are ignored (nohup) stay so."""

        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)

        before = {n: signal.signal(n, note) for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def sampled(self, capture: Capture, label: str, plan: Mapping[str, Any]) -> None:
        """Follow a recording until its source has ended, or it failed; ``plan`` is what it is to be."""
        self.progress.begin(plan["bytes"])
        recording = capture.recording
        while not (recording.sampled or recording.over) and self._look():
            recording.session.wait_for(lambda: recording.sampled or recording.over or self._due(), LOOK_S)
            self._tell(capture, plan)
            self.progress.update(recording.progress, label)
        self._tell(capture, plan)

    def done(self, captures: Sequence[Capture]) -> None:
        """Follow recordings until each is complete, or failed."""
        for capture in captures:
            recording = capture.recording
            while not recording.over and self._look():
                recording.session.wait_for(lambda r=recording: r.over or self._due(), LOOK_S)  # type: ignore[misc]
                self._tell_warnings(recording)
                self.progress.update(recording.progress, "draining")
            self._tell_warnings(recording)
            capture.remember()
        self.progress.end()

    def _due(self) -> bool:
        """Tell whether a signal waits to be acted on."""
        return len(self._signals) > (2 if self.left else 1 if self._stopped else 0)

    def _look(self) -> bool:
        """Act on signals; False once the session was left."""
        session = self.board.session
        if session is None or self.left:
            return False
        if self._signals and not self._stopped:
            self._stopped = True
            self.progress.say(
                f"{signal.Signals(self._signals[0]).name}: the source is stopped; what was captured is being "
                "written (once more: leave at once)"
            )
            session.stop()
        if len(self._signals) > 1:
            self.left = True
            self.progress.end()
            self._leave(session)
            return False
        return True

    def _leave(self, session: Session) -> None:
        if self._keeps:
            session.leave()
            self.progress.say(f"left at once: what is captured and not yet written stays in {session.folder}")
        else:
            session.discard()
            self.progress.say("left at once: nothing of it is kept")

    def _tell_warnings(self, recording: Recording) -> None:
        """Pass on what has become of names, once."""
        for text in list(recording.warnings):
            if (recording.number, text) not in self._told:
                self._told.add((recording.number, text))
                self.progress.say(f"warning: {text}")

    def _tell(self, capture: Capture, plan: Mapping[str, Any]) -> None:
        """Pass on what has become known: warnings, a destination that is too small, what the rate means."""
        session = capture.recording.session
        for notice in session.notices[self._noticed :]:
            self.progress.say(f"warning: {notice}")
        self._noticed = max(self._noticed, len(session.notices))
        recording = capture.recording
        self._tell_warnings(recording)
        there = recording.destination
        if there is not None and plan["bytes"] and (recording.number, "room") not in self._told:
            self._told.add((recording.number, "room"))
            if there["free_bytes"] < plan["bytes"]:
                self.progress.say(
                    f"warning: {there['path']} needs {format_size(plan['bytes'])}, but only "
                    f"{format_size(there['free_bytes'])} are free there; free some while it runs"
                )
        if recording.header and (recording.number, "header") not in self._told:
            self._told.add((recording.number, "header"))
            for text in recording.header.get("warnings", ()):
                self.progress.say(f"warning: {text}")
        rate = recording.header["rate"] if recording.header else None
        if rate and plan["path"] and not plan["survives_stall_s"] and (1, "rate") not in self._told:
            self._told.add((1, "rate"))
            bytes_per_s = 8 * rate[0] / rate[1]
            bears = survives_s(plan["ring_bytes"], plan["fsync_every_bytes"], bytes_per_s)
            self.progress.say(
                f"at {format_rate(bytes_per_s)} it survives a stall of {format_duration(bears)}"
            )
