"""Ctrl-C, and the signals that end a command as it does, so that none of them is lost.

The interpreter raises KeyboardInterrupt wherever it happens to be. In a weak reference's callback, in an import that
tries one module and then another, in a compiled function that cannot fail, the exception is swallowed; in a lock's own
code it becomes another error. So the signal is given again every ``AGAIN_S`` until its exception is on its way, and
whatever error ends the command after it counts as the interruption that it is.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

AGAIN_S = 0.25

_asked = 0  # the signal that has not been answered yet


@contextlib.contextmanager
def ended_by(*signals: int) -> Iterator[None]:
    """Let these signals, unless they are ignored, interrupt the block: what was begun is put right.

    Raises
    ------
    KeyboardInterrupt
        One of them came.
    """
    here = threading.current_thread() is threading.main_thread()
    wanted = [number for number in signals if here and signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in wanted}
    if here:
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _again)
    try:
        yield
    except Exception as error:
        if _asked:
            raise KeyboardInterrupt from error
        raise
    finally:
        if here:
            answered()
        for number, handler in before.items():
            signal.signal(number, handler)


def answered() -> None:
    """Say that the interruption was caught on purpose, and that the command goes on."""
    global _asked
    _asked = 0
    signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = number
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    raise KeyboardInterrupt


def _again(number: int, frame: FrameType | None) -> None:
    """Give the signal again, to whoever takes it now, unless its exception is being handled."""
    handled = sys.exc_info()[1]
    while handled is not None:
        if isinstance(handled, KeyboardInterrupt):
            return
        handled = handled.__context__
    asked = _asked
    answered()
    if asked:
        signal.raise_signal(asked)
