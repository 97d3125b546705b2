"""How the loop comes to its recordings: here, a run of the source for each; see `fastcap.sweeping.gapless` for one run.

Flow of one: `prepare` (blocks until there is room), `begin`, the loop's readings, `wait` until it is sampled; then it
is the finisher's, which asks for its `report`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastcap import spec
from fastcap.errors import FastcapError
from fastcap.sweeping.order import Shot
from fastcap.sweeping.plan import Analyse, Plan
from fastcap.sweeping.room import Room, bytes_of
from fastcap.wire import Message

if TYPE_CHECKING:
    from fastcap.board import Board
    from fastcap.capture import Capture
    from fastcap.session import Session

GATHER_S = 0.001  # the source's end is noticed that much later at most: the next point waits for it


class Recorded(Protocol):
    """A recording of the sweep, begun at least."""

    @property
    def report(self) -> Mapping[str, Any]:
        """Its report; waits until its file is complete."""


class Recorder:
    """Records each point with a run of its own.

    Parameters
    ----------
    waiting : callable
        Told the backlog, in bytes, while the ring could not hold the next recording.
    """

    def __init__(
        self, board: Board, folder: Path, plan: Plan, analyse: Analyse, waiting: Callable[[int], None]
    ) -> None:
        self._board, self._folder, self._plan, self._analyse = board, folder, plan, analyse
        self._waiting = waiting
        self._room = Room()
        self._session_used: Session | None = None
        self._message: Message = {}
        self._fds: list[int] = []

    @property
    def session(self) -> Session | None:
        """The session that recordings are made in; None before the first."""
        return self._board.session

    def _wait_for_room(self) -> None:
        self._room.wait(self.session, bytes_of(self._message), self._waiting)

    def prepare(self, shot: Shot, name: Callable[[], str], meta: Mapping[str, str]) -> str:
        """Have everything ready for a recording, and return its name; blocks while there is no room for it.

        ``name`` makes that, without ending; with the time in it, it is asked again when there is room.
        """
        board = self._board
        self._message, self._fds = spec.recording(
            board.source, **{"payload": board.payload, **self._plan.record}, to=os.fspath(self._folder), name=name(),
            meta=dict(meta), analyse=self._analyse, ring_bytes=board.ring_bytes(),
        )  # fmt: skip
        self._message["gather_s"] = GATHER_S
        if self._session_used is not None and self._session_used is self.session:
            self._message["sink"]["check_s"] = (
                0.0  # the destination has taken a file: the source need not wait
            )
        self._wait_for_room()
        stem = name()
        self._message["sink"]["names"]["base"] = stem
        return stem

    def begin(self) -> Recorded:
        """Begin what was prepared."""
        capture = self._board.begin(self._message, self._fds)
        self._session_used = self.session
        return capture

    def wait(self, recorded: Any) -> None:
        """Block until the source has ended."""
        capture: Capture = recorded
        capture.recording.wait_for(lambda: capture.sampled)

    def backlog_share(self) -> float:
        """Return how much of the ring is still to be written."""
        if self.session is None:
            return 0.0
        return float(self._room.backlog_bytes(self.session) / self.session.ring_bytes)

    def rest(self) -> None:
        """Note that nothing is to be recorded for a while."""

    def expects(self, stem: str) -> bool:
        """Tell whether this recording was prepared already, under this name."""
        return False

    def account(self) -> list[dict[str, Any]]:
        """Return what runs that hold several recordings came to; blocks until their files are complete."""
        return []

    def stop(self, tell: Callable[[str], None]) -> None:
        """End the recording under way; it is kept as interrupted, and not counted."""
        session = self.session
        if session is None or session.over:
            return
        if not all(r.sampled or r.over for r in session.recordings.values()):
            tell("the source is stopped; what was sampled before is finished")
            session.stop()

    def forget_lost_session(self) -> None:
        """Get rid of a session that is gone; the next recording starts another."""
        if self.session is not None and self.session.over:
            with contextlib.suppress(FastcapError):
                self._board.close()

    def close(self) -> None:
        """Let go of the ring."""
        self._room.close()
