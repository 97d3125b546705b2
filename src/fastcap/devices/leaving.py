"""Leaving a device as the user chose, whatever happened before, Ctrl-C at any moment included."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["LeftAsChosen"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Handler = Callable[[int, FrameType | None], Any] | int | None


class LeftAsChosen:
    """A device whose ``with`` block leaves it in the state chosen: `_leave` brings it there, then it is closed.

    Ctrl-C and SIGTERM are held back meanwhile, then delivered. One that comes when the block has ended and
    ``__exit__`` has hardly begun would end that; so signals are watched from the block's beginning on. Outside the
    main thread there is nothing to hold back: signals do not come there.

    A child that is forked within the block leaves nothing: the device is its parent's, which goes on with it.
    """

    _watched: dict[int, _Handler]
    _came: list[int]
    _entered_by: int  # process

    def __enter__(self) -> Self:
        self._watched, self._came = {}, []
        self._entered_by = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._watched[number] = handler
                    signal.signal(number, self._pass_on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the device in the state chosen, then close.

        Raises
        ------
        DeviceError
            It could not be brought there.
        """
        if os.getpid() != self._entered_by:
            return
        before = self._hold_back()
        try:
            try:
                self._leave(error)
            finally:
                self.close()
        finally:
            self._deliver(before)

    def _leave(self, error: BaseException | None) -> None:
        """Bring the device into the state chosen; ``error`` ended the block. Must end by itself."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Let a signal act as before, unless the device is being left."""
        while frame is not None:
            if frame.f_code is LeftAsChosen.__exit__.__code__:
                self._came.append(number)
                return
            frame = frame.f_back
        handler = self._watched[number]
        if callable(handler):
            handler(number, frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)

    def _hold_back(self) -> dict[int, _Handler]:
        """Take the signals; return the handlers that are to have them again."""
        before: dict[int, _Handler] = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                now = signal.getsignal(number)
                before[number] = self._watched.get(number, now) if now == self._pass_on else now
                signal.signal(number, self._note)
        return before

    def _deliver(self, before: dict[int, _Handler]) -> None:
        """Give the signals back, and those that came meanwhile to whom they were for."""
        try:
            _give_back(before)
        finally:
            for number in dict.fromkeys(self._came):
                signal.raise_signal(number)


def _give_back(handlers: dict[int, _Handler]) -> None:
    """Set all handlers, also if a signal comes in between whose handler raises."""
    if not handlers:
        return
    number, handler = handlers.popitem()
    try:
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    finally:
        _give_back(handlers)
