"""The examples of docs/devices.md and of the devices' docstrings do what they say."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastcap.devices import laser, voa

PAGE = (Path(__file__).parent.parent / "docs" / "devices.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    ("snippet", "lines"), list(zip(SNIPPETS, (2, 3), strict=True)), ids=["devices", "tied"]
)
def test_snippet_runs_as_pasted(snippet: str, lines: int, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == lines, done.stdout


@pytest.mark.parametrize("module", [voa, laser])
def test_docstring_example_is_true(module: object) -> None:
    tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried.failed == 0
    assert tried.attempted == 2
