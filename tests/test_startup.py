"""What a worker imports before it can work: each is started anew for every session, several at a time."""

from __future__ import annotations

import os
import select
import subprocess
import sys

import pytest

import fastcap as fc

SLOW = {
    "asyncio",
    "dataclasses",
    "enum",
    "inspect",
    "json",
    "msgspec",
    "numpy",
    "re",
    "socket",
    "subprocess",
    "typing",
}


def modules(code: str) -> set[str]:
    """Return what a new interpreter has imported after ``code``."""
    told = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return set(told.stdout.split())


@pytest.mark.parametrize("role", ["reader", "splitter", "tee_out", "nas_writer"])
def test_worker_starts_without_slow_modules(role: str) -> None:
    by_itself = modules("pass")  # what the environment adds to every start is not ours

    assert modules(f"import fastcap.workers.{role}") & SLOW <= by_itself
    assert "json" in modules("import json"), "the list is of modules as they are named"


def test_supervisor_keeps_nothing_that_this_process_left_inheritable() -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    with fc.open("sim://?rate=1MHz", ring="16MiB") as board, board.stream():
        os.close(theirs)
        assert select.select([ours], [], [], 10)[0], "a process of the session holds the pipe's other end"
        assert os.read(ours, 1) == b""
    os.close(ours)
