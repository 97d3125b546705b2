"""Calls a function with complete files, in a process of its own: what it does to that costs nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

Json = dict[str, Any]


class Analyst:
    """A process that calls one function; started with the first call, and again after a death.

    Parameters
    ----------
    message : dict
        The function as in the ``analysis`` of `fastcap.spec.recording`'s message.
    """

    def __init__(self, message: Json) -> None:
        keys = ("path", "sys_path", "analyse", "pickled", "timeout_s", "memory_bytes")
        self._function = {key: message[key] for key in keys}
        self._process: subprocess.Popen[str] | None = None
        self._found: Json = {}

    def call(self, path: str | os.PathLike[str]) -> Json:
        """Return what the function made of a file: ``result``, or ``error``. Blocks until then."""
        found = self.found()
        return found if self._process is None else self._ask(self._process, os.fspath(path))

    def found(self) -> Json:
        """Return what is known of the function: ``name``, ``blocks`` (it wants them), ``error`` or None."""
        self._started()
        return self._found

    def _started(self) -> None:
        if self._process is None:
            command = [sys.executable, "-P", "-m", "fastcap.workers.file_analysis"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._found = self._ask(self._process, self._function)

    def _ask(self, process: subprocess.Popen[str], what: Any) -> Json:
        """Say something and return the answer; if the process ends instead, that is the error in it."""
        try:
            self._say(process, what)
            answer = process.stdout.readline() if process.stdout else ""
        except BrokenPipeError:
            answer = ""
        found: Json = json.loads(answer) if answer else {"error": {**self._ended(process), "traceback": ""}}
        return found

    def _say(self, process: subprocess.Popen[str], what: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    def _ended(self, process: subprocess.Popen[str]) -> Json:
        """Return why there is no answer; the next call starts another process."""
        self._process = None
        status = process.wait()
        self._close(process)
        limit = self._function["timeout_s"]
        if status > 0 and limit is not None:
            text = f"it did not return within its time limit of {limit:g} s, or ended its process"
            return {"type": "FunctionTimeout", "message": f"{text} (exit status {status})"}
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return {"type": "WorkerError", "message": f"it ended its process: {how}"}

    @staticmethod
    def _close(process: subprocess.Popen[str]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def close(self) -> None:
        """End the process; one that calls a function is killed."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            self._close(process)
