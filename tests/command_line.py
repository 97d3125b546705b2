"""A plugin for tests of the command line: `cli` runs it, `clean_cli` sees that nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from cli_runs import CommandLine


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


@pytest.fixture
def clean_cli(cli: CommandLine) -> Iterator[CommandLine]:
    """The command line, checked to leave nothing behind."""
    yield cli
    cli.check_clean()
