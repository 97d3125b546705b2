"""Signals at any moment of a device's leaving: it is left all the same, and then they are delivered."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from fastcap.devices import leaving


class Device(leaving.LeftAsChosen):
    """Counts what is done with it; ``during`` happens while it is left."""

    def __init__(self, during: Any = None) -> None:
        self.done: list[str] = []
        self._during = during

    def _leave(self, error: BaseException | None) -> None:
        if self._during is not None:
            self._during()
        self.done.append("left")

    def close(self) -> None:
        self.done.append("closed")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """SIGTERM ends as `sys.exit` does; afterwards all is as before."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(number)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    assert signal.signal(signal.SIGTERM, before) is stop
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def use(device: Device) -> None:
    """Enter and leave; in a generator, with which ends what an interrupted ``except`` leaves of an exception."""

    def steps() -> Iterator[None]:
        with device:
            pass
        yield

    next(steps())


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.parametrize("fails", [False, True])
def test_signals_wait_until_the_device_is_left(signum: int, error: type[BaseException], fails: bool) -> None:
    def during() -> None:
        signal.raise_signal(signum)
        signal.raise_signal(signum)
        if fails:
            raise OSError("gone")

    device = Device(during)
    with pytest.raises(error):
        use(device)

    assert device.done == ["closed"] if fails else ["left", "closed"]


def test_handler_that_only_counts_is_told_once() -> None:
    came = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        use(Device(lambda: signal.raise_signal(signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)

    assert came == [signal.SIGINT]


def test_signal_in_the_block_acts_at_once() -> None:
    device = Device()
    after = []

    def interrupted() -> None:
        with device:
            signal.raise_signal(signal.SIGINT)
            after.append("more")

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert (device.done, after) == (["left", "closed"], [])


def test_signal_at_any_instruction_of_the_leaving_waits_for_its_end() -> None:
    """A tracer sends it before the k-th instruction of ``__exit__`` and all that it calls, for every k."""
    for k in itertools.count():
        device, sent = Device(), _interrupted_at(k)
        try:
            with sent, pytest.raises(KeyboardInterrupt):
                use(device)
        except pytest.fail.Exception:
            break  # there is no k-th instruction: nothing was sent
        assert device.done == ["left", "closed"], f"at instruction {k}"

    assert sys.exc_info() == (None, None, None)
    assert k > 50
    assert device.done == ["left", "closed"]


class _interrupted_at:  # noqa: N801 - reads like a function
    def __init__(self, k: int) -> None:
        self._left = k

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._called)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        in_exit = frame.f_code is leaving.LeftAsChosen.__exit__.__code__
        if not in_exit and (frame.f_back is None or frame.f_back.f_trace is None):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            self._left -= 1
            if self._left == -1:
                signal.raise_signal(signal.SIGINT)
        return self._step
