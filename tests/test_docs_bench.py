"""The example of docs/bench.md does what it says, and its commands exist with their options."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastcap.commands.root import root

PAGE = (Path(__file__).parent.parent / "docs" / "bench.md").read_text()
(SNIPPET,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^    fastcap (bench .*)$", PAGE, re.MULTILINE)


def test_snippet_runs_as_pasted(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "sustained" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_their_options_exist(command: str) -> None:
    _, name, *rest = shlex.split(command)
    told = CliRunner().invoke(root, ["bench", name, "--help"]).output

    for option in (word for word in rest if word.startswith("--")):
        assert f"{option} " in told
