"""A plugin for tests that run the emulated board as a process of its own."""

import json
import subprocess

import msgspec
import numpy as np
import pytest
from board_checks import COMMAND, DEADLINE_S

from fastcap.stream import header_bytes


class Run(msgspec.Struct):
    """What a finished board left: its stream, exit status, stderr and report."""

    raw: bytes
    status: int
    stderr: str
    report: dict

    @property
    def words(self):
        data = self.raw[header_bytes(self.raw) :]
        return np.frombuffer(data[: len(data) // 8 * 8], dtype="<u8")


@pytest.fixture
def start(tmp_path):
    """Start an emulated board; whatever happens, none is left running."""
    started = []

    def start(*flags, stdout=subprocess.PIPE, **kwargs):
        argv = [*COMMAND, *flags, "--report", str(tmp_path / "report.json")]
        started.append(subprocess.Popen(argv, stdout=stdout, stderr=subprocess.PIPE, bufsize=0, **kwargs))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish(tmp_path):
    """Read a board to its end."""

    def finish(process, begin=b""):
        raw, stderr = process.communicate(timeout=DEADLINE_S)
        path = tmp_path / "report.json"
        report = json.loads(path.read_text()) if path.exists() else {}
        return Run(begin + (raw or b""), process.returncode, stderr.decode(), report)

    return finish


@pytest.fixture
def emulate(start, finish):
    return lambda *flags, **kwargs: finish(start(*flags, **kwargs))
