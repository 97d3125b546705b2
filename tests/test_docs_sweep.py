"""The examples of docs/sweep.md, and those in docstrings, do what they say."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

from fastcap.sweeping import axis, planfile
from fastcap.sweeping.planfile import load_plan_file

PAGE = (Path(__file__).parent.parent / "docs" / "sweep.md").read_text()
(SNIPPET,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(PLAN,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_snippet_runs_as_pasted(tmp_path):
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    argv = [sys.executable, "-c", SNIPPET]
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "6/6 done; radius, noise> (6, 1)" in done.stdout
    assert done.stdout.strip().endswith("{}")
    assert (tmp_path / "voa-sweep.png").exists()


def test_plans_that_are_shown_are_understood(tmp_path):
    shown = re.search(r'folder = ".*?fibre = "F12"', planfile.__doc__ or "", re.DOTALL)
    assert shown is not None
    for name, text in (("page", PLAN), ("docstring", shown[0])):
        path = tmp_path / f"{name}.toml"
        path.write_text(re.sub(r"^    ", "", text, flags=re.MULTILINE))
        assert load_plan_file(path).folder == "/mnt/nas/voa"


def test_docstrings_examples():
    assert doctest.testmod(axis).failed == 0
