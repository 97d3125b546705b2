"""Whether somebody lives is never told by a pid: the dead owner's is another process's by now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import board_program

SCRIPT = Path(__file__).parent / "pid_reuse.py"


@pytest.mark.root
def test_pid_of_a_dead_supervisor_keeps_neither_session_nor_device(tmp_path: Path) -> None:
    device, folder = tmp_path / "device", tmp_path / "out"
    device.touch()
    folder.mkdir()
    program = board_program(tmp_path / "teststream")
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, SCRIPT, program, device, folder],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    supervisor, other = told["pids"]
    assert other == supervisor
    assert told["running"]
    assert told["refused"][0] == 1
    assert f"in use by root (pid {supervisor})" in told["refused"][1]  # while it lived
    assert told["folder"] in told["left_behind"]
    assert told["folder"] not in told["alive"]
    assert told["second"][0] == 0, told["second"][1]
