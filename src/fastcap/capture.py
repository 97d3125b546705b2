"""What `Board.record` returns: a recording under way, draining or complete, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.errors import SinkError, StillWaitingError
from fastcap.model import Report
from fastcap.session import Recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastcap.trace import Trace


class Capture:
    """One recording: under way, draining, or complete.

    Attributes
    ----------
    sampled : bool
        The source has ended and every byte it gave is accounted for.
    done : bool
        The file is complete and named, and the analysis has run.
    """

    def __init__(self, recording: Recording, *, device: str | None = None, rehearsed: bool = False) -> None:
        self.recording = recording
        self._device = device
        self._remembered = rehearsed  # stalls that were made are no part of the destination's history

    @property
    def sampled(self) -> bool:
        """The source has ended; the board is free."""
        return self.recording.sampled

    @property
    def done(self) -> bool:
        """Everything is complete."""
        return self.recording.done

    def wait(self, timeout_s: float | None = None) -> Capture:
        """Block until done.

        Raises
        ------
        FastcapError
            The recording failed; what arrived is still in the ring or the part file.
        StillWaitingError
            A `TimeoutError`: ``timeout_s`` is over; the recording goes on.
        """
        if not self.recording.wait_for(lambda: self.recording.done, timeout_s):
            raise StillWaitingError(
                f"not done within {timeout_s} s; the destination may be stalled: wait() again"
            )
        self.remember()
        return self

    def stop(self) -> None:
        """End the recording here: its source is stopped, what was captured is written; the file is complete.

        Returns at once; `wait` waits for the file. May be called from another thread, and from a signal handler.
        What has ended already stays as it is. The report's ``source`` says that it was ``stopped``.

        Raises
        ------
        FastcapError
            This is a forked child; the recording is its parent's.
        """
        self.recording.session.stop(self.recording.number, why="stopped")

    def remember(self) -> None:
        """Append how the destination behaved to the local history: once, when done. Never fails."""
        if self._remembered or not self.recording.done or self.recording.session.foreign:
            return
        self._remembered = True
        from fastcap import history

        for report in self.recording.reports:
            if report["path"] is not None:
                history.append(history.entry_from_report(report, device=self._device))

    @property
    def reports(self) -> tuple[Report, ...]:
        """The report of each file, in order; more than one with ``split``. Waits until done."""
        self.wait()
        return tuple(Report(r) for r in self.recording.reports)

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
        return dict(self.recording.progress)

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

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        start: str | float | None = None,
        duration: str | float | None = None,
    ) -> Figure:
        """Draw the complete file, or a part of it; see `fastcap.plot.plot_trace`.

        Raises
        ------
        SinkError
            Nothing was written.
        """
        from fastcap.plot import plot_trace

        return plot_trace(self.trace(), path, start=start, duration=duration)

    def _repr_html_(self) -> str:
        from fastcap.htmlview import capture_html

        return capture_html(self)

    def __repr__(self) -> str:
        state = "done" if self.done else "draining" if self.sampled else "running"
        return f"<Capture {self.recording.number}: {state}>"
