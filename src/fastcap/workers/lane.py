"""A thread that takes pieces in, in order, at its own pace."""

from __future__ import annotations

import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Lane:
    """One thread with a queue of pieces.

    Parameters
    ----------
    take_in : callable
        Called with each piece, in the thread.
    """

    def __init__(self, take_in: Callable[[Any], None]) -> None:
        self._take_in = take_in
        self._waiting: deque[tuple[int, Any]] = deque()  # the first is under way; it goes when it is taken in
        self._changed = threading.Condition()
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fastcap-digest", daemon=True)
        self._thread.start()

    def add(self, first: int, piece: Any) -> None:
        """Give it the piece that begins at position ``first``; the thread keeps it until it is taken in."""
        with self._changed:
            self._waiting.append((first, piece))
            self._changed.notify()

    def reached(self, end: int) -> int:
        """Return the position up to which it has come; ``end`` if it has everything.

        Raises
        ------
        Exception
            What a piece raised: it is not taken in, and nothing after it is.
        """
        with self._changed:
            if self._failure is not None:
                raise self._failure
            return self._waiting[0][0] if self._waiting else end

    def close(self) -> None:
        """Wait until everything is taken in and the thread has ended; raises as `reached`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self.reached(0)

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                self._take_in(piece)
                with self._changed:
                    self._waiting.popleft()
                piece.release()
        except BaseException as failure:  # whoever gives the next piece hears of it
            self._failure = failure

    def _next(self) -> Any:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting[0][1] if self._waiting else None
