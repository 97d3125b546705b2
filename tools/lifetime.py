"""What an injector made goes away again, even if the test that made it is killed.

`Cleanup` starts a guardian: a process in a session of its own that is told how to undo each thing as soon
as it exists, and undoes all of it, last first, when the test is done with it or died. There is one path for
both, so the path that matters after a SIGKILL is the one every test takes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.undo import CGROUPS, NETNS, STEPS, is_dying, mounts, run

_LOOK_S = 0.25  # how often the guardian looks whether its owner was killed
_numbers = itertools.count(1)


def unique_name() -> str:
    """Return a name that no other process uses; short enough for a network interface."""
    return f"fc{os.getpid()}-{next(_numbers)}"


def leftovers(pid: int | None = None) -> list[str]:
    """List the mounts, network namespaces, loop devices and control groups of a process's injectors that exist.

    Parameters
    ----------
    pid : int, optional
        Whose. Default: this process's.
    """
    mark = f"fc{pid or os.getpid()}-"
    found = [f"mount {point}" for point, source in mounts() if mark in source]
    if NETNS.is_dir():
        found += [f"network namespace {p.name}" for p in NETNS.iterdir() if p.name.startswith(mark)]
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            file = backing.read_text().strip()
        except OSError:  # detached while we looked
            continue
        if mark in file:
            found.append(f"loop device {backing.parts[3]} on {file}")
    return found + [f"control group {p}" for p in (*CGROUPS.glob(f"{mark}*"), *CGROUPS.glob(f"*/{mark}*"))]


class Cleanup:
    """Undo steps, done in reverse order by `close` or by this process's death.

    The steps are those of `STEPS`; doing one whose object is gone already is no error.
    """

    def __init__(self) -> None:
        argv = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
        pipe = subprocess.PIPE
        self._guardian = subprocess.Popen(argv, stdin=pipe, stdout=pipe, start_new_session=True)
        self._one_order = threading.Lock()
        self._closed = False

    def add(self, step: str, *args: str | int | Path) -> None:
        """Say how something is undone: as soon as it exists, or before."""
        if step not in STEPS:
            raise ValueError(f"cleanup step {step!r} is not known; use one of {', '.join(STEPS)}")
        self._send([step, *(str(a) for a in args)])

    def run(self, *argv: str | int | Path) -> str:
        """Have the guardian run a command; return its standard output.

        A process that has a file of a stalled file system open cannot: the child that it forks sleeps in
        closing that file, and its parent with it.

        Raises
        ------
        RuntimeError
            It failed; its standard error is in the message.
        """
        with self._one_order:
            self._send(["run", *(str(a) for a in argv)])
            assert self._guardian.stdout is not None
            answer = json.loads(self._guardian.stdout.readline())
        if answer["error"]:
            raise RuntimeError(answer["error"])
        return str(answer["output"])

    def _send(self, message: list[str]) -> None:
        assert self._guardian.stdin is not None
        self._guardian.stdin.write(json.dumps(message).encode() + b"\n")
        self._guardian.stdin.flush()

    def close(self) -> None:
        """Undo everything and wait for it. Calling again does nothing.

        Raises
        ------
        RuntimeError
            Something could not be undone; the guardian said what on standard error.
        """
        if self._closed:
            return
        self._closed = True
        with self._guardian:
            self._send(["close"])  # not only end of file: a child forked by the test may hold the pipe, too
        if self._guardian.returncode:
            raise RuntimeError("an injector could not be cleaned up: see standard error")


# -- the guardian ----------------------------------------------------------------------------------------


def _orders(owner: int) -> Iterator[list[str]]:
    """Yield what the owner sends, until it says close, closes the pipe or dies.

    Its end of the pipe is not enough: a thread asleep in the stall that it made keeps it open.
    """
    buffer = b""
    while True:
        while not select.select([0], [], [], _LOOK_S)[0]:
            if is_dying(owner):
                return
        data = os.read(0, 1 << 16)
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if order == ["close"]:
                return
            yield order
        if not data:
            return


def _answer(argv: list[str]) -> None:
    answer = {"output": "", "error": ""}
    try:
        answer["output"] = run(*argv)
    except (RuntimeError, OSError) as e:
        answer["error"] = str(e)
    with contextlib.suppress(BrokenPipeError):  # the owner died: its death is noticed next
        print(json.dumps(answer), flush=True)


def _guard(owner: int) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: what is run here would inherit it
    steps = []
    for order in _orders(owner):
        if order[0] == "run":
            _answer(order[1:])
        else:
            steps.append(order)
    failed = 0
    for step, *args in reversed(steps):
        try:
            STEPS[step](*args)
        except Exception as e:  # the other steps must still be done
            failed = 1
            print(f"cleanup: {step} {' '.join(args)}: {e}", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(_guard(int(sys.argv[1])))
