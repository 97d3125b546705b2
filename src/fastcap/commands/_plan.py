"""What a capture is going to do, in words and for JSON: printed at its start; all that ``--dry-run`` does."""

from __future__ import annotations

import os
import shlex
from fractions import Fraction
from typing import Any

from fastcap.ringsize import survives_s
from fastcap.units import format_duration, format_rate, format_rate_hz, format_size
from fastcap.workers.filenames import file_name

_BY = {
    "word": "",
    "clock": ", by the clock, for the rate is not known",
    "word or clock": ", to the exact word if the stream's header tells the rate, else by the clock",
}
_TYPICAL_BYTES_PER_S = 16e6  # the board at 2 MHz
Message = dict[str, Any]


def plan_of(message: Message, runs: int = 1) -> dict[str, Any]:
    """Return what a ``record`` message stands for, as JSON has it."""
    rate = Fraction(*message["rate"]) if message["rate"] else None
    words, seconds = message["max_words"], message["max_seconds"]
    sink = message["sink"]
    duration = words / rate if words and rate else Fraction(*seconds) if seconds else None
    bytes_per_s = float(rate * 8) if rate else None
    return {
        "source": message["label"],
        "argv": message["source"]["argv"] or None,
        "cwd": message["source"]["cwd"],
        "device": message["source"]["device"],
        "sample_rate_hz": None if rate is None else float(rate),
        "words": words,
        "duration_s": None if duration is None else float(duration),
        "cut_by": "word" if words else _by(message) if seconds else None,
        "bytes": None if words is None else words * 8,
        "runs": runs,
        "files": sink["names"].get("files") if sink else None,
        "file_words": sink["names"].get("file_words") if sink else None,
        "split_by": _by(message) if message["split_seconds"] else None,
        "split_s": float(Fraction(*message["split_seconds"])) if message["split_seconds"] else None,
        "path": None if sink is None else os.path.join(sink["directory"], file_name(sink["names"], 0, 0)),
        "ring_bytes": message["ring_bytes"],
        "pipe_bytes": message["pipe_bytes"],
        "fsync_every_bytes": None if sink is None else sink["fsync_every"],
        "survives_stall_s": survives_s(message["ring_bytes"], sink["fsync_every"], bytes_per_s)
        if sink and bytes_per_s
        else None,
        "source_timeout_s": _source_timeout_s(message, rate),
        "on_full": "wait" if message["can_wait"] else "drop",
        "checksum": None if sink is None else sink["checksum"],
        "meta": message["meta"],
        "warnings": message["warnings"],
    }


def _by(message: Message) -> str:
    """Return what a time is measured by: words, or the clock where no rate is known."""
    if message["rate"]:
        return "word"
    return "clock" if message["header"] == "no" else "word or clock"


def _source_timeout_s(message: Message, rate: Fraction | None) -> float | None:
    """Return how long the source may be silent, as far as its rate is known; None: for ever."""
    timeout = message["source_timeout"]
    if timeout is None:
        return None
    return float(max(timeout["seconds"], timeout["buffer_bytes"] / float(rate * 8) if rate else 0.0))


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """Return the plan for people."""
    lines = [f"source  {plan['source']}"]
    if plan["argv"]:
        lines.append(f"        {shlex.join(plan['argv'])}")
    lines.append(f"length  {_length(plan)}")
    if plan["path"]:
        checksum = "no checksum" if plan["checksum"] == "none" else plan["checksum"]
        lines.append(f"to      {plan['path']} ({checksum})")
    else:
        lines.append("to      nowhere: nothing is kept")
    memory = f"{format_size(plan['ring_bytes'])}, pipe {format_size(plan['pipe_bytes'])}"
    warnings = [f"warning: {text}" for text in plan["warnings"]]
    return [*lines, f"ring    {memory}; {_stall(plan)}", *warnings]


def _length(plan: dict[str, Any]) -> str:
    rate, words, duration = plan["sample_rate_hz"], plan["words"], plan["duration_s"]
    parts = []
    if words is not None:
        parts.append(f"{words:,} words")
    if duration is not None:
        parts.append(f"{format_duration(duration)}{_BY[plan['cut_by']]}")
    if not parts:
        parts.append("until the source ends")
    if rate is not None:
        parts.append(f"at {format_rate_hz(rate)} ({format_rate(rate * 8)})")
    if plan["split_s"] is not None:
        parts.append(
            f"a new file every {format_duration(plan['split_s'])}{_files(plan)}{_BY[plan['split_by']]}"
        )
    if plan["source_timeout_s"] is not None:
        parts.append(f"ended if silent for {format_duration(plan['source_timeout_s'])}")
    return ", ".join(parts) + (f"; {plan['runs']} times" if plan["runs"] > 1 else "")


def _files(plan: dict[str, Any]) -> str:
    if plan["files"] is None:
        return ""
    return f" ({plan['files']:,} files of {plan['file_words']:,} words)"


def _stall(plan: dict[str, Any]) -> str:
    full = "the source waits" if plan["on_full"] == "wait" else "words are dropped and counted"
    if plan["path"] is None:
        return f"when it is full, {full}"
    survives = plan["survives_stall_s"]
    if survives is None:
        typical = survives_s(plan["ring_bytes"], plan["fsync_every_bytes"], _TYPICAL_BYTES_PER_S)
        length = f"{format_duration(typical)} if the rate is 2 MHz (it is not known)"
    else:
        length = format_duration(survives)
    return f"survives a stall of the destination of {length}; after that {full}"


def lingering_warning() -> str | None:
    """Return a warning if logging out could take the ring away.

    systemd-logind removes a user's files in /dev/shm at his last logout (RemoveIPC=yes, the default), unless
    he lingers; system users are spared.
    """
    import pwd

    uid = os.getuid()
    if uid < 1000 or not os.path.isdir("/run/systemd/system"):
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
    if os.path.exists(f"/var/lib/systemd/linger/{user}"):
        return None
    remedy = f"run 'loginctl enable-linger {user}' once"
    return f"logging out everywhere would remove this session's files in /dev/shm: {remedy}"
