"""What every figure needs: the machine's description, the C programs, the command line, processes."""

from __future__ import annotations

import datetime
import fcntl
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastcap

HERE = Path(__file__).resolve().parent
HEADERS = f"-I{Path(fastcap.__file__).parent}"
PIPE_BYTES = 1 << 20
MIB = 1 << 20
GIB = 1 << 30

Figure = dict[str, Any]


def figure(name: str, value: float | int | str, unit: str, *, least: float | None = None, most: float | None = None,
           detail: str = "") -> Figure:  # fmt: skip
    """Return one figure; ``least`` and ``most`` are what it must reach, or stay under."""
    found: Figure = {
        "figure": name,
        "value": value,
        "unit": unit,
        "detail": detail,
        "target": None,
        "ok": None,
    }
    if least is not None:
        found |= {"target": f">= {least:g}", "ok": float(value) >= least}
    if most is not None:
        found |= {"target": f"<= {most:g}", "ok": float(value) <= most}
    return found


def holds(name: str, ok: bool, detail: str = "") -> Figure:
    """Return a figure that is right or wrong."""
    return {
        "figure": name,
        "value": "yes" if ok else "NO",
        "unit": "",
        "detail": detail,
        "target": "yes",
        "ok": ok,
    }


def quantile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that at least a share ``q`` of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def machine() -> dict[str, str]:
    """Return what the figures were measured on, with what, and when."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() if shutil.which("git") else ""
    load = " ".join(f"{x:.2f}" for x in os.getloadavg())
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {model}, Linux {platform.release().partition('-')[0]}",
        "load": f"{load} (1, 5, 15 min, before the run)",
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": f"{commit or 'not a git checkout'} (of these scripts)",
        "fastcap": f"{fastcap.__version__} from {Path(fastcap.__file__).parent}",
        "python": platform.python_version(),
        "command": " ".join(sys.orig_argv),
    }


def fastcap_argv() -> list[str]:
    """Return the command: the console script beside this Python, or the module where there is none."""
    script = Path(sys.executable).parent / "fastcap"
    return [str(script)] if script.exists() else [sys.executable, "-P", "-m", "fastcap"]


@contextmanager
def programs(*names: str, shared: bool = False) -> Iterator[dict[str, str]]:
    """Compile ``bench/c/NAME.c`` for as long as the context lasts, as programs or shared objects; yield their paths."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise SystemExit("figures: no C compiler 'cc' on PATH; install gcc, or name one in CC")
    with tempfile.TemporaryDirectory(prefix="fastcap-bench-") as folder:
        paths = {name: str(Path(folder) / name) for name in names}
        for name, path in paths.items():
            flags = [
                "-O2",
                "-ftree-vectorize",
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-D_GNU_SOURCE",
                HEADERS,
                *(["-shared", "-fPIC"] if shared else []),
            ]
            subprocess.run([compiler, *flags, "-o", path, str(HERE / "c" / f"{name}.c")], check=True)
        yield paths


@contextmanager
def folder(under: str | None) -> Iterator[str]:
    """Make a folder for files that are thrown away; ``under``: on which disk."""
    with tempfile.TemporaryDirectory(prefix="fastcap-bench-", dir=under) as path:
        yield path


def pipe() -> tuple[int, int]:
    """Return the ends of a pipe of 1 MiB, or of what this user may have."""
    ours, theirs = os.pipe()
    try:
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except PermissionError:
        print(f"figures: no pipe of {PIPE_BYTES} bytes: raise fs.pipe-user-pages-soft", file=sys.stderr)
    return ours, theirs


class Later:
    """A pipe whose writer is started when its reader is ready. Made by `later`."""

    def __init__(self) -> None:
        self.fd, self._theirs = pipe()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, argv: Sequence[str]) -> None:
        """Start the program that writes into the pipe."""
        self._process = subprocess.Popen(argv, stdout=self._theirs)
        os.close(self._theirs)

    def close(self) -> None:
        """Close the pipe; wait for the program."""
        os.close(self.fd)
        if self._process is None:
            os.close(self._theirs)
            return
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()


@contextmanager
def later() -> Iterator[Later]:
    """Yield a source to be started once a session reads from it, so that no start-up is measured."""
    made = Later()
    try:
        yield made
    finally:
        made.close()


def workers(role: str) -> list[int]:
    """Return the pids of this process's workers of one role, the oldest first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile
            state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
            if state not in (b"Z", b"X"):
                parents[int(entry.name)] = int(parent)
    supervisors = [pid for pid, parent in parents.items() if parent == os.getpid()]
    found = [pid for pid, parent in parents.items() if parent in supervisors]
    return sorted(pid for pid in found if f"fastcap.workers.{role}" in arguments(pid))


def arguments(pid: int) -> list[str]:
    """Return a process's arguments; none for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
