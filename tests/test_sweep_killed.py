"""A sweep whose program is killed, and started again until it is through."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import assert_counter_file, wait_until
from sweep_fixtures import WORDS, events

import fastcap as fc
from fastcap.verify import verify_file

SCRIPT = Path(__file__).with_name("sweep_script.py")
POINTS = 6
KILLS = 3


def start(folder):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(POINTS)], stderr=subprocess.PIPE, text=True
    )


def begun(folder):
    """Return how many recordings were begun."""
    try:
        return len(events(folder, "begin"))
    except (FileNotFoundError, ValueError):
        return 0


def test_killed_and_resumed_sweep_has_every_point_once_and_verified(tmp_path):
    folder = tmp_path / "s"
    rng = random.Random(1)
    for _ in range(KILLS):
        before = begun(folder)
        process = start(folder)
        wait_until(lambda n=before, p=process: begun(folder) > n or p.poll() is not None, 60, "a recording")
        try:
            process.wait(rng.uniform(0, 0.4))  # at any moment of a recording, or between two
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    process = start(folder)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err

    res = fc.load_sweep(folder)
    done = [entry["key"] for entry in events(folder, "done")]
    assert res.complete
    assert len(done) == len(set(done)) == POINTS
    assert not np.isnan(res["words"]).any()
    assert len({path.name for path in res.files()}) == POINTS
    for path in res.files():
        assert verify_file(path).ok
        assert assert_counter_file(str(path), WORDS) == []


@pytest.mark.fuse
def test_session_of_the_killed_program_is_waited_for(tmp_path, faultfs):
    fs = faultfs()
    folder = fs.mount / "s"
    rule = fs.stall("fsync", path="*.bin.part")
    killed = process = start(folder)
    fs.wait_fired(rule, timeout_s=60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)

    process = start(folder)
    told = next((line for line in process.stderr if line.startswith("waiting:")), "")
    fs.clear(rule)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "the last run's recordings" in told
    assert fc.load_sweep(folder).complete
    assert not list(folder.glob("*.part"))
    killed.communicate(timeout=60)  # its workers have its stderr
