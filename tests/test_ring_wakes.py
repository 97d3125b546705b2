"""Whoever sleeps on the ring is woken by what he waits for, and not by his time-out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ring_wakes
from harness import need_program

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Run all scenarios in a process in which every wait on a ring is an hour long."""
    need_program("gcc", "gcc")
    library = tmp_path_factory.mktemp("waits") / "long_waits.so"
    argv = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*argv, str(HERE / "c" / "long_waits.c"), "-o", str(library), "-ldl"], check=True)
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": path}
    argv = [sys.executable, str(HERE / "ring_wakes.py")]
    said = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(said))


@pytest.mark.parametrize("scenario", ring_wakes.SCENARIOS)
def test_woken(scenario: str, outcomes: dict[str, str | None]) -> None:
    assert outcomes[scenario] is None, outcomes[scenario]
