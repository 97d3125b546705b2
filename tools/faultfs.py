"""A FUSE file system that shows a directory and injects faults on order; used from a test or by hand.

    python tools/faultfs.py BACKING MOUNTPOINT --control SOCKET [--log FILE] [--fault JSON]... [--disk JSON]

serves until it is unmounted; with ``--disk`` calls take as long as on that disk (`diskmodel.DiskModel`). Orders are
JSON objects, one a line, on the control socket; a rule has the fields of `faultmodel.Rule`::

    {"do": "add", "rule": {"kind": "stall", "ops": ["write"], "seconds": 5}}
    {"do": "wait", "rule": 1, "times": 1, "timeout_s": 10}
    {"do": "clear", "rule": 1}
    {"do": "active"}

In a test::

    with faultfs(backing, mount) as fs:
        fs.stall("write", seconds=5)
        fs.error("fsync", errno.EIO, after=2)
"""

from __future__ import annotations

import argparse
import contextlib
import errno as errno_names
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.diskmodel import DiskBook, DiskModel
from tools.faultmodel import Injection, Rule
from tools.faultrules import Rulebook
from tools.lifetime import Cleanup, unique_name
from tools.undo import mounts, start_ticks, unmount

_START_S = 20
_LEAVE_S = 2
_Ops = str | Iterable[str]


def _ops(ops: _Ops) -> tuple[str, ...]:
    return (ops,) if isinstance(ops, str) else tuple(ops)


class faultfs:  # noqa: N801 - reads like open()
    """A running injector; as a context manager it is gone at the end, with the calls it held released.

    Parameters
    ----------
    backing, mount : path
        The directory shown, and where. Both must exist.
    direct_io : bool
        Every read reaches the injector instead of the page cache.
    disk : DiskModel, optional
        What writing takes; its clock starts with the first write.

    Notes
    -----
    `stall` and its siblings return the rule's number, for `clear` and `wait_fired`. Common options:
    ``path`` (a glob), ``after`` (calls to let pass), ``count`` (calls to disturb; None: all), ``at_offset``,
    ``start_ns`` and ``until_ns`` (CLOCK_MONOTONIC); see `faultmodel.Rule`.
    """

    def __init__(
        self,
        backing: str | Path,
        mount: str | Path,
        *,
        direct_io: bool = False,
        disk: DiskModel | None = None,
    ) -> None:
        self.backing, self.mount = Path(backing).resolve(), Path(mount).resolve()
        self._name = unique_name()
        self._cleanup = Cleanup()
        self._entries: list[Injection] = []
        self._folder = Path(tempfile.mkdtemp(prefix="faultfs-"))
        self.log_path = self._folder / "log.jsonl"
        self._control = self._folder / "control"
        argv = [sys.executable, __file__, self.backing, self.mount, "--name", self._name]
        argv += ["--control", self._control, "--log", self.log_path, *(["--direct-io"] if direct_io else [])]
        if disk is not None:
            argv += ["--disk", msgspec.json.encode(disk).decode()]
        self._process = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._cleanup.add("remove", self._folder)
        self._cleanup.add("unmount", self.mount)
        self._cleanup.add("end", self.pid, start_ticks(self.pid))
        try:
            self._wait_mounted()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process that serves the file system."""
        return self._process.pid

    def _wait_mounted(self) -> None:
        end = time.monotonic() + _START_S
        while not any(point == str(self.mount) and self._name in source for point, source in mounts()):
            if self._process.poll() is not None:
                raise RuntimeError(f"faultfs on {self.mount} ended with status {self._process.returncode}")
            if time.monotonic() > end:
                raise RuntimeError(f"faultfs is not mounted on {self.mount} after {_START_S} s")
            select.select([], [], [], 0.005)
        self._ask({"do": "active"})

    def _ask(self, order: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self._control))
            s.sendall(msgspec.json.encode(order) + b"\n")
            with s.makefile("rb") as answers:
                answer = msgspec.json.decode(answers.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def add(self, rule: Rule) -> int:
        """Put any rule in force; return its number."""
        number = self._ask({"do": "add", "rule": rule})
        assert isinstance(number, int)
        return number

    def stall(self, ops: _Ops, seconds: float | None = None, *, also: _Ops = (), **options: Any) -> int:
        """Hold calls for ``seconds`` (None: until cleared, two minutes at most), and ``also`` others."""
        return self.add(Rule(kind="stall", ops=_ops(ops), seconds=seconds, also=_ops(also), **options))

    def error(self, ops: _Ops, errno: int, **options: Any) -> int:
        """Fail calls; ``carry_out``: after having done them, ``lose`` (fsync): after losing their data."""
        return self.add(Rule(kind="error", ops=_ops(ops), errno=errno, **options))

    def throttle(self, bytes_per_s: int, ops: _Ops = "write", **options: Any) -> int:
        """Let calls return no faster than a rate."""
        return self.add(Rule(kind="throttle", ops=_ops(ops), size=bytes_per_s, **{"count": None, **options}))

    def short_writes(self, size: int, **options: Any) -> int:
        """Carry out at most ``size`` bytes of each write."""
        return self.add(Rule(kind="short", ops=("write",), size=size, **{"count": None, **options}))

    def full(self, after_bytes: int, errno: int = errno_names.ENOSPC, **options: Any) -> int:
        """Let files grow by ``after_bytes`` in all, then refuse; statfs shows it. Unlinking frees nothing."""
        return self.add(
            Rule(kind="full", ops=("write",), size=after_bytes, errno=errno, **{"count": None, **options})
        )

    def clear(self, rule: int | None = None) -> None:
        """End one fault, or all; what they hold goes on."""
        self._ask({"do": "clear", "rule": rule})

    def wait_fired(self, rule: int, times: int = 1, timeout_s: float = 10) -> None:
        """Wait until a rule has begun to disturb ``times`` calls.

        Raises
        ------
        TimeoutError
            It has not.
        """
        if not self._ask({"do": "wait", "rule": rule, "times": times, "timeout_s": timeout_s}):
            raise TimeoutError(f"fault {rule} did not strike {times} times within {timeout_s} s")

    def active(self) -> list[Injection]:
        """Return the injections that go on at this moment."""
        return msgspec.convert(self._ask({"do": "active"}), list[Injection])

    def log(self, kind: str | None = None) -> list[Injection]:
        """Return the injections that are over, in the order of their ends; after `close`, too."""
        entries = self._entries
        if self.log_path.exists():
            lines = self.log_path.read_bytes().splitlines()
            entries = [msgspec.json.decode(line, type=Injection) for line in lines]
        return [e for e in entries if kind in (None, e.kind)]

    def kill_server(self) -> None:
        """SIGKILL the serving process: calls fail with ENOTCONN until it is unmounted."""
        self._process.kill()
        self._process.wait()

    def vanish(self) -> None:
        """Unmount lazily: the path is the local directory below, open files still reach the server."""
        unmount(str(self.mount))

    def close(self) -> None:
        """Release what is held, unmount, end the process. Calling again does nothing."""
        if self._process.poll() is None and self._control.exists():
            with contextlib.suppress(ConnectionError):  # it may be ending by itself: its mount has vanished
                self.clear()
            self.vanish()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_S)  # longer only if somebody keeps a file of it open
        self._entries = self.log()
        self._cleanup.close()
        self._process.wait()

    def __enter__(self) -> faultfs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# -- the process -----------------------------------------------------------------------------------------


def _log_to(path: str | None) -> Callable[[Injection], None]:
    """Return what writes one line per injection; lines are whole, whoever reads at the same time."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if path else None

    def record(injection: Injection) -> None:
        if fd is not None:
            os.write(fd, msgspec.json.encode(injection) + b"\n")

    return record


def _obey(book: Rulebook, order: dict[str, Any]) -> Any:
    match order:
        case {"do": "add", "rule": rule}:
            return book.add(msgspec.convert(rule, Rule))
        case {"do": "clear"}:
            return book.clear(order.get("rule"))
        case {"do": "wait", "rule": number, "times": times, "timeout_s": timeout_s}:
            return book.wait_fired(number, times, timeout_s)
        case {"do": "active"}:
            return book.active()
    raise ValueError(f"order {order} is not known; see tools/faultfs.py")


def _serve(connection: socket.socket, book: Rulebook) -> None:
    with connection, connection.makefile("rwb") as f:
        for line in f:
            try:
                answer = {"ok": _obey(book, msgspec.json.decode(line))}
            except (ValueError, TypeError) as e:  # msgspec's errors are ValueErrors
                answer = {"error": str(e)}
            f.write(msgspec.json.encode(answer) + b"\n")
            f.flush()


def _listen(listener: socket.socket, book: Rulebook) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, book), daemon=True).start()


def main() -> None:
    """Serve the file system until it is unmounted."""
    parser = argparse.ArgumentParser(description="Show a directory through FUSE and inject faults on order.")
    parser.add_argument("backing")
    parser.add_argument("mountpoint")
    parser.add_argument(
        "--control", required=True, metavar="SOCKET", help="Unix socket to create, for orders"
    )
    parser.add_argument("--log", metavar="FILE", help="append one JSON line per injection")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="JSON", help="a rule in force from the start"
    )
    parser.add_argument("--disk", metavar="JSON", help="a disk whose calls these are to be like")
    parser.add_argument("--direct-io", action="store_true", help="reads bypass the page cache")
    parser.add_argument("--name", default="faultfs", help="source shown in the mount table")
    a = parser.parse_args()
    model = None if a.disk is None else msgspec.json.decode(a.disk, type=DiskModel)
    book = Rulebook(_log_to(a.log)) if model is None else DiskBook(_log_to(a.log), model)
    for text in a.fault:
        book.add(msgspec.json.decode(text, type=Rule))
    from tools.passthrough import mount  # loads libfuse, which the client need not have

    os.umask(0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(a.control)
        listener.listen(16)
        threading.Thread(target=_listen, args=(listener, book), daemon=True).start()
        mount(a.backing, a.mountpoint, book, name=a.name, direct_io=a.direct_io)


if __name__ == "__main__":
    main()
