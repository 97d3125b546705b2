"""Running fastcap's command line as processes, and looking at what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from support.waiting import wait_until

from fastcap.stream import header_bytes

DEADLINE_S = 60
COMMAND = [sys.executable, "-P", "-m", "fastcap"]
COUNTER = "sim://?rate=2MHz&pattern=counter"
SHM = Path("/dev/shm")
NOTES = [Path("/run/lock"), Path("/tmp")]


class Ended:
    """A command that has ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        """The one object that stdout holds; anything else there is an error."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The line that says what went wrong: there is exactly one, and no traceback."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("fastcap: ")]
        assert len(lines) == 1, self.err
        return lines[0]


class CommandLine:
    """Runs commands with a mark in their environment, by which every process they start is found."""

    def __init__(self, home: Path) -> None:
        self.mark = f"FASTCAP_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.environment = {**os.environ, name: value, "XDG_STATE_HOME": str(home)}
        self.started: list[subprocess.Popen[str]] = []
        self.there_before = set(_kept())

    def start(self, *args: str | Path, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        """Start a command."""
        streams = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
            "text": True,
        }
        argv = [*prefix, *COMMAND, *(str(arg) for arg in args)]
        self.started.append(subprocess.Popen(argv, env=self.environment, **{**streams, **options}))
        return self.started[-1]

    def finish(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for a command's end."""
        out, err = process.communicate(timeout=DEADLINE_S)
        return Ended(process.returncode, out or "", err or "")

    def __call__(self, *args: str | Path, **options: Any) -> Ended:
        """Run a command to its end."""
        return self.finish(self.start(*args, **options))

    def processes(self, having: str = "") -> list[int]:
        """Return the processes that were started, directly or not, and whose arguments contain ``having``."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if (
                    entry.name.isdigit()
                    and self.mark.encode() in (entry / "environ").read_bytes()
                    and having.encode() in (entry / "cmdline").read_bytes()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
        return found

    def pids_ever(self) -> set[str]:
        """Return the pids of the commands, by which sessions are named."""
        return {str(process.pid) for process in self.started}

    def left_behind(self) -> list[Path]:
        """Return session folders and status files of these commands.

        Those of before are another's, also where a pid in their names has come round again.
        """
        return [
            p for p in _kept() if p not in self.there_before and self.pids_ever() & set(p.stem.split("-"))
        ]

    def check_clean(self) -> None:
        """Assert that no process, folder or status file is left."""
        wait_until(lambda: not self.processes(), 10, lambda: f"processes {self.processes()} to end")
        assert not self.left_behind()


def _kept() -> list[Path]:
    """Return all session folders and status files of this machine."""
    folders = [p for base in SHM.glob("fastcap-*") for p in _listed(base)]
    return folders + [p for base in NOTES for p in base.glob("fastcap-session-*.json")]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def counted(path: Path) -> np.ndarray:
    """Return a file's words; the board writes a header only if its -v says so."""
    raw = path.read_bytes()
    begin = header_bytes(raw) if raw[2:8] == b"\xef\xcd\xab\x56\x34\x12" else 0
    return np.frombuffer(raw[begin or 0 :], dtype="<u8")


def board_program(path: Path) -> Path:
    """Write a program called teststream that is the emulated board, and return its path."""
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m fastcap.sim.board "$@"\n')
    path.chmod(0o755)
    return path
