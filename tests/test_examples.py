"""The examples, and the README's, do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = [*sorted((ROOT / "examples").glob("*.py"))]
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(argv, cwd):
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_example_runs(example, tmp_path):
    done = run([sys.executable, str(example)], tmp_path)

    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout
    assert done.stdout


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["record", "stream", "load"])
def test_readme_s_python_runs_as_pasted(snippet, tmp_path):
    done = run([sys.executable, "-c", snippet], tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_readme_s_emulated_capture_runs_as_pasted(tmp_path):
    line = next(ln.strip() for ln in README.splitlines() if "fastcap capture 'sim://" in ln)
    done = run(["sh", "-c", line.replace("fastcap", f"{sys.executable} -P -m fastcap", 1)], tmp_path)

    assert done.returncode == 0, done.stderr
    assert '"words_lost":0' in done.stdout.replace(" ", "")
