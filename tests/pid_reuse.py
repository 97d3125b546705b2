"""Run in a pid namespace of its own: a capture's supervisor dies, and another process gets its pid.

Arguments: the board's program, a device, a folder. Prints one JSON object of what others then see.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli_runs import COMMAND, NOTES
from support import is_running, wait_until

PROGRAM, DEVICE, FOLDER = sys.argv[1:]


def capture(name: str, *length: str) -> list[str]:
    to = ["--to", f"{FOLDER}/{name}.bin", "--ring", "16MiB", "--json", *length]
    return [*COMMAND, "capture", *to, "--", PROGRAM, "-U", DEVICE, "-s", "4", "-l", "-b", "-v", "3"]


def status() -> dict[str, Any]:
    return dict(json.loads(subprocess.run([*COMMAND, "status", "--json"], capture_output=True).stdout))


def take_pid(pid: int) -> subprocess.Popen[bytes]:
    """Start a process with this pid."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    return subprocess.Popen(["sleep", "100"])


def main() -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(capture("first"), **quiet)  # type: ignore[call-overload]
    part = Path(FOLDER, "first.bin.part")
    wait_until(lambda: part.exists() and part.stat().st_size > 0, 30, "the capture to run")
    (session,) = [s for s in status()["sessions"] if s["folder"].split("-")[-2] == str(first.pid)]
    refused = subprocess.run(capture("second", "--samples", "1000"), capture_output=True, text=True)

    os.kill(session["pid"], signal.SIGKILL)
    first.wait(30)
    with contextlib.suppress(ChildProcessError):  # orphans are this process's to reap: it is pid 1
        while True:  # the workers, too: as long as one is there, the pid names their session
            os.waitpid(-1, 0)
    other = take_pid(session["pid"])
    seen = status()
    second = subprocess.run(capture("second", "--samples", "1000"), capture_output=True, text=True)
    told = {
        "pids": [session["pid"], other.pid],
        "running": is_running(other.pid),
        "refused": [refused.returncode, refused.stderr],
        "alive": [s["folder"] for s in seen["sessions"]],
        "left_behind": [s["folder"] for s in seen["left_behind"]],
        "folder": session["folder"],
        "second": [second.returncode, second.stderr],
    }
    other.kill()
    other.wait()
    shutil.rmtree(session["folder"])
    for note in (p for base in NOTES for p in base.glob(f"*{Path(session['folder']).name}.json")):
        note.unlink()
    print(json.dumps(told))


main()
