"""What a device's lock tells others, and how that is said to somebody who is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fastcap._messages import one_line, shown
from fastcap.errors import SourceError


def completed(info: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return ``info`` with what only this process knows, and defaults for what is not told."""
    from datetime import datetime

    defaults = {
        "user": _user_name(os.geteuid()),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "expected_end": None,
        "destination": None,
    }
    own = {"uid": os.geteuid(), "pid": os.getpid(), "pid_start": _pid_start(), "device": device}
    return {**defaults, **info, **own}


def _pid_start() -> int:
    """Return this process's start in clock ticks since boot; with the pid, it names a process for good."""
    with open("/proc/self/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def in_use(device: str, found: Mapping[str, Any] | None) -> SourceError:
    """Say who holds a device; what comes from another user's file is quoted as far as it is text."""
    found = found or {}

    def told(key: str, before: str) -> str:
        value = found.get(key)
        return f"{before}{one_line(value)}" if isinstance(value, str | int) and value != "" else ""

    if isinstance(found.get("pid"), int):
        who = f"{_user_name(found['uid'])} (pid {found['pid']}){told('started', ' since ')}"
        who += told("expected_end", ", until ") + told("destination", ", writing to ")
    else:
        owner = f" of {_user_name(found['uid'])}" if "uid" in found else ""
        who = f"an unknown process{owner}"
    return SourceError(
        f"device {shown(device)} is in use by {who}; wait for it, or have that capture stopped"
    )
