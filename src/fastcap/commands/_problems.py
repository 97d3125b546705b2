"""What stands in a capture's way: looked for by ``--dry-run``, which alone may touch the destination itself."""

from __future__ import annotations

import os
from typing import Any

from fastcap._lockinfo import in_use
from fastcap.devlock import device_key, list_locks
from fastcap.errors import FastcapError
from fastcap.naming import sidecar_path
from fastcap.sources import SourceSpec, check_startable
from fastcap.units import format_size
from fastcap.workers.filenames import needed

Message = dict[str, Any]


def destination_problems(message: Message, plan: dict[str, Any]) -> tuple[int | None, list[str]]:
    """Return what is free at the destination, and what is wrong there."""
    sink = message["sink"]
    if sink is None:
        return None, []
    directory = sink["directory"]
    try:
        there = set(os.listdir(directory))
        fs = os.statvfs(directory)
    except OSError as error:
        return None, [f"destination {directory}: {error.strerror}; create it, or name another with --to"]
    free = fs.f_bavail * fs.f_frsize
    problems = []
    if not os.access(directory, os.W_OK | os.X_OK):
        problems.append(f"destination {directory}: no permission to write there")
    wanted = plan["bytes"] and plan["bytes"] * plan["runs"]
    if wanted and wanted > free:
        problems.append(
            f"destination {directory}: {format_size(free)} are free, {format_size(wanted)} are needed"
        )
    taken = [
        each
        for name in needed(sink["names"])
        for each in (name, sidecar_path(name), f"{name}.part")
        if each in there
    ]
    if taken:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        path = os.path.join(directory, taken[0])
        problems.append(f"{path} exists{more}; files are never overwritten: choose another name")
    return free, problems


def source_problems(source: SourceSpec) -> list[str]:
    """Return why a source could not be started now."""
    try:
        check_startable(source)
        if source.device is not None:
            key = device_key(source.device)
            holder = next((lock for lock in list_locks() if lock["key"] == key), None)
            if holder is not None:
                raise in_use(source.device, holder)
    except FastcapError as error:
        return [str(error)]
    return []


def analysis_problem(message: Message) -> list[str]:
    """Return what is wrong with the user's function, found out by importing it, as the analysis would."""
    if message["analysis"] is None:
        return []
    import contextlib
    import sys

    from fastcap.workers.userfunc import UserFunction

    with contextlib.redirect_stdout(sys.stderr):  # what it prints as it is imported is not ours
        function = UserFunction.from_message(message["analysis"])
    if function is None or function.error is None:
        return []
    error = function.error
    return [" ".join(f"analysis function {function.name}: {error['type']}: {error['message']}".split())]
