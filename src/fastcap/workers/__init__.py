"""Worker processes: one module each, started by `argv_of` with inherited descriptors.

``python -m fastcap.workers.NAME`` would do the same, but imports what a third of a worker's start goes into.
"""

from __future__ import annotations

import sys


def argv_of(module: str, *arguments: str) -> list[str]:
    """Return the arguments of a Python that calls ``run`` of a module; they read as those of ``-m`` do."""
    return [sys.executable, "-P", "-c", "from fastcap.workers import run; run()", "-m", module, *arguments]


def run() -> None:
    """Run the module named by this process's arguments, which become those behind its name."""
    del sys.argv[:2]
    __import__(sys.argv[0], fromlist=["run"]).run()
