"""Windows of an endless recording: from "now" in the controller's words to a ring position.

A window is to hold no word that the board wrote before it was asked for. Such a word may be in the board's FIFO
(for that the controller states a time), in the pipe, in the reader's hands, or in the ring. So, when the FIFO's time
is over: what the pipe holds is counted, then `head` is loaded, then the reader's next publication is waited for. Every
read under way at the count is in `head` by then; what the pipe held comes at most so many bytes behind it.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections import deque

from fastcap.wire import Message
from fastcap.workers.recording import RUNNING, Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.workers.conduct import Conductor

LOOK_S = 0.0005


class WindowDesk:
    """Takes the controller's wishes for windows, and passes them on to the splitter."""

    def __init__(self, conductor: Conductor) -> None:
        self.c = conductor
        self._waiting: deque[tuple[Recording, Message]] = deque()

    def ask(self, message: Message) -> None:
        """Begin a window now, or (``follows``) where the one before it ends.

        Parameters
        ----------
        message : dict
            ``recording``, ``name`` (of its file, without ending), ``words``, ``fifo_s``, ``follows``, ``meta``.
        """
        r = self._running(message)
        if r is None:
            return
        r.window_meta[message["name"]] = message["meta"]
        self._waiting.append((r, message))
        if len(self._waiting) == 1:
            self._next()

    def finish(self, message: Message) -> None:
        """End the recording with the words that have come so far."""
        r = self._running(message)
        if r is None:
            return
        r.finishing = True
        self.c.s.tell(self.c.splitter, {"op": "finish", "recording": r.id})

    def retell(self, r: Recording) -> None:
        """Tell a new splitter what no announcement holds."""
        if r.finishing:
            self.c.s.tell(self.c.splitter, {"op": "finish", "recording": r.id})

    def _running(self, message: Message) -> Recording | None:
        r = next((r for r in self.c.recordings if r.id == message["recording"]), None)
        return r if r is not None and r.state == RUNNING and r.ended is None else None

    def _next(self) -> None:
        """Turn to the window that was asked for first; those behind it wait, for they may follow it."""
        while self._waiting:
            r, message = self._waiting[0]
            if not message["follows"]:
                self.c.s.loop.later(message["fifo_s"], lambda: self._count(*self._waiting[0]))
                return
            self._tell(r, message, 0)

    def _count(self, r: Recording, message: Message) -> None:
        in_pipe = _readable_bytes(r.source_fd) if r.pipe_bytes and r.source_fd >= 0 else 0
        self._await_publication(r, message, self.c.s.ring.head, in_pipe)

    def _await_publication(self, r: Recording, message: Message, before: int, in_pipe: int) -> None:
        head = self.c.s.ring.head
        if head == before and r.state == RUNNING and r.ended is None:
            self.c.s.loop.later(LOOK_S, lambda: self._await_publication(r, message, before, in_pipe))
            return
        self._tell(r, message, head + in_pipe)
        self._next()

    def _tell(self, r: Recording, message: Message, position: int) -> None:
        self._waiting.popleft()
        window = {"name": message["name"], "position": position, "words": message["words"]}
        r.spec["windows"].append(window)
        self.c.s.tell(self.c.splitter, {"op": "window", "recording": r.id, **window})


def _readable_bytes(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
