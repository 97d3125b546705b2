"""Ctrl-C in a command: its exception may be swallowed or become another; the command ends all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
from cli_runs import DEADLINE_S

from fastcap.commands._interrupts import AGAIN_S, answered, ended_by

INT = signal.SIGINT


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)


class Thing:
    """Something that a weak reference may refer to."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruption_in_a_callback_is_not_lost() -> None:
    @ended_by(INT)
    def work() -> None:
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(INT))
        del thing  # the interpreter says "Exception ignored" and goes on
        assert reference() is None
        _wait(DEADLINE_S)

    with pytest.raises(KeyboardInterrupt):
        work()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interruption_that_was_swallowed_comes_again_as_often_as_needed(number: signal.Signals) -> None:
    swallowed = 0

    @ended_by(number)
    def work() -> None:
        nonlocal swallowed
        for _ in range(3):
            try:
                if not swallowed:
                    signal.raise_signal(number)
                _wait(DEADLINE_S)
            except KeyboardInterrupt:
                swallowed += 1
        _wait(DEADLINE_S)

    with pytest.raises(KeyboardInterrupt):
        work()

    assert swallowed == 3


def test_cleaning_up_is_not_interrupted_by_the_same_interruption() -> None:
    cleaned = []

    @ended_by(INT)
    def work() -> None:
        try:
            signal.raise_signal(INT)
        finally:
            _wait(3 * AGAIN_S)
            try:
                raise OSError("while cleaning up")
            except OSError:
                _wait(2 * AGAIN_S)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned


def test_second_interruption_ends_cleaning_up() -> None:
    cleaned = []

    @ended_by(INT)
    def work() -> None:
        try:
            signal.raise_signal(INT)
        finally:
            signal.raise_signal(INT)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not cleaned


def test_error_that_an_interruption_became_counts_as_one() -> None:
    @ended_by(INT)
    def work(*, interrupted: bool) -> None:
        try:
            if interrupted:
                signal.raise_signal(INT)
        finally:
            threading.Lock().release()

    with pytest.raises(KeyboardInterrupt) as caught:
        work(interrupted=True)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(RuntimeError):
        work(interrupted=False)


def test_interruption_that_was_answered_does_not_come_again() -> None:
    with ended_by(INT):
        try:
            signal.raise_signal(INT)
        except KeyboardInterrupt:
            answered()
        _wait(3 * AGAIN_S)


def test_swallowed_interruption_goes_once_to_whoever_takes_signals_by_then() -> None:
    came = []
    with ended_by(INT):
        try:
            signal.raise_signal(INT)
        except KeyboardInterrupt:
            before = signal.signal(INT, lambda number, frame: came.append(number))
        _wait(4 * AGAIN_S)
        signal.signal(INT, before)

    assert came == [INT]


def test_signals_are_as_before_afterwards_and_those_ignored_stay_so() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    handlers = [signal.getsignal(number) for number in numbers]
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, hangup)

    assert [signal.getsignal(number) for number in numbers] == handlers
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_interruption_within_a_string_that_is_executed_ends_with_the_same_status(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import signal, sys, fastcap.cli, fastcap.commands.root as root\n"
        "root.run = lambda args: exec('print(len(args)); signal.raise_signal(signal.SIGINT)')\n"
        "sys.exit(fastcap.cli.main())\n"
    )

    command = [sys.executable, "-m", "interrupted", "info"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=DEADLINE_S)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"1\n", b"fastcap: interrupted\n")
