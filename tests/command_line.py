"""A plugin for tests of the command line: `cli` runs it, `clean_cli` sees that nothing is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from cli_runs import CommandLine
from support.waiting import wait_until


@pytest.fixture
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line, in an environment of its own; no process of it survives the test."""
    made = CommandLine(tmp_path_factory.mktemp("state"))
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for pid in made.processes():
        os.kill(pid, 9)
    wait_until(lambda: not made.processes(), 10, "killed processes to end")
    for path in made.left_behind():  # only a test that failed comes here
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def clean_cli(cli: CommandLine) -> Iterator[CommandLine]:
    """The command line, checked to leave nothing behind."""
    yield cli
    cli.check_clean()
